"""Probes: a process that answers, an installation that can do its work, figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from automations.models import Worker
from config import health
from tests.factories import make_workspace

TOKEN = "t0ken"


def beat(age: timedelta = timedelta(0)) -> None:
    worker = Worker.objects.create(name=f"host:{age}")
    Worker.objects.filter(pk=worker.pk).update(beat_at=datetime.now(UTC) - age)


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@pytest.fixture(autouse=True)
def _forget() -> None:
    health._migrated_once.cache_clear()


class TestHealth:
    def test_it_asks_nothing_of_the_database(self, django_assert_num_queries: DjangoAssertNumQueries, db: None) -> None:
        with django_assert_num_queries(0):
            found = Client().get("/healthz")
        assert (found.status_code, found.json()) == (200, {"status": "ok"})

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
    def test_only_reading_is_allowed(self, path: str, db: None) -> None:
        assert Client().post(path).status_code == 405


class TestReady:
    def test_ready_with_database_migrations_and_a_worker(self, db: None) -> None:
        beat()
        found = Client().get("/readyz")
        assert found.status_code == 200
        body = found.json()
        assert body["ready"] is True
        assert {name: check["ok"] for name, check in body["checks"].items()} == {
            "database": True,
            "migrations": True,
            "workers": True,
            "dueRuns": True,
        }

    @pytest.mark.parametrize("silence", [None, timedelta(minutes=5)])
    def test_not_ready_without_a_living_worker(self, db: None, silence: timedelta | None) -> None:
        if silence:
            beat(silence)
        found = Client().get("/readyz")
        assert found.status_code == 503
        assert found.json()["checks"]["workers"]["alive"] == 0
        assert "manage.py work" in found.json()["checks"]["workers"]["message"]

    @pytest.mark.parametrize(("minutes", "status"), [(-3, 200), (5, 200), (-8, 503)])
    def test_a_queue_that_keeps_its_schedule_counts_where_the_ticker_is_off(
        self, db: None, settings: Settings, minutes: int, status: int
    ) -> None:
        settings.ONWARD_TICKER = False
        sql(
            "UPDATE django_q_schedule SET next_run = now() + make_interval(mins => %s) WHERE name = 'onward.pass'",
            minutes,
        )
        assert Client().get("/readyz").status_code == status
        settings.ONWARD_TICKER = True
        assert Client().get("/readyz").status_code == 503

    def test_not_ready_while_a_migration_is_missing(self, db: None) -> None:
        beat()
        newest = "(SELECT max(name) FROM django_migrations WHERE app = 'automations')"
        sql(f"DELETE FROM django_migrations WHERE app = 'automations' AND name = {newest}")
        found = Client().get("/readyz")
        assert found.status_code == 503
        assert "manage.py migrate" in found.json()["checks"]["migrations"]["message"]

    def test_a_database_that_is_away_is_said_not_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away() -> None:
            raise DatabaseError("password=hush")

        monkeypatch.setattr(health, "_checks", away)
        found = Client().get("/readyz")
        assert found.status_code == 503
        assert "hush" not in found.content.decode()

    def test_the_age_of_the_oldest_due_run_is_shown(self, db: None, due_runs: Callable[[int, int], None]) -> None:
        beat()
        due_runs(3, 90)
        found = Client().get("/readyz").json()["checks"]["dueRuns"]
        assert found["due"] == 3
        assert 90 <= found["oldestSeconds"] < 120


@pytest.fixture
def due_runs(db: None) -> Callable[[int, int], None]:
    """Makes `count` runs due for `seconds`, as bare rows: probes read nothing else of them."""

    def make(count: int, seconds: int) -> None:
        workspace = make_workspace()
        sql(
            "INSERT INTO automations_run (workspace_id, automation_id, version_id, event_id, subject_kind, subject_id, subjects,"
            " mode, status, due_at, seq, attempt, started_at, steps_executed, lost)"
            " SELECT %s, 1, 1, n, 'none', 0, '{}', 'live', 'RUNNING', onward_now() - make_interval(secs => %s), 0, 0, now(), 0, 0"
            " FROM generate_series(1, %s) AS n",
            workspace.pk,
            seconds,
            count,
        )

    return make


class TestMetrics:
    def get(self, token: str = TOKEN) -> str:
        found = Client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
        assert found.status_code == 200, found.content
        return found.content.decode()

    def test_without_a_token_in_the_environment_there_is_nothing(self, db: None, settings: Settings) -> None:
        settings.ONWARD_METRICS_TOKEN = ""
        assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404

    @pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer tökén"}])
    def test_a_wrong_token_is_refused(self, db: None, settings: Settings, header: dict[str, str]) -> None:
        settings.ONWARD_METRICS_TOKEN = TOKEN
        assert Client().get("/metrics", headers=header).status_code == 401

    def test_figures(self, settings: Settings, due_runs: Callable[[int, int], None]) -> None:
        settings.ONWARD_METRICS_TOKEN = TOKEN
        due_runs(4, 10)
        beat()
        lines = self.get().splitlines()
        assert 'onward_runs{status="RUNNING"} 4' in lines
        assert "onward_runs_due 4" in lines
        assert "onward_workers_alive 1" in lines
        assert any(line.startswith("onward_events_unrouted ") for line in lines)
        age = next(line for line in lines if line.startswith("onward_oldest_due_seconds "))
        assert float(age.split()[1]) >= 10

    def test_every_metric_is_described_and_typed(self, settings: Settings, db: None) -> None:
        settings.ONWARD_METRICS_TOKEN = TOKEN
        lines = self.get().splitlines()
        names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
        assert names == {line.split()[2] for line in lines if line.startswith("# HELP")}
        assert {line.partition("{")[0].split()[0] for line in lines if not line.startswith("#")} <= names

    def test_large_tables_are_estimated_not_counted(
        self, settings: Settings, due_runs: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.ONWARD_METRICS_TOKEN = TOKEN
        due_runs(50, 1)
        sql("ANALYZE automations_run")
        monkeypatch.setattr(health, "EXACT_UP_TO", 0)
        assert 'onward_runs{status="RUNNING"} 50' in self.get()

    def test_counts_stop_at_a_bound(self) -> None:
        for statement in (health.DUE, health.DELIVERIES, health.UNROUTED):
            assert f"LIMIT {health.MOST}" in statement
