"""The floor: what a person would write by hand for these workloads and nothing else. psycopg 3, a Python state machine, claims of
500 with SKIP LOCKED, COPY for logs and outbox, one UPDATE .. FROM. No tenancy, filters, templates, tallies, conditions or checks.

Tables and indexes are those of the reference loop in PERFORMANCE.md ("Recommended loop"): the run carries its version, its context as
JSON and the columns of a wait; enrolling is unique for version and event; events can be looked back for; the outbox is unique for run
and step and has an index of what is unsent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

BATCH = 500
SCHEMA = """
DROP TABLE IF EXISTS floor_event, floor_run, floor_log, floor_outbox;
CREATE TABLE floor_event (id bigint PRIMARY KEY, name text NOT NULL, subject_id bigint NOT NULL, payload jsonb NOT NULL);
CREATE INDEX ON floor_event (name, subject_id, id);
CREATE TABLE floor_run (id bigserial PRIMARY KEY, version_id int NOT NULL, subject_id bigint NOT NULL, event_id bigint NOT NULL,
    status smallint NOT NULL DEFAULT 0, node smallint NOT NULL DEFAULT 0, seq smallint NOT NULL DEFAULT 0, due_at timestamptz,
    wait_name text, wait_key text, ctx jsonb NOT NULL, updated_at timestamptz NOT NULL DEFAULT now(), UNIQUE (version_id, event_id))
    WITH (fillfactor = 85);
CREATE INDEX ON floor_run (due_at) WHERE status = 0;
CREATE INDEX ON floor_run (wait_name, wait_key) WHERE status = 1;
CREATE TABLE floor_log (run_id bigint, seq smallint, node smallint, at timestamptz, result text, PRIMARY KEY (run_id, seq, at));
CREATE TABLE floor_outbox (id bigserial PRIMARY KEY, run_id bigint NOT NULL, seq smallint NOT NULL, recipient text NOT NULL,
    subject text NOT NULL, sent_at timestamptz, UNIQUE (run_id, seq));
CREATE INDEX ON floor_outbox (id) WHERE sent_at IS NULL;
"""
_CLAIM = (
    "SELECT id, subject_id, node, seq, ctx::text FROM floor_run WHERE status = 0 AND due_at <= now() ORDER BY due_at LIMIT %s "
    "FOR UPDATE SKIP LOCKED"
)
_UPDATE = (
    "UPDATE floor_run r SET status = u.status, node = u.node, seq = u.seq, due_at = u.due_at, ctx = u.ctx::jsonb, updated_at = now() "
    "FROM unnest(%s::bigint[], %s::smallint[], %s::smallint[], %s::smallint[], %s::timestamptz[], %s::text[]) "
    "AS u(id, status, node, seq, due_at, ctx) WHERE r.id = u.id"
)
_ENROL = (
    "INSERT INTO floor_run (version_id, event_id, subject_id, ctx, due_at) SELECT 1, id, subject_id, payload, now() FROM floor_event "
    "WHERE id = ANY(%s) ON CONFLICT (version_id, event_id) DO NOTHING"
)
_MATCH = (
    "UPDATE floor_run r SET status = 0, due_at = now(), wait_name = NULL, wait_key = NULL FROM ("
    "SELECT w.id FROM unnest(%s::text[], %s::text[]) e(name, key) CROSS JOIN LATERAL (SELECT id FROM floor_run WHERE status = 1 "
    "AND wait_name = e.name AND wait_key = e.key FOR UPDATE) w) u WHERE r.id = u.id"
)


def prepare(dsn: str) -> None:
    """Fresh tables."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)


def enrol(dsn: str, first: int, count: int) -> None:
    """Record `count` events and start a run of each, 500 a transaction."""
    with psycopg.connect(dsn) as connection:
        for start in range(first, first + count, BATCH):
            ids = range(start, min(start + BATCH, first + count))
            with connection.cursor() as cursor, cursor.copy("COPY floor_event FROM STDIN") as copy:
                for id in ids:
                    copy.write_row((id, "payment.failed", id, '{"failureCount": 1}'))
            connection.execute(_ENROL, [list(ids)])
            connection.commit()


def park(dsn: str, count: int, due: datetime) -> None:
    """`count` runs that stand on a delay, all due at one moment."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO floor_run (version_id, event_id, subject_id, ctx, node, due_at) SELECT 2, g, g, '{\"failureCount\": 1}', 7, %s "
            "FROM generate_series(1, %s) g",
            [due, count],
        )


def wait(dsn: str, count: int) -> None:
    """`count` runs that wait for an event of their own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO floor_run (version_id, event_id, subject_id, ctx, status, node, wait_name, wait_key) "
            "SELECT 3, g, g, '{\"failureCount\": 1}', 1, 7, 'paid', 'customer:' || g FROM generate_series(1, %s) g",
            [count],
        )
        connection.execute("ANALYZE floor_run")


