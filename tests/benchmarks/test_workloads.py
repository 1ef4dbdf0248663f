"""`make bench` in sizes that only show that all of it works: each workload and contender is run, counted and judged (PERFORMANCE, "The
workloads"). Figures of such sizes mean nothing and are not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from config.database import Database
from tests.benchmarks.places import admin_dsn

ROOT = Path(__file__).resolve().parents[2]
CONTENDERS = {
    "W1": {"floor", "guarded floor", "set-based SQL", "product", "django-q2", "cron"},
    "W2": {"floor", "product"},
    "W3": {"floor", "guarded floor", "product"},
    "W4": {f"{who} {state}" for who in ("floor", "product") for state in ("none", "many", "raw", "analysed")},
    "W5": {"product"},
    "W6": {"bare view", "product, 1", "product, 100"},
    "W8": {"floor 0", "product 0", "floor 50", "product 50"},
}
GOALS = {"W1": 9, "W2": 1, "W3": 1, "W4": 2, "W5": 3, "W6": 2, "W8": 2}
pytestmark = [
    pytest.mark.django_db,  # that the test database is there
    pytest.mark.skipif(
        not os.path.exists("/proc/self/schedstat"), reason="this system does not tell what a process cost"
    ),
]


@pytest.fixture(scope="module")
def measured(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one tiny run of everything wrote, on copies of the migrated test database."""
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    found = connection.settings_dict
    name, user, password, host, port = (str(found[key]) for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT"))
    copy = f"{name}_bench_template"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | {
        "DATABASE_URL": Database(name, user, password, host, port).as_url(),
        "BENCH_DATABASE": f"{name}_bench",
        "BENCH_TEMPLATE": copy,
        "ONWARD_DEBUG": "1",
        "ONWARD_WORKERS": "1",
        "ONWARD_WEB_WORKERS": "1",
    }
    environment.pop("ONWARD_TEST_DATA", None)
    with django_db_blocker.unblock(), psycopg.connect(admin_dsn(), autocommit=True) as admin:
        connection.close()
        admin.execute(f'DROP DATABASE IF EXISTS "{copy}" WITH (FORCE)')
        # Sessions that an earlier test left behind keep a database from being copied.
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        admin.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
        try:
            command = [sys.executable, "-m", "benchmarks", "--tiny", "--json", str(path)]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        finally:
            admin.execute(f'DROP DATABASE "{copy}" WITH (FORCE)')
    assert done.returncode == 0, done.stderr[-3000:]
    return {"printed": done.stdout, **json.loads(path.read_text())}


@pytest.mark.parametrize("name", CONTENDERS)
def test_each_contender_of_a_workload_is_measured_and_counted(measured: dict[str, Any], name: str) -> None:
    workload = measured["workloads"][name]
    assert CONTENDERS[name] <= set(workload["rows"])
    for rows in workload["rows"].values():
        assert len(rows) == measured["settings"]["rounds"]
        assert all(value >= 0 for row in rows for value in row.values())
    assert workload["title"] in measured["printed"]


@pytest.mark.parametrize("name", GOALS)
def test_each_goal_of_the_table_is_judged(measured: dict[str, Any], name: str) -> None:
    goals = measured["workloads"][name]["goals"]
    assert len(goals) == GOALS[name]
    for goal in goals:
        assert goal["values"] or "DBOS" in goal["what"]
        assert f"  {goal['what']}: " in measured["printed"]


def test_costs_of_the_application_the_database_and_the_log_are_told(measured: dict[str, Any]) -> None:
    for row in (rows[0] for rows in measured["workloads"]["W1"]["rows"].values()):
        assert row["app"] > 0
        assert row["postgres"] > 0
        assert row["wal"] > 0
        assert row["memory"] > 1  # megabytes


def test_slow_contenders_are_counted_by_their_own_number_of_runs(measured: dict[str, Any]) -> None:
    rows, settings = measured["workloads"]["W1"]["rows"], measured["settings"]
    assert {row["count"] for row in rows["cron"] + rows["django-q2"]} == {settings["slow"]}
    assert {row["count"] for row in rows["product"] + rows["floor"]} == {settings["runs"]}


def test_a_contender_that_cannot_be_installed_says_so(measured: dict[str, Any]) -> None:
    if find_spec("dbos"):
        pytest.skip("the package dbos is installed here")
    assert "DBOS: not measured: the package dbos is not installed" in measured["printed"]


@pytest.mark.skipif(find_spec("dbos") is None, reason="needs the package dbos: config/requirements-bench.lock")
def test_dbos_is_measured_where_it_is_installed(measured: dict[str, Any]) -> None:
    assert [row["count"] for row in measured["workloads"]["W1"]["rows"]["DBOS"]] == [measured["settings"]["slow"]]
