"""The daily work behind the scenes: partitions ahead, retention, old answers (DESIGN 6). Real time throughout.

Every part may be broken off and run again: what is done stays done, the rest follows the next day.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection, transaction
from django_q.models import Failure

from accounts.clock import real_now
from accounts.models import Customer, Idempotency
from automations.services.erasing import empty_deliveries

log = logging.getLogger(__name__)

LOGS = ("automations_step_log", "automations_evaluation")  # kept ONWARD_RETENTION_DAYS
CONTENTS = ("automations_event_content", "automations_delivery_body")  # kept 90 days, or less where logs are
MONTHS_AHEAD = 2
IDEMPOTENCY_AGE = timedelta(hours=24)
FAILURE_AGE = timedelta(days=30)  # of django-q2's own record of failed tasks
ERASED_AGE = timedelta(days=8)  # for so long the deliveries of an erased customer are looked for again
CHUNK = 5_000
DROP_TRIES = 5
MONTH = re.compile(r"_y(\d{4})m(\d{2})$")

MAKE_AHEAD = """
SELECT count(*) FILTER (WHERE onward_partition(parent, (%s::date + make_interval(months => ahead))::date))
FROM unnest(%s::text[]) AS parent, generate_series(0, %s) AS ahead
"""
PARTITIONS = """
SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = %s::regclass ORDER BY child.relname
"""
# Unfinished runs read their event's snapshot; before it goes it moves to their input (DESIGN 6).
KEEP_SNAPSHOTS = """
INSERT INTO automations_runinput (run_id, workspace_id, items, snapshot)
SELECT run.id, run.workspace_id, '{{}}', jsonb_build_object('payload', content.payload, 'snapshot', content.snapshot)
FROM automations_run AS run
JOIN {partition} AS content ON content.event_id = run.event_id
LEFT JOIN automations_runinput AS input ON input.run_id = run.id
WHERE run.ended_at IS NULL AND input.snapshot IS NULL
ORDER BY run.id LIMIT {chunk}
ON CONFLICT (run_id) DO UPDATE SET snapshot = excluded.snapshot
"""
# A delivery that is still open is made with the bytes it was first made with: they move to this month.
KEEP_BODIES = """
INSERT INTO automations_delivery_body (delivery_id, recorded_at, workspace_id, body)
SELECT old.delivery_id, clock_timestamp(), old.workspace_id, old.body
FROM {partition} AS old JOIN automations_delivery AS delivery ON delivery.id = old.delivery_id
WHERE delivery.state IN ('QUEUED', 'SENDING', 'UNKNOWN') AND NOT EXISTS (
    SELECT 1 FROM automations_delivery_body AS newer
    WHERE newer.delivery_id = old.delivery_id AND newer.recorded_at > old.recorded_at)
ORDER BY old.delivery_id LIMIT {chunk}
"""
KEEP = {"automations_event_content": KEEP_SNAPSHOTS, "automations_delivery_body": KEEP_BODIES}
OF_ERASED = """
SELECT id FROM automations_delivery WHERE workspace_id = ANY(%s) AND customer_id = ANY(%s) AND id > %s
    AND state NOT IN ('QUEUED', 'SENDING', 'UNKNOWN') ORDER BY id LIMIT %s
"""
NOTE = 'INSERT INTO automations_partitionlog ("table", partition, action, at) VALUES (%s, %s, %s, clock_timestamp())'


def run() -> int:
    """Do all of it; answers how many partitions were made or dropped and rows removed."""
    now = real_now()
    done = make_partitions(now)
    for table, days in _retention():
        for partition in _outlived(table, now - timedelta(days=days)):
            done += drop_partition(table, partition)
    return done + forget_answers(now) + forget_erased(now) + _forget_failures(now) + _forget_sessions(now)


def make_partitions(now: datetime) -> int:
    """Partitions of this month and the next two for each table; answers how many were made."""
    with connection.cursor() as cursor:
        cursor.execute(MAKE_AHEAD, [now.astimezone(UTC).date().replace(day=1), [*LOGS, *CONTENTS], MONTHS_AHEAD])
        return int(cursor.fetchone()[0])


def drop_partition(table: str, partition: str) -> bool:
    """Move what unfinished runs and open deliveries still need, then detach and drop. False when the table was too busy.

    Detaching needs the table for a moment, so it waits for the lock only briefly: nobody stands long behind it.
    """
    _keep_needed(table, partition)
    name = connection.ops.quote_name
    for _ in range(DROP_TRIES):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '1s'")
                cursor.execute(f"ALTER TABLE {name(table)} DETACH PARTITION {name(partition)}")
                cursor.execute(NOTE, [table, partition, "detached"])
                cursor.execute(f"DROP TABLE {name(partition)}")
                cursor.execute(NOTE, [table, partition, "dropped"])
            return True
        except OperationalError as error:
            log.warning("partition %s was not dropped: %s", partition, error)
    return False


def forget_answers(now: datetime) -> int:
    """Idempotency keys are kept for 24 hours (CONTRACTS 1)."""
    done = 0
    while True:
        old = Idempotency.objects.filter(created_at__lt=now - IDEMPOTENCY_AGE).order_by("created_at").values("pk")
        gone, _ = Idempotency.objects.filter(pk__in=old[:CHUNK]).delete()
        done += gone
        if gone < CHUNK:
            return done


def forget_erased(now: datetime) -> int:
    """Empty the deliveries of customers erased lately that are not of their own runs: a loop over a query mails people by a run
    that is about none of them. They have no index, so that mails are queued fast; the table is read once, and only when somebody was
    erased (SUP-06). Answers how many deliveries it found."""
    people = dict(Customer.objects.filter(erased_at__gte=now - ERASED_AGE).values_list("pk", "workspace_id"))
    customers, workspaces = sorted(people), sorted(set(people.values()))
    done, after = 0, 0
    while customers:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '200s'")
            cursor.execute(OF_ERASED, [workspaces, customers, after, CHUNK])
            found = [row[0] for row in cursor.fetchall()]
            empty_deliveries(found)
        done += len(found)
        if len(found) < CHUNK:
            break
        after = found[-1]
    return done


def _retention() -> Iterator[tuple[str, int]]:
    yield from ((table, settings.ONWARD_RETENTION_DAYS) for table in LOGS)
    yield from ((table, settings.ONWARD_CONTENT_DAYS) for table in CONTENTS)


def _outlived(table: str, oldest: datetime) -> list[str]:
    """Partitions that hold nothing younger than `oldest`."""
    with connection.cursor() as cursor:
        cursor.execute(PARTITIONS, [table])
        names = [row[0] for row in cursor.fetchall()]
    return [name for name in names if (end := _end(name)) is not None and end <= oldest.astimezone(UTC).date()]


def _end(partition: str) -> date | None:
    """The first day after its month; None for a table that is not named as ours are."""
    found = MONTH.search(partition)
    if found is None:
        return None
    return (date(int(found[1]), int(found[2]), 1) + timedelta(days=32)).replace(day=1)


def _keep_needed(table: str, partition: str) -> None:
    if table not in KEEP:
        return
    sql = KEEP[table].format(partition=connection.ops.quote_name(partition), chunk=CHUNK)
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '200s'")  # it reads all runs, once a month
            cursor.execute(sql)
            if cursor.rowcount < CHUNK:
                return


def _forget_failures(now: datetime) -> int:
    return Failure.objects.filter(stopped__lt=now - FAILURE_AGE).delete()[0]


def _forget_sessions(now: datetime) -> int:
    return Session.objects.filter(expire_date__lt=now).delete()[0]