def match(dsn: str, subjects: list[int], size: int) -> None:
    """Record an event of each of these subjects, `size` a transaction, and make the runs due that wait for them."""
    with psycopg.connect(dsn) as connection:
        for start in range(0, len(subjects), size):
            some = subjects[start : start + size]
            with connection.cursor() as cursor, cursor.copy("COPY floor_event FROM STDIN") as copy:
                for place, subject in enumerate(some, 1_000_000_000 + start):
                    copy.write_row((place, "paid", subject, "{}"))
            connection.execute(_MATCH, [["paid"] * len(some), [f"customer:{subject}" for subject in some]])
            connection.commit()


def awake(dsn: str) -> int:
    """Runs that wait no more."""
    return _number(dsn, "SELECT count(*) FROM floor_run WHERE version_id = 3 AND status <> 1")


def poll(connection: psycopg.Connection[Any]) -> int:
    """One look for what is due, given back at once."""
    count = len(connection.execute(_CLAIM, [BATCH]).fetchall())
    connection.rollback()
    return count


def work(dsn: str, ready: Any, stop: Any) -> None:
    """Claim, walk, commit until `stop` is set."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_sort = off")
        connection.execute("SET enable_bitmapscan = off")
        connection.commit()
        ready.release()
        while not stop.is_set():
            if not _batch(connection):
                stop.wait(0.005)


def _batch(connection: psycopg.Connection[Any]) -> int:
    rows = connection.execute(_CLAIM, [BATCH]).fetchall()
    if not rows:
        connection.rollback()
        return 0
    now = datetime.now(UTC)
    logs: list[tuple[Any, ...]] = []
    outbox: list[tuple[Any, ...]] = []
    ends = [_walk(row, now, logs, outbox) for row in rows]
    with connection.cursor() as cursor:
        with cursor.copy("COPY floor_log FROM STDIN") as copy:
            for log in logs:
                copy.write_row(log)
        if outbox:
            with cursor.copy("COPY floor_outbox (run_id, seq, recipient, subject) FROM STDIN") as copy:
                for mail in outbox:
                    copy.write_row(mail)
        cursor.execute(_UPDATE, [list(column) for column in zip(*ends, strict=True)])
    connection.commit()
    return len(rows)


def _walk(
    row: tuple[Any, ...], now: datetime, logs: list[tuple[Any, ...]], outbox: list[tuple[Any, ...]]
) -> tuple[Any, ...]:
    """condition, e-mail, a delay already past, condition, e-mail, end; node 7 is the delay of W2."""
    id, subject, node, seq, text = row
    ctx = json.loads(text)
    failures = ctx["failureCount"]
    while True:
        seq += 1
        if node in (0, 3):
            logs.append((id, seq, node, now, "true" if failures == 1 else "false"))
            node += 1
        elif node in (1, 4):
            logs.append((id, seq, node, now, "queued"))
            outbox.append((id, seq, f"customer-{subject}@example.com", f"Payment failed {failures}"))
            node += 1
        elif node == 2:
            logs.append((id, seq, node, now, "past"))
            node += 1
        elif node == 7:
            logs.append((id, seq, node, now, "waited"))
            return (id, 0, 8, seq, now + timedelta(days=30), json.dumps(ctx))
        else:
            logs.append((id, seq, node, now, "end"))
            return (id, 2, node, seq, None, json.dumps(ctx))


def finished(dsn: str, after: int = 0) -> tuple[int, int, int]:
    """Completed runs with a greater id, their log rows and outbox rows: the count that follows each measurement."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM floor_run WHERE id > %s AND status = 2), (SELECT count(*) FROM floor_log WHERE run_id > %s), "
            "(SELECT count(*) FROM floor_outbox WHERE run_id > %s)",
            [after] * 3,
        ).fetchone()
    assert row is not None
    return row


def settle(dsn: str) -> None:
    """What autovacuum does within minutes of many new rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE floor_run")


def last(dsn: str) -> int:
    """The newest run."""
    return _number(dsn, "SELECT coalesce(max(id), 0) FROM floor_run")


def completed(dsn: str, after: int = 0) -> int:
    """Completed runs with a greater id, 0 as long as one is due: asking while the clock runs must cost next to nothing."""
    return _unless_due(dsn, f"id > {after:d} AND status = 2")


def moved(dsn: str) -> int:
    """Runs of W2 that have advanced, 0 as long as one is due."""
    return _unless_due(dsn, "node = 8")


def _unless_due(dsn: str, which: str) -> int:
    due = "EXISTS (SELECT 1 FROM floor_run WHERE status = 0 AND due_at <= now())"
    return _number(dsn, f"SELECT CASE WHEN {due} THEN 0 ELSE (SELECT count(*) FROM floor_run WHERE {which}) END")


def _number(dsn: str, query: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
