"""Runs as a router reads them: those of the customers that the batch is about, locked in id order before anything is decided."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import connection

from accounts.prepared import prepared
from automations.engine.plan import Plan
from automations.services.jsontext import loads
from automations.worker.batch import LiveRun
from automations.worker.copying import array
from automations.worker.planner import without
from automations.worker.plans import plans_for

_COLUMNS = """r.id, r.workspace_id, r.automation_id, r.version_id, r.event_id, r.customer_id, r.subjects, r.status, r.parked_on,
    r.step, r.wait_name, r.wait_key, r.started_at, r.state, r.goal_reached_at, r.seq, r.attempt, r.entered_at, r.steps_executed, r.lost"""
# By the index `run_of_customer`, one customer after the other, which is what `offset 0` and the switches are for: where the table was
# not analysed, or when it was empty, that of all unfinished runs or of all live ones is taken for the better one. Ended runs matter
# only to goals, which may be reached after the end.
_OF_CUSTOMERS = """
select r.id, r.wait_name, r.version_id from unnest(%s::bigint[]) c (id) cross join lateral (
    select id, mode, wait_name, version_id, automation_id, ended_at, goal_reached_at from automations_run
    where customer_id = c.id offset 0) r
where r.mode = 'live' and (r.ended_at is null or r.goal_reached_at is null and r.automation_id = any(%s::bigint[]))
"""
_SWITCHES = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin")
_LOCKED = f"select {_COLUMNS} from automations_run r where r.id = any(%s) order by r.id for no key update"

_LEAVE = """
update automations_secondlook l set since = least(l.since, v.event - 1) from unnest(%s::bigint[], %s::bigint[]) v (run, event)
where l.run_id = v.run
"""
_LOOKS_DUE = "select run_id from automations_secondlook where run_id = any((select %s::bigint[])::bigint[])"


def runs_of(
    customers: Collection[int], with_goals: Collection[int]
) -> tuple[list[tuple[int, str | None, int]], dict[int, Plan]]:
    """Unfinished runs of these customers, and ended ones of the automations `with_goals`: id, the event it waits for, and version; and
    the plans of the versions. Not locked yet: the caller chooses which are to be."""
    if not customers:
        return [], {}
    with connection.cursor() as cursor:
        without(cursor, _SWITCHES, _OF_CUSTOMERS, [array(sorted(customers)), array(sorted(with_goals))])
        rows = cursor.fetchall()
    plans = plans_for({version for _, _, version in rows})
    return [row for row in rows if row[2] in plans], plans


def locked(ids: Collection[int]) -> list[LiveRun]:
    """These runs as they are once they are locked, in id order (DESIGN 5.2, "Lock order")."""
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_LOCKED, [sorted(ids)])
        rows = cursor.fetchall()
    plans = plans_for({row[3] for row in rows})
    return [_run(row, plans[row[3]]) for row in rows if row[3] in plans]


def looks_due(ids: Collection[int]) -> set[int]:
    """Those of these locked runs whose second look is still due: what they have missed comes before anything that is routed now."""
    if not ids:
        return set()
    with prepared() as cursor:
        cursor.execute(_LOOKS_DUE, [array(list(ids))])
        return {row[0] for row in cursor.fetchall()}


def leave_to_looks(events: Mapping[int, int]) -> None:
    """Have the looks that are due at these locked runs begin no later than with these events: whatever their ids, a router has passed
    them by."""
    if events:
        with connection.cursor() as cursor:
            cursor.execute(_LEAVE, [list(events), list(events.values())])


def _run(row: Sequence[Any], plan: Plan) -> LiveRun:
    run = LiveRun(*[*row[:6], loads(row[6]), *row[7:13], loads(row[13]) or {}, row[14], plan])
    run.seq, run.attempt, run.entered_at, run.steps_executed, run.lost = row[15:]
    run.stored = row[13]
    return run
