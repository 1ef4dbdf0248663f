"""The router of the floor with protections: whole shards, the events of each oldest first, in one transaction wakes, entries,
evaluations and the queue (DESIGN 5.1)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import psycopg

SHARD_LOCK, AUTOMATION_LOCK = 0x0F01 << 40, 0x0F02 << 40
MOST_SHARDS, MOST_EVENTS = 16, 500
Connection = psycopg.Connection[Any]
# Hand-written plans: without them a table that was never analysed is read whole in each batch.
OFF = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
ON = "; SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"
_TAKE = """
WITH RECURSIVE shards (s) AS (
    SELECT min(shard)::int FROM guarded_unrouted
    UNION ALL
    SELECT (SELECT min(u.shard)::int FROM guarded_unrouted u WHERE u.shard > shards.s) FROM shards WHERE shards.s IS NOT NULL
), busy AS MATERIALIZED (SELECT s FROM shards WHERE s IS NOT NULL ORDER BY (s + %s) %% 64)
SELECT s FROM busy WHERE pg_try_advisory_xact_lock(%s + s) LIMIT %s
"""
_OLDEST = """
SELECT e.id, e.name, e.customer_id, e.shard, c.payload::text FROM unnest(%s::int[]) s CROSS JOIN LATERAL (
    SELECT event_id FROM guarded_unrouted WHERE shard = s ORDER BY event_id LIMIT %s) u
JOIN guarded_event e ON e.id = u.event_id JOIN guarded_content c ON c.event_id = e.id AND c.recorded_at = e.recorded_at ORDER BY e.id
"""
_WAITING = """
SELECT r.id, e.id FROM unnest(%s::bigint[], %s::text[], %s::text[]) e(id, name, key) CROSS JOIN LATERAL (
    SELECT id FROM guarded_run WHERE workspace_id = 1 AND wait_name = e.name AND wait_key = e.key AND e.id > wait_since) r
"""
_LOCK = "SELECT id FROM guarded_run WHERE id = ANY(%s) AND status = 'WAITING' ORDER BY id FOR NO KEY UPDATE"
_WAKE = """
UPDATE guarded_run r SET status = 'RUNNING', parked_on = NULL, due_at = now(), wait_name = NULL, wait_key = NULL, wait_since = NULL,
    state = jsonb_build_object('event', v.event) FROM unnest(%s::bigint[], %s::bigint[]) v(id, event)
WHERE r.id = v.id AND r.status = 'WAITING'
"""
_LEAVE = """
WITH gone AS (
    DELETE FROM guarded_unrouted u USING unnest(%s::int[], %s::bigint[]) v(shard, event_id)
    WHERE u.shard = v.shard AND u.event_id = v.event_id RETURNING u.event_id, u.workspace_id
) INSERT INTO guarded_routed SELECT event_id, workspace_id, clock_timestamp() FROM gone
"""
_ENTER = """
INSERT INTO guarded_run (workspace_id, automation_id, version_id, event_id, customer_id, subjects, status, due_at, step, started_at)
SELECT 1, automation, version, event, customer, jsonb_build_object('customer', customer), 'RUNNING', now(), 'first', now()
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) v(automation, version, event, customer)
ON CONFLICT (workspace_id, automation_id, event_id, mode) DO NOTHING
"""


def route(connection: Connection) -> int:
    """One batch; answers the number of events."""
    with connection.transaction():
        rows = connection.execute(_TAKE, [os.getpid() * 7 % 64, SHARD_LOCK, MOST_SHARDS]).fetchall()
        shards = [row[0] for row in rows]
        if not shards:
            return 0
        events = planned(connection, _OLDEST, [shards, max(20, MOST_EVENTS // len(shards))]).fetchall()
        if events:
            wake(connection, [(row[0], row[1], row[2]) for row in events])
            _enter(connection, events)
            planned(connection, _LEAVE, [[row[3] for row in events], [row[0] for row in events]])
    return len(events)


def planned(connection: Connection, statement: str, parameters: Sequence[Any]) -> psycopg.Cursor[Any]:
    """One statement by its indexes, in one round trip; the cursor stands on its result."""
    cursor = psycopg.ClientCursor(connection)
    cursor.execute(OFF + statement + ON, parameters)  # statements of our own
    for _ in range(3):
        cursor.nextset()
    return cursor


def wake(connection: Connection, events: Sequence[tuple[int, str, int]]) -> int:
    """Make due the runs that wait for one of these; they are locked in the order of their ids first."""
    columns = [[row[0] for row in events], [row[1] for row in events], [f"customer:{row[2]}" for row in events]]
    found = dict(reversed(planned(connection, _WAITING, columns).fetchall()))  # the oldest event wins
    if not found:
        return 0
    locked = [row[0] for row in connection.execute(_LOCK, [sorted(found)])]
    return planned(connection, _WAKE, [locked, [found[id] for id in locked]]).rowcount


def _enter(connection: Connection, events: Sequence[Any]) -> None:
    """Runs of the automations that listen, where the filter on the customer's plan holds; else a row that says why not."""
    found = connection.execute(
        "SELECT id, listens FROM guarded_automation WHERE workspace_id = 1 AND listens = ANY(%s) ORDER BY id",
        [list({row[1] for row in events})],
    ).fetchall()
    if not found:
        return
    # Their states and versions are read under the lock that whoever changes them takes for himself.
    connection.execute(
        "SELECT pg_advisory_xact_lock_shared(%s + id) FROM unnest(%s::bigint[]) id",
        [AUTOMATION_LOCK, [row[0] for row in found]],
    )
    active = connection.execute(
        "SELECT listens, id, version_id FROM guarded_automation WHERE id = ANY(%s) AND state = 'ACTIVE'",
        [[row[0] for row in found]],
    ).fetchall()
    listening = {row[0]: row[1:] for row in active}
    plans = dict(
        connection.execute(
            "SELECT id, plan FROM guarded_customer WHERE id = ANY(%s)", [sorted({row[2] for row in events})]
        ).fetchall()
    )
    heard = [row for row in events if row[1] in listening]
    entering = [(*listening[row[1]], row[0], row[2]) for row in heard if plans.get(row[2]) == "pro"]
    if entering:
        connection.execute(_ENTER, [list(column) for column in zip(*entering, strict=True)])
    refused = [row for row in heard if plans.get(row[2]) != "pro"]
    if refused:
        decisions = json.dumps([{"outcome": "skipped", "gate": "filter"}])
        connection.execute(
            "INSERT INTO guarded_evaluation (event_id, workspace_id, decisions) SELECT id, 1, %s::jsonb FROM unnest(%s::bigint[]) id",
            [decisions, [row[0] for row in refused]],
        )
