"""The same as the floor in set-based SQL: a batch is claimed, walked and written by one statement, and Python only repeats it. Tables,
enrolling and counting are the floor's."""

from __future__ import annotations

from typing import Any

import psycopg

from benchmarks.floor import BATCH

_STEP = """
WITH claimed AS MATERIALIZED (
    SELECT id, subject_id, node, seq, (ctx ->> 'failureCount')::int AS failures FROM floor_run
    WHERE status = 0 AND due_at <= now() ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
), walked AS MATERIALIZED (
    SELECT c.id, c.subject_id, c.failures, (c.seq + s.node - c.node + 1)::smallint AS seq, s.node, s.kind
    FROM claimed c CROSS JOIN (VALUES (0::smallint, 'condition'), (1::smallint, 'mail'), (2::smallint, 'delay'),
        (3::smallint, 'condition'), (4::smallint, 'mail'), (5::smallint, 'end')) s(node, kind)
    WHERE s.node >= c.node
), logged AS (
    INSERT INTO floor_log SELECT id, seq, node, now(), CASE kind WHEN 'condition' THEN (failures = 1)::text WHEN 'mail' THEN 'queued'
        WHEN 'delay' THEN 'past' ELSE 'end' END FROM walked
), mailed AS (
    INSERT INTO floor_outbox (run_id, seq, recipient, subject)
    SELECT id, seq, 'customer-' || subject_id || '@example.com', 'Payment failed ' || failures FROM walked WHERE kind = 'mail'
)
UPDATE floor_run r SET status = 2, node = 5, seq = c.seq + 6 - c.node, due_at = NULL, updated_at = now() FROM claimed c WHERE r.id = c.id
"""


def work(dsn: str, ready: Any, stop: Any) -> None:
    """One statement and one commit a batch until `stop` is set."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_sort = off")
        connection.execute("SET enable_bitmapscan = off")
        connection.commit()
        ready.release()
        while not stop.is_set():
            count = connection.execute(_STEP, [BATCH]).rowcount
            connection.commit()
            if not count:
                stop.wait(0.005)
