"""What migration 0002 made: partitions by month of real time, and versions that no longer change once activated."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection, models, transaction

from automations.models import DeliveryBody, Evaluation, EventContent, PartitionLog, StepLog, Version
from tests.factories import make_workspace

PARTITIONED = [StepLog, Evaluation, EventContent, DeliveryBody]
CHILDREN = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1"


def rows(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def months(table: str) -> list[str]:
    return [str(row[0]).removeprefix(f"{table}_") for row in rows(CHILDREN, table)]


def from_today(count: int) -> list[str]:
    first = datetime.now(UTC).date().replace(day=1)
    return [
        f"y{(first.year * 12 + first.month - 1 + n) // 12}m{(first.month - 1 + n) % 12 + 1:02}" for n in range(count)
    ]


@pytest.mark.parametrize("model", PARTITIONED)
class TestTables:
    def test_this_month_and_the_next_two_are_there(self, db: None, model: type[models.Model]) -> None:
        assert months(model._meta.db_table) == from_today(3)

    def test_there_is_no_default_partition(self, db: None, model: type[models.Model]) -> None:
        found = rows(
            "SELECT partdefid, partstrat FROM pg_partitioned_table WHERE partrelid = %s::regclass", model._meta.db_table
        )
        assert found == [(0, "r")]

    def test_columns_and_key_are_those_of_the_model(self, db: None, model: type[models.Model]) -> None:
        table = model._meta.db_table
        found = dict(
            rows("SELECT column_name, is_nullable FROM information_schema.columns WHERE table_name = %s", table)
        )
        wanted = {field.column: "YES" if field.null else "NO" for field in model._meta.concrete_fields}
        assert found == wanted
        key = rows(
            "SELECT array_agg(attname::text ORDER BY ordinality) FROM pg_index, unnest(indkey) WITH ORDINALITY AS part (number, ordinality)"
            " JOIN pg_attribute ON attnum = number WHERE indrelid = %s::regclass AND attrelid = indrelid AND indisprimary",
            table,
        )[0][0]
        assert key == [field.column for field in model._meta.pk_fields]

    def test_it_has_no_foreign_keys(self, db: None, model: type[models.Model]) -> None:
        assert (
            rows(
                "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass",
                model._meta.db_table,
            )
            == []
        )


class TestPartition:
    def test_a_row_outside_all_partitions_is_an_error(self, db: None) -> None:
        with pytest.raises(IntegrityError, match="no partition"), transaction.atomic():
            EventContent.objects.create(
                event_id=1, recorded_at=datetime(2001, 1, 1, tzinfo=UTC), workspace_id=1, payload={}, snapshot={}
            )

    def test_a_partition_is_made_once_and_noted(self, db: None) -> None:
        table = StepLog._meta.db_table
        made = [rows("SELECT onward_partition(%s, %s)", table, date(2031, 12, 17))[0][0] for _ in range(2)]
        assert made == [True, False]
        assert months(table)[-1] == "y2031m12"
        assert PartitionLog.objects.filter(partition=f"{table}_y2031m12", action="created").count() == 1

    def test_its_bounds_are_months_in_utc_whatever_the_session_says(self, db: None) -> None:
        rows("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        rows("SELECT onward_partition('automations_evaluation', '2031-12-17')")
        rows("SET LOCAL TIME ZONE 'UTC'")
        bounds = rows(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'automations_evaluation_y2031m12'"
        )
        assert bounds == [("FOR VALUES FROM ('2031-12-01 00:00:00+00') TO ('2032-01-01 00:00:00+00')",)]

    def test_a_partition_has_the_checks_of_its_table(self, db: None) -> None:
        now = datetime.now(UTC)
        with pytest.raises(IntegrityError, match="status"), transaction.atomic():
            StepLog.objects.create(
                run_id=1, seq=1, attempt=1, recorded_at=now, workspace_id=1, step="x", type="x", status="maybe",
                started_at=now, ended_at=now,
            )  # fmt: skip


class TestVersions:
    # VER-07, VER-08
    @pytest.fixture
    def version(self, db: None) -> Version:
        from automations.models import Automation

        workspace = make_workspace()
        automation = Automation.objects.create(workspace=workspace, name="A")
        return Version.objects.create(
            workspace=workspace,
            automation=automation,
            number=1,
            definition={"name": "A"},
            source="name: A",
            sha256="0" * 64,
        )

    def activate(self, version: Version) -> None:
        Version.objects.filter(pk=version.pk).update(state="active", activated_at=datetime.now(UTC))

    def test_a_draft_may_change(self, version: Version) -> None:
        assert Version.objects.filter(pk=version.pk).update(definition={"name": "B"}, sha256="1" * 64) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"definition": {"name": "B"}},
            {"source": "name: B"},
            {"source_format": "json"},
            {"sha256": "1" * 64},
            {"number": 2},
            {"activated_at": datetime(2030, 1, 1, tzinfo=UTC)},
        ],
    )
    def test_an_activated_one_refuses_any_change_of_its_text(self, version: Version, change: dict[str, object]) -> None:
        self.activate(version)
        with pytest.raises(IntegrityError, match="was activated and can no longer be changed"), transaction.atomic():
            Version.objects.filter(pk=version.pk).update(**change)

    def test_it_may_become_inactive_but_never_active_again(self, version: Version) -> None:
        self.activate(version)
        assert Version.objects.filter(pk=version.pk).update(state="inactive") == 1
        for state in ("active", "draft"):
            with pytest.raises(IntegrityError), transaction.atomic():
                Version.objects.filter(pk=version.pk).update(state=state)

    def test_its_author_may_leave(self, version: Version) -> None:
        self.activate(version)
        assert Version.objects.filter(pk=version.pk).update(author=None) == 1
