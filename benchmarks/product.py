"""The product on the same workloads, as a user runs it: tenancy, filter, templates, log, tallies, evaluations on. Runs in this process
and in forked worker processes that do what `manage.py work` does, deliveries apart (no workload here measures a mail server)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.management import call_command
from django.db import connection, connections, transaction

from accounts.actor import system_actor
from accounts.models import User
from accounts.services.workspaces import create_workspace
from automations.models import Version
from automations.services.drafts import create_automation
from automations.services.events import NewEvent, record_events
from automations.services.publish import activate
from automations.worker.advance import advance_batch
from automations.worker.claim import claim, due_workspaces
from automations.worker.loop import Loop
from benchmarks.database import begin_anew, keep_as_migrated
from benchmarks.stage import READY, forked

BATCH = 500
W1 = """
name: Dunning drip
key: drip
trigger: {type: event, event: payment_trouble}
filter: customer.plan == "pro"
settings: {reentry: always, transactional: true}
steps:
  - id: first
    type: condition
    if: "{{trigger.failureCount}} == 1"
    then:
      - {id: mail1, type: action, action: send_email, to: "{{customer.email}}", subject: "Payment failed {{trigger.failureCount}}",
         body: "Dear {{customer.name}}"}
  - {id: pause, type: delay, until: "2020-01-01T00:00:00Z"}
  - id: second
    type: condition
    if: "{{trigger.failureCount}} == 1"
    then:
      - {id: mail2, type: action, action: send_email, to: "{{customer.email}}", subject: "Still open {{trigger.failureCount}}",
         body: "Dear {{customer.name}}"}
  - {id: over, type: stop}
"""
W2 = """
name: Two delays
key: storm
trigger: {type: event, event: storm_begins}
steps:
  - {id: one, type: delay, duration: 1d}
  - {id: two, type: delay, duration: 30d}
"""
W3 = """
name: Until it is paid
key: until-paid
trigger: {type: event, event: waiting_begins}
steps:
  - {id: paid, type: wait_until, event: paid, timeout: 60d}
  - {id: after, type: delay, duration: 30d}
"""


def prepare(customers: int) -> int:
    """A fresh database with one workspace, `customers` customers and the automations; answers the workspace's id."""
    connections.close_all()
    if not begin_anew():
        call_command("migrate", verbosity=0)
        connections.close_all()
        keep_as_migrated()
    User.objects.create_user(email="bench@example.com", password=None)
    workspace = create_workspace(name="Bench", slug="bench", owner=User.objects.get())
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_customer (workspace_id, external_id, name, email, segment, plan, country, time_zone, locale, metadata, "
            "facts, identified_at, created_at, updated_at) SELECT %s, g::text, 'Customer ' || g, 'customer-' || g || '@example.com', "
            "'smb', 'pro', 'DE', '', '', '{}', '{}', now(), now(), now() FROM generate_series(1, %s) g",
            [workspace.pk, customers],
        )
    for text in (W1, W2, W3):
        draft = create_automation(actor=system_actor(workspace.pk), body=text, fmt="yaml")
        activate(actor=system_actor(workspace.pk), automation_id=draft.automation.pk)
    return int(workspace.pk)


def customer_ids() -> list[int]:
    """All customers, ascending."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM accounts_customer ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def enrol(workspace_id: int, customers: list[int], round_: int) -> None:
    """Record one event per customer, 500 a transaction, as the events API does."""
    record(workspace_id, "payment_trouble", customers, round_, BATCH)


def record(workspace_id: int, name: str, customers: list[int], round_: int, size: int) -> None:
    """One event of this name for each customer, `size` a transaction."""
    for start in range(0, len(customers), size):
        record_events(
            [
                NewEvent(
                    workspace_id,
                    name,
                    "api",
                    f"{name}-{round_}-{customer}",
                    {"customer": customer},
                    {"failureCount": 1},
                    origin="api",
                )
                for customer in customers[start : start + size]
            ]
        )


_PARK = """
INSERT INTO automations_run (workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, subject_id, subjects, mode,
    status, parked_on, due_at, step, seq, attempt, entered_at, started_at, steps_executed, lost, wait_name, wait_key, wait_since)
SELECT %(workspace)s, %(automation)s, %(version)s, 1000000000 + g, c, 'customer', c, jsonb_build_object('customer', c), 'live',
    %(status)s, %(parked)s, %(due)s, %(step)s, 1, 0, now(), now(), 0, 0, %(wait)s, CASE WHEN %(wait)s::text IS NULL THEN NULL ELSE
    'customer:' || c END, CASE WHEN %(wait)s::text IS NULL THEN NULL ELSE 0 END
