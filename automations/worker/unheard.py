"""Events that are recorded and that no router has taken up yet, asked for before something is sent (DESIGN 5.1, exits; RELIABILITY 35).

Routers may be behind: after an hour in which nobody worked, or for a moment. Whether somebody who has left in time still gets the reminder
would be decided by which worker comes first. So what a run would send waits until the events of its customer that may end the run have
been routed: those that there are when it is first asked for, so that it waits for no stream of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from django.db import connection

from accounts.services.merged import RECORDS
from automations.engine.plan import Plan
from automations.models import SHARDS
from automations.worker.copying import array
from automations.worker.hearing import names_of
from automations.worker.planner import without
from automations.worker.plans import plans_for

# Of each shard its oldest: what has a smaller id was routed. By one look each, for any statistics.
_OLDEST = f"""
SELECT min(first.event_id) FROM generate_series(0, {SHARDS - 1}) AS s(shard) CROSS JOIN LATERAL
    (SELECT event_id FROM automations_unrouted WHERE shard = s.shard ORDER BY event_id LIMIT 1) first
"""
#: Whether event `e` of record `c` still waits for a router: from the oldest that waits, by the index of a customer's events and by no
#: other, and by the key of the queue.
WAITS = f"""
(e.customer_id, e.id) >= (c.id, ({_OLDEST}))
    AND (SELECT true FROM automations_unrouted u WHERE u.shard = e.shard AND u.event_id = e.id LIMIT 1)
"""
_SWITCHES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "enable_sort")
_NEWEST = "SELECT last_value FROM automations_event_id_seq"
_WAITING = f"""
SELECT p.workspace_id, p.id, n.name, min(e.id) FROM unnest(%s::bigint[], %s::bigint[]) AS p(workspace_id, id)
CROSS JOIN LATERAL ({RECORDS.format(customer="p.id")}) c(id) CROSS JOIN unnest(%s::text[]) AS n(name)
CROSS JOIN LATERAL (
    SELECT e.id FROM automations_event e WHERE e.workspace_id = p.workspace_id AND e.customer_id = c.id AND e.name = n.name AND {WAITS}
    ORDER BY e.customer_id, e.id LIMIT 1) e
GROUP BY 1, 2, 3
"""
#: Up to which event each run has to be heard out; of those that wait at this time.
_upto: dict[int, int] = {}
_MOST = 10_000


class Sending(Protocol):
    """A run for which something is about to be sent."""

    @property
    def id(self) -> int: ...
    @property
    def version_id(self) -> int: ...
    @property
    def workspace_id(self) -> int: ...
    @property
    def customer_id(self) -> int | None: ...


def may_end(runs: Iterable[Sending]) -> set[int]:
    """Ids of those of these runs for whose customer an event is still to be routed that an exit or an ending goal of theirs names."""
    concerned = [run for run in runs if run.customer_id is not None]
    plans = plans_for({run.version_id for run in concerned})
    names = {id: _ending_names(plan) for id, plan in plans.items()}
    concerned = [run for run in concerned if names.get(run.version_id)]
    if not concerned:
        return set()
    oldest, newest = _waiting(concerned, frozenset().union(*(names[run.version_id] for run in concerned)))
    found = set()
    for run in concerned:
        waiting = [oldest.get((run.workspace_id, run.customer_id, name)) for name in names[run.version_id]]
        if any(id is not None and id <= _upto.get(run.id, newest) for id in waiting):
            found.add(run.id)
    _remember({run.id for run in concerned}, found, newest)
    return found


def _waiting(runs: Collection[Sending], names: Collection[str]) -> tuple[dict[tuple[int, int | None, str], int], int]:
    """The oldest event that waits, by customer and name; and the newest event there is."""
    pairs = sorted({(run.workspace_id, run.customer_id or 0) for run in runs})
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        newest = cursor.fetchone()[0]
        parameters = [array([pair[0] for pair in pairs]), array([pair[1] for pair in pairs]), sorted(names)]
        without(cursor, _SWITCHES, _WAITING, parameters)
        return {row[:3]: row[3] for row in cursor.fetchall()}, newest


def _remember(asked: set[int], waiting: set[int], newest: int) -> None:
    if len(_upto) > _MOST:
        _upto.clear()
    for id in asked - waiting:
        _upto.pop(id, None)
    for id in waiting:
        _upto.setdefault(id, newest)


def _ending_names(plan: Plan) -> frozenset[str]:
    """The names of the events that may end its runs."""
    ending = [item.event for item in plan.exits]
    if plan.goal is not None and plan.goal.ends_run:
        ending.append(plan.goal.event)
    return frozenset().union(*(names_of(event) for event in ending))
