"""`/healthz`: the process answers. `/readyz`: it can do its work. `/metrics`: figures for Prometheus (CONTRACTS 2).

Every query is bounded: a probe must not become the load that it measures.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

WORKER_SILENCE = timedelta(seconds=30)
QUEUE_DELAY = timedelta(minutes=2)  # django-q2 looks at its schedules every half minute
EXACT_UP_TO = 100_000  # rows; above, runs by status come from the planner's statistics
MOST = 10_000  # no count goes further; a figure that stands at it says "at least"

# The oldest due run and how many are due: one index probe per workspace (index run_due).
DUE = f"""
SELECT coalesce(sum(due.n), 0)::bigint,
       coalesce(extract(epoch FROM onward_now() - min(due.oldest)), 0)::float
FROM accounts_workspace AS workspace CROSS JOIN LATERAL (
    SELECT count(*) AS n, min(due_at) AS oldest FROM (
        SELECT due_at FROM automations_run
        WHERE workspace_id = workspace.id AND due_at <= onward_now() ORDER BY due_at LIMIT {MOST}
    ) AS first_due
) AS due
"""
WORKERS = "SELECT count(*) FROM automations_worker WHERE beat_at > statement_timestamp() - %s"
# Where the schedules of the queue do the work, the cluster moves this one on at each pass.
QUEUE = """
SELECT count(*) FROM django_q_schedule WHERE name = 'onward.pass' AND next_run > statement_timestamp() - %s
"""
HELD = "SELECT held_why FROM accounts_provenance WHERE held_at IS NOT NULL"
DELIVERIES = f"""
SELECT state, count(*) FROM (SELECT state FROM automations_delivery WHERE due_at IS NOT NULL LIMIT {MOST}) AS open
GROUP BY state
"""
UNROUTED = f"SELECT count(*) FROM (SELECT 1 FROM automations_unrouted LIMIT {MOST}) AS waiting"
SIZE = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'automations_run'::regclass"
RUNS_EXACT = "SELECT status, count(*) FROM automations_run GROUP BY status"
RUNS_ESTIMATED = """
SELECT status, (share * (SELECT reltuples FROM pg_class WHERE oid = 'automations_run'::regclass))::bigint
FROM pg_stats, unnest(most_common_vals::text::text[], most_common_freqs) AS common (status, share)
WHERE schemaname = current_schema() AND tablename = 'automations_run' AND attname = 'status'
"""


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process can answer; asks nothing of anybody."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when database, migrations and workers are there, else 503 with what is missing."""
    try:
        checks = _checks()
    except DatabaseError as error:
        checks = {"database": {"ok": False, "message": f"No answer from the database ({type(error).__name__})."}}
    ready = all(check["ok"] for check in checks.values())
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for whoever bears ONWARD_METRICS_TOKEN; without that variable there is nothing here."""
    token = settings.ONWARD_METRICS_TOKEN
    if not token:
        return HttpResponse("Set ONWARD_METRICS_TOKEN to have metrics.\n", status=404, content_type="text/plain")
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not secrets.compare_digest(given.encode(), token.encode()):
        return HttpResponse("Bearer token missing or wrong.\n", status=401, content_type="text/plain")
    return HttpResponse("".join(_metric_lines()), content_type="text/plain; version=0.0.4; charset=utf-8")


def _checks() -> dict[str, dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    if not _migrated():
        return {"database": {"ok": True}, "migrations": {"ok": False, "message": "Run `manage.py migrate`."}}
    alive = _alive()
    due, age = _rows(DUE)[0]
    workers: dict[str, Any] = {"ok": alive > 0, "alive": alive}
    if not alive:
        workers["message"] = "No worker gave a sign of life. Start `manage.py work` or `manage.py qcluster`."
    checks: dict[str, dict[str, Any]] = {
        "database": {"ok": True},
        "migrations": {"ok": True},
        "workers": workers,
        "dueRuns": {"ok": True, "due": due, "oldestSeconds": round(age, 3)},
    }
    held = _rows(HELD)
    if held:
        checks["restored"] = {"ok": False, "message": f"{held[0][0]} Workers are held: see `manage.py restored`."}
    return checks


def _alive() -> int:
    """Workers with a fresh heartbeat; with the ticker off a queue that keeps its schedule counts as one (DESIGN 5.4)."""
    alive = _value(WORKERS, WORKER_SILENCE)
    if not alive and not settings.ONWARD_TICKER:
        return _value(QUEUE, timedelta(minutes=settings.ONWARD_PASS_MINUTES) + QUEUE_DELAY)
    return alive


def _migrated() -> bool:
    """Whether every migration was applied. Reading them all is slow, so a yes is remembered."""
    try:
        return _migrated_once()
    except LookupError:
        return False


@cache
def _migrated_once() -> bool:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise LookupError("migrations are missing")
    return True


def _metric_lines() -> Iterable[str]:
    due, age = _rows(DUE)[0]
    yield from _metric("onward_runs", "Runs by status; estimated in large installations.", _by("status", _runs()))
    yield from _metric("onward_runs_due", f"Runs whose time has come, counted to {MOST} a workspace.", {"": due})
    yield from _metric("onward_oldest_due_seconds", "How long the oldest due run has been due.", {"": age})
    yield from _metric("onward_deliveries_open", "Deliveries not settled.", _by("state", _rows(DELIVERIES)))
    yield from _metric("onward_events_unrouted", "Events recorded and not yet routed.", {"": _value(UNROUTED)})
    yield from _metric("onward_workers_alive", "Workers with a fresh heartbeat.", {"": _value(WORKERS, WORKER_SILENCE)})


def _runs() -> list[tuple[Any, ...]]:
    return _rows(RUNS_EXACT if _value(SIZE) < EXACT_UP_TO else RUNS_ESTIMATED)


def _by(label: str, rows: list[tuple[Any, ...]]) -> dict[str, float]:
    return {f'{{{label}="{value}"}}': count for value, count in rows}


def _metric(name: str, text: str, values: Mapping[str, float]) -> Iterable[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
    for labels, value in values.items():
        yield f"{name}{labels} {value}\n"


def _rows(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall())


def _value(sql: str, *parameters: Any) -> int:
    return int(_rows(sql, *parameters)[0][0])
