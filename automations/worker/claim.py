"""Claiming due runs: workspaces in turn, oldest first within one. The row lock is the lease (DESIGN 5.2, fairness)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import orjson
from django.db import connection

from accounts.services.merged import RECORDS
from automations.engine.run_state import RunState
from automations.worker.answers import decode
from automations.worker.planner import without
from automations.worker.plans import broken_versions
from automations.worker.unheard import WAITS

# The number that the routers give next, as it was when the turn began: a wait of this turn is looked over from there (second look).
NEXT_NUMBER = "(SELECT last_value + is_called::int FROM automations_routed_number)"
_SINCE = f"coalesce(CASE WHEN parked_on IS NULL THEN wait_since END, {NEXT_NUMBER})"  # or from before the act it waited for (`since`)
_COLUMNS = (
    "id, workspace_id, automation_id, version_id, event_id, customer_id, subjects::text, mode, status, parked_on, due_at, step, "
    f"seq, attempt, entered_at, state::text, answer::text, started_at, steps_executed, lost, {_SINCE}"
)
# A wait times out when all that happened in its time has been heard: after the second look for it, and when no event of its name that
# occurred before is still to be routed, as after an hour in which nobody worked. No look comes for a version that cannot be compiled here.
_HEARD = f"""
(r.parked_on IS DISTINCT FROM 'event' OR (
    ((SELECT true FROM automations_secondlook l WHERE l.run_id = r.id LIMIT 1) IS NULL OR r.version_id = ANY(%s::bigint[]))
    AND (SELECT true FROM ({RECORDS.format(customer="r.customer_id")}) c(id) CROSS JOIN LATERAL (
        SELECT FROM automations_event e WHERE e.workspace_id = r.workspace_id AND e.customer_id = c.id
            AND e.name = r.wait_name AND e.occurred_at <= r.due_at AND {WAITS} LIMIT 1) unheard
        LIMIT 1) IS NULL))
"""
# Runs that a dead worker held are left out here; they are claimed one at a time (poison).
_CLAIM = f"""
SELECT {_COLUMNS} FROM (
    SELECT r.* FROM unnest(%s::bigint[]) AS w(id) CROSS JOIN LATERAL (
        SELECT * FROM automations_run r
        WHERE workspace_id = w.id AND due_at <= onward_now() AND lost = 0 AND {_HEARD}
        ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
    ) r
) r
"""
_CLAIM_THESE = f"""
SELECT {_COLUMNS} FROM automations_run r WHERE id = ANY(%s) AND due_at <= onward_now() AND {_HEARD} ORDER BY id FOR UPDATE SKIP LOCKED
"""
_CLAIM_SUSPECT = f"""
SELECT {_COLUMNS} FROM automations_run r WHERE lost > 0 AND due_at <= onward_now() AND {_HEARD} ORDER BY id LIMIT 1
FOR UPDATE SKIP LOCKED
"""
_DUE_WORKSPACES = """
SELECT id FROM accounts_workspace w WHERE EXISTS (
    SELECT 1 FROM automations_run r WHERE r.workspace_id = w.id AND r.due_at <= onward_now())
"""
_SWITCHES = ("enable_sort", "enable_bitmapscan", "enable_seqscan", "enable_hashjoin", "enable_mergejoin")


class DueWorkspaces:
    """The workspaces with something due, listed about once a second and whenever the list ran dry."""

    def __init__(self) -> None:
        self._found: list[int] = []
        self._at = 0.0

    def list(self) -> list[int]:
        """The list, read again when it is older than a second or empty."""
        now = time.monotonic()
        if not self._found or now - self._at > 1:
            with connection.cursor() as cursor:
                cursor.execute(_DUE_WORKSPACES)
                self._found = [row[0] for row in cursor.fetchall()]
            self._at = now
        return self._found

    def forget(self) -> None:
        """Nothing was found: the list is stale."""
        self._found = []


due_workspaces = DueWorkspaces()


def claim(limit: int) -> list[RunState]:
    """Up to `limit` due runs, locked until the transaction ends. Fewer than `limit` when others hold them or none is due."""
    workspaces = due_workspaces.list()
    if not workspaces:
        return []
    share = max(1, -(-limit // len(workspaces)))
    with connection.cursor() as cursor:
        # the partial index, also before the first ANALYZE (PERFORMANCE, anchors 4)
        without(cursor, _SWITCHES, _CLAIM, [workspaces, broken_versions(), share])
        rows = cursor.fetchall()
    if not rows:
        due_workspaces.forget()
    return [_state(row) for row in rows]


def claim_these(ids: Sequence[int]) -> list[RunState]:
    """Those of `ids` that are still due and free: the halves of a batch that failed."""
    return _fetch(_CLAIM_THESE, [list(ids), broken_versions()])


def claim_suspect() -> list[RunState]:
    """One run that a worker died with, alone (DESIGN 5.2, poison)."""
    return _fetch(_CLAIM_SUSPECT, [broken_versions()])


def read(ids: Sequence[int]) -> list[RunState]:
    """These runs as they stand, without locking them."""
    return _fetch(f"SELECT {_COLUMNS} FROM automations_run WHERE id = ANY(%s) ORDER BY id", [list(ids)])


def _fetch(statement: str, parameters: list[Any]) -> list[RunState]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [_state(row) for row in cursor.fetchall()]


def _state(row: Sequence[Any]) -> RunState:
    answer = json.loads(row[16]) if row[16] else None
    run = RunState(
        id=row[0],
        workspace_id=row[1],
        automation_id=row[2],
        version_id=row[3],
        event_id=row[4],
        customer_id=row[5],
        subjects=orjson.loads(row[6]),
        mode=row[7],
        status=row[8],
        parked_on=row[9],
        due_at=row[10],
        step=row[11],
        seq=row[12],
        attempt=row[13],
        entered_at=row[14],
        state=json.loads(row[15]) if row[15] else {},
        answer=decode(answer["outcome"]) if answer and "outcome" in answer else answer,
        answered_input=answer.get("input") if answer else None,
        started_at=row[17],
        steps_executed=row[18],
        lost=row[19],
        wait_since=row[20],
    )
    run.claimed_seq = run.seq
    run.begun_by = run.event_id if run.seq == 0 else (answer or {}).get("event")
    return run
