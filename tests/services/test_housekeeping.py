"""Housekeeping: partitions ahead, old ones gone, and nothing taken from what is still under way (DESIGN 6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django_q.models import Task
from pytest_django.fixtures import Settings

from accounts.models import Idempotency, Workspace
from automations.models import PartitionLog, RunInput
from automations.services import housekeeping
from automations.worker.store import delivery_key
from tests.factories import make_workspace

OLD = datetime(2020, 5, 17, 12, tzinfo=UTC)


def rows(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def partition(table: str, at: datetime = OLD) -> str:
    rows("SELECT onward_partition(%s, %s::date)", table, at.date())
    return f"{table}_y{at.year}m{at.month:02}"


def exists(table: str) -> bool:
    return rows("SELECT to_regclass(%s) IS NOT NULL", table) == [(True,)]


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace()


def make_run(workspace: Workspace, event: int, *, ended: bool = False) -> int:
    """A bare run row on an event; housekeeping reads nothing else of it."""
    found = rows(
        "INSERT INTO automations_run (workspace_id, automation_id, version_id, event_id, subject_kind, subject_id, subjects, mode,"
        " status, due_at, seq, attempt, started_at, ended_at, end_reason, steps_executed, lost)"
        " VALUES (%s, 1, 1, %s, 'none', 0, '{}', 'live', %s, %s, 0, 0, %s, %s, %s, 0, 0) RETURNING id",
        *(workspace.pk, event, "COMPLETED" if ended else "RUNNING", None if ended else OLD, OLD),
        *(OLD if ended else None, "completed" if ended else None),
    )
    return int(found[0][0])


def make_content(workspace: Workspace, event: int, at: datetime = OLD) -> None:
    rows(
        "INSERT INTO automations_event_content (event_id, recorded_at, workspace_id, payload, snapshot)"
        " VALUES (%s, %s, %s, %s, %s)",
        *(event, at, workspace.pk, f'{{"n": {event}}}', '{"customer": {"id": "cus_1"}}'),
    )


class TestAhead:
    def test_the_months_to_come_are_made_once(self, db: None) -> None:
        later = datetime(2033, 11, 30, 23, 30, tzinfo=UTC)
        assert housekeeping.make_partitions(later) == 12
        assert housekeeping.make_partitions(later) == 0
        for month in ("y2033m11", "y2033m12", "y2034m01"):
            assert exists(f"automations_step_log_{month}")

    def test_a_run_on_a_fresh_installation_has_nothing_to_do(self, db: None) -> None:
        assert housekeeping.run() == 0


class TestRetention:
    @pytest.mark.parametrize(
        ("table", "days"),
        [
            ("automations_step_log", 400),
            ("automations_evaluation", 400),
            ("automations_event_content", 90),
            ("automations_delivery_body", 90),
        ],
    )
    def test_a_partition_goes_when_its_last_day_is_old_enough(self, db: None, table: str, days: int) -> None:
        now = datetime.now(UTC)
        gone = partition(table, now - timedelta(days=days + 32))
        kept = partition(table, now - timedelta(days=days - 1))
        housekeeping.run()
        assert not exists(gone)
        assert exists(kept)
        notes = PartitionLog.objects.filter(partition=gone).order_by("id").values_list("table", "action")
        assert list(notes) == [(table, "created"), (table, "detached"), (table, "dropped")]

    def test_the_setting_moves_the_border(self, db: None, settings: Settings) -> None:
        name = partition("automations_step_log", datetime.now(UTC) - timedelta(days=200))
        housekeeping.run()
        assert exists(name)
        settings.ONWARD_RETENTION_DAYS = 100
        housekeeping.run()
        assert not exists(name)

    def test_a_table_that_is_named_otherwise_is_left_alone(self, db: None) -> None:
        rows("CREATE TABLE attic PARTITION OF automations_step_log FOR VALUES FROM ('1999-01-01') TO ('1999-02-01')")
        housekeeping.run()
        assert exists("attic")

    def test_a_busy_table_is_left_for_the_next_day(self, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        name = partition("automations_evaluation")
        monkeypatch.setattr(housekeeping, "DROP_TRIES", 0)
        assert housekeeping.drop_partition("automations_evaluation", name) is False
        assert exists(name)


class TestWhatIsStillNeeded:
    def test_unfinished_runs_keep_the_snapshot_of_their_event(self, workspace: Workspace) -> None:
        partition("automations_event_content")
        for event in (1, 2):
            make_content(workspace, event)
        unfinished, ended = make_run(workspace, 1), make_run(workspace, 2, ended=True)
        housekeeping.run()
        assert not exists("automations_event_content_y2020m05")
        kept = RunInput.objects.get(run_id=unfinished)
        assert kept.snapshot == {"payload": {"n": 1}, "snapshot": {"customer": {"id": "cus_1"}}}
        assert kept.workspace_id == workspace.pk
        assert not RunInput.objects.filter(run_id=ended).exists()

    def test_loop_items_that_are_there_stay(self, workspace: Workspace) -> None:
        partition("automations_event_content")
        make_content(workspace, 1)
        run = make_run(workspace, 1)
        RunInput.objects.create(run_id=run, workspace=workspace, items={"loop": [1, 2]})
        housekeeping.run()
        kept = RunInput.objects.get(run_id=run)
        assert kept.items == {"loop": [1, 2]}
        assert kept.snapshot is not None

    def test_more_than_one_chunk_is_kept(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(housekeeping, "CHUNK", 2)
        partition("automations_event_content")
        runs = []
        for event in range(1, 6):
            make_content(workspace, event)
            runs.append(make_run(workspace, event))
        housekeeping.run()
        assert RunInput.objects.filter(run_id__in=runs, snapshot__isnull=False).count() == 5

    def test_contents_that_stay_are_not_copied(self, workspace: Workspace) -> None:
        make_content(workspace, 1, datetime.now(UTC))
        run = make_run(workspace, 1)
        housekeeping.run()
        assert not RunInput.objects.filter(run_id=run).exists()

    @pytest.mark.parametrize(
        ("state", "kept"), [("QUEUED", True), ("UNKNOWN", True), ("SENT", False), ("FAILED", False)]
    )
    def test_open_deliveries_keep_the_bytes_they_were_first_made_with(
        self, workspace: Workspace, state: str, kept: bool
    ) -> None:
        partition("automations_delivery_body")
        run = make_run(workspace, 1)
        delivery = rows(
            'INSERT INTO automations_delivery (workspace_id, run_id, visit, effect, key, automation_id, step, action, kind, state, "to",'
            " subject, envelope, customer_mail, money, waits, retries, retry_delay, backoff, exact_waits, fence, attempts,"
            " request_sha256, provider_ref, created_at)"
            " VALUES (%s, %s, 1, 0, %s, 1, 's', 'send_email', 'email', %s, '', '', '{}', true, false, true, 0, 60, 2, false, 0, 0,"
            " '', '', now()) RETURNING id",
            *(workspace.pk, run, delivery_key(run, 1, 0), state),
        )[0][0]
        rows("INSERT INTO automations_delivery_body VALUES (%s, %s, %s, 'bytes')", delivery, OLD, workspace.pk)
        housekeeping.run()
        assert not exists("automations_delivery_body_y2020m05")
        found = rows("SELECT body FROM automations_delivery_body WHERE delivery_id = %s", delivery)
        assert [bytes(row[0]) for row in found] == ([b"bytes"] if kept else [])


class TestSmallThings:
    def test_idempotency_answers_are_kept_for_a_day(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(housekeeping, "CHUNK", 2)
        now = datetime.now(UTC)
        for hours in (23, 25, 30, 48, 100, 200):
            Idempotency.objects.create(
                workspace=workspace, endpoint="POST /events", key=str(hours), body_sha256="", status=202,
                created_at=now - timedelta(hours=hours),
            )  # fmt: skip
        housekeeping.run()
        assert list(Idempotency.objects.values_list("key", flat=True)) == ["23"]

    def test_the_queues_record_of_failures_does_not_grow_for_ever(self, db: None) -> None:
        now = datetime.now(UTC)
        for number, days in enumerate((1, 31)):
            stopped = now - timedelta(days=days)
            Task.objects.create(
                id=str(number), name=f"t{number}", func="x", started=stopped, stopped=stopped, success=False
            )
        housekeeping.run()
        assert [task.name for task in Task.objects.all()] == ["t0"]
