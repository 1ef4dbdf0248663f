"""Runs as a router reads them: those of the customers that the batch is about, locked in id order before anything is decided."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db import connection

from automations.services.jsontext import loads
from automations.worker.batch import LiveRun
from automations.worker.copying import array
from automations.worker.plans import plans_for

_COLUMNS = """r.id, r.workspace_id, r.automation_id, r.version_id, r.event_id, r.customer_id, r.subjects, r.status, r.parked_on,
    r.step, r.wait_name, r.wait_key, r.started_at, r.state, r.goal_reached_at"""
# By the index `run_of_customer`. Ended runs matter only to goals, which may be reached after the end.
_OF_CUSTOMERS = f"""
select {_COLUMNS} from automations_run r
where r.customer_id = any(%s::bigint[]) and r.mode = 'live'
    and (r.ended_at is null or r.goal_reached_at is null and r.automation_id = any(%s))
order by r.id
"""
_LOCKED = f"select {_COLUMNS} from automations_run r where r.id = any(%s) order by r.id for no key update"


def runs_of(customers: Collection[int], with_goals: Collection[int]) -> list[LiveRun]:
    """Unfinished runs of these customers, and ended ones of the automations `with_goals`; not locked yet."""
    if not customers:
        return []
    return _fetch(_OF_CUSTOMERS, [array(sorted(customers)), sorted(with_goals)])


def locked(ids: Collection[int]) -> list[LiveRun]:
    """These runs as they are once they are locked, in id order (DESIGN 5.2, "Lock order")."""
    return _fetch(_LOCKED, [sorted(ids)]) if ids else []


def _fetch(statement: str, parameters: list[Any]) -> list[LiveRun]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows = cursor.fetchall()
    plans = plans_for({row[3] for row in rows})
    return [_run(row, plans[row[3]]) for row in rows if row[3] in plans]


def _run(row: Sequence[Any], plan: Any) -> LiveRun:
    fields = [*row[:6], loads(row[6]), *row[7:13], loads(row[13]) or {}, row[14], plan]
    return LiveRun(*fields)
