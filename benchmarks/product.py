"""The product on the same workloads, as a user runs it: tenancy, filter, templates, log, tallies, evaluations on. Runs in this process
and in forked worker processes that do what `manage.py work` does, deliveries apart (no workload here measures a mail server)."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

from django.core.management import call_command
from django.db import connection, connections

from accounts.actor import system_actor
from accounts.models import User
from accounts.services.workspaces import create_workspace
from automations.models import Version
from automations.services.drafts import create_automation
from automations.services.events import NewEvent, record_events
from automations.services.publish import activate
from automations.worker.loop import Loop

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


def prepare(customers: int) -> int:
    """A fresh schema with one workspace, `customers` customers and the automations; answers the workspace's id."""
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    call_command("migrate", verbosity=0)
    User.objects.create_user(email="bench@example.com", password=None)
    workspace = create_workspace(name="Bench", slug="bench", owner=User.objects.get())
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_customer (workspace_id, external_id, name, email, segment, plan, country, time_zone, locale, metadata, "
            "facts, identified_at, created_at, updated_at) SELECT %s, g::text, 'Customer ' || g, 'customer-' || g || '@example.com', "
            "'smb', 'pro', 'DE', '', '', '{}', '{}', now(), now(), now() FROM generate_series(1, %s) g",
            [workspace.pk, customers],
        )
    for text in (W1, W2):
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
    for start in range(0, len(customers), BATCH):
        record_events(
            [
                NewEvent(
                    workspace_id,
                    "payment_trouble",
                    "api",
                    f"{round_}-{customer}",
                    {"customer": customer},
                    {"failureCount": 1},
                    origin="api",
                )
                for customer in customers[start : start + BATCH]
            ]
        )


def park(workspace_id: int, customers: list[int], count: int, due: datetime) -> None:
    """`count` runs that stand on the first delay of W2, all due at one moment."""
    version = Version.objects.get(automation__key="storm")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM automations_run WHERE automation_id = %s", [version.automation_id])
        cursor.execute(
            "INSERT INTO automations_run (workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, "
            "subject_id, subjects, "
            "mode, status, parked_on, due_at, step, seq, attempt, entered_at, started_at, steps_executed, lost) "
            "SELECT %s, %s, %s, g, c, 'customer', c, jsonb_build_object('customer', c), 'live', 'RUNNING', 'timer', %s, "
            "'one', 1, 0, now(), "
            "now(), 0, 0 FROM (SELECT g, (%s::bigint[])[1 + g %% %s] AS c FROM generate_series(1, %s) g) s",
            [workspace_id, version.automation_id, version.pk, due, customers, len(customers), count],
        )


def work(stop: Any) -> None:
    """One worker process: the loop of `manage.py work`, deliveries apart."""
    connections.close_all()
    loop = Loop(deliver=False)

    def end() -> None:
        stop.wait()
        loop.stop()

    threading.Thread(target=end, daemon=True).start()
    loop.run()
    connections.close_all()


def finished() -> tuple[int, int, int]:
    """Completed runs of W1, their log rows and their deliveries."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM automations_run WHERE status = 'COMPLETED'), (SELECT count(*) FROM automations_step_log), "
            "(SELECT count(*) FROM automations_delivery)"
        )
        return tuple(cursor.fetchone())


def clear() -> None:
    """Forget runs, logs, deliveries and events between two rounds; customers and automations stay."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE automations_delivery, automations_deliveryattempt, automations_run, automations_step_log, "
            "automations_event, automations_unrouted, automations_routed, "
            "automations_event_content, automations_evaluation, automations_tallydelta, automations_secondlook, "
            "automations_runinput CASCADE"
        )


def completed() -> int:
    """Completed runs, 0 as long as one is due: asking while the clock runs must cost next to nothing."""
    return _unless_due("status = 'COMPLETED'")


def moved() -> int:
    """Runs of W2 that have advanced, 0 as long as one is due."""
    return _unless_due("step = 'two'")


def _unless_due(which: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT due_at FROM automations_run WHERE workspace_id = (SELECT min(id) FROM accounts_workspace) AND due_at <= now() "
            "ORDER BY due_at LIMIT 1"
        )
        if cursor.fetchone() is not None:
            return 0
        cursor.execute(f"SELECT count(*) FROM automations_run WHERE {which}")
        return int(cursor.fetchone()[0])