FROM (SELECT g, (%(customers)s::bigint[])[1 + (g - 1) %% %(people)s] AS c FROM generate_series(1, %(count)s) g) s
"""


def park(workspace_id: int, customers: list[int], count: int, due: datetime) -> None:
    """`count` runs that stand on the first delay of W2, all due at one moment."""
    _insert(
        "storm", workspace_id, customers, count, {"status": "RUNNING", "parked": "timer", "due": due, "step": "one"}
    )


def wait(workspace_id: int, customers: list[int], due: datetime) -> None:
    """A run of each customer that waits for the event `paid` until `due`."""
    parked = {"status": "WAITING_FOR_EVENT", "parked": "event", "due": due, "step": "paid", "wait": "paid"}
    _insert("until-paid", workspace_id, customers, len(customers), parked)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE automations_run")


def _insert(automation: str, workspace_id: int, customers: list[int], count: int, values: dict[str, Any]) -> None:
    version = Version.objects.get(automation__key=automation)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone()[0]:  # millions of known customers, not looked up again
            cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("DELETE FROM automations_run WHERE automation_id = %s", [version.automation_id])
        known = {"workspace": workspace_id, "automation": version.automation_id, "version": version.pk, "count": count}
        cursor.execute(_PARK, {"wait": None, **values, **known, "customers": customers, "people": len(customers)})


@contextmanager
def working(processes: int = 2) -> Iterator[list[int]]:
    """Workers at rest: each has its row, which it writes before it begins to listen."""
    connections.close_all()  # forked workers must not share a connection
    with forked(work, processes=processes) as pids:
        yield pids


def work(ready: Any, stop: Any) -> None:
    """One worker process: the loop of `manage.py work`, deliveries apart."""
    connections.close_all()
    loop = Loop(deliver=False)

    def watch() -> None:
        _wait_for_row()
        ready.release()
        stop.wait()
        loop.stop()

    threading.Thread(target=watch, daemon=True).start()
    loop.run()
    connections.close_all()


def _wait_for_row() -> None:
    """Until this process has its row of `worker`; a moment later it listens."""
    from automations.worker import poison

    end = time.monotonic() + READY
    while poison._holder is None and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)


def poll() -> int:
    """One look for what is due, by a worker that knows nothing of the workspaces yet, given back at once."""
    due_workspaces.forget()
    with transaction.atomic():
        count = len(claim(BATCH))
        transaction.set_rollback(True)
    return count


def idle() -> int:
    """One turn of a worker for which nothing is due."""
    return advance_batch()


def finished(after: int = 0) -> tuple[int, int, int]:
    """Completed runs of W1 with a greater id, their log rows and their deliveries."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM automations_run WHERE id > %s AND status = 'COMPLETED'), "
            "(SELECT count(*) FROM automations_step_log WHERE run_id > %s), "
            "(SELECT count(*) FROM automations_delivery WHERE run_id > %s)",
            [after] * 3,
        )
        return tuple(cursor.fetchone())


def settle() -> None:
    """What autovacuum does within minutes of many new rows."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE automations_run")


def last() -> int:
    """The newest run."""
    return _number("SELECT coalesce(max(id), 0) FROM automations_run")


def clear() -> None:
    """Forget runs, logs, deliveries and events between two rounds; customers and automations stay."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE automations_delivery, automations_deliveryattempt, automations_run, automations_step_log, "
            "automations_event, automations_unrouted, automations_routed, "
            "automations_event_content, automations_evaluation, automations_tallydelta, automations_secondlook, "
            "automations_runinput CASCADE"
        )


def completed(after: int = 0) -> int:
    """Completed runs with a greater id, 0 as long as one is due or an event is to be routed: asking while the clock runs must cost next
    to nothing."""
    return _unless_due(f"id > {after:d} AND status = 'COMPLETED'")


def moved() -> int:
    """Runs of W2 that have advanced, 0 as long as one is due."""
    return _unless_due("step = 'two'")


def routed() -> bool:
    """Whether every event was routed; who was woken by it is so from then on. What came of it is counted behind the measurement."""
    return _number(f"SELECT ({_ROUTING})::int") == 0


def woken() -> set[int]:
    """Customers whose runs of W3 wait no more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT customer_id FROM automations_run WHERE automation_id = (SELECT id FROM automations_automation WHERE "
            "key = 'until-paid') AND status <> 'WAITING_FOR_EVENT'"
        )
        return {row[0] for row in cursor.fetchall()}


_ROUTING = "EXISTS (SELECT 1 FROM automations_unrouted)"
_DUE = "EXISTS (SELECT 1 FROM automations_run WHERE workspace_id = (SELECT min(id) FROM accounts_workspace) AND due_at <= now())"


def _unless_due(which: str) -> int:
    return _number(
        f"SELECT CASE WHEN {_ROUTING} OR {_DUE} THEN 0 ELSE (SELECT count(*) FROM automations_run WHERE {which}) END"
    )


def _number(query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])
