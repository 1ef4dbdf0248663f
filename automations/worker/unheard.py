"""Events that are recorded and that no router has taken up yet, asked for before a run goes on (DESIGN 5.1, exits; RELIABILITY 35).

Routers may be behind: after an hour in which nobody worked, or for a moment. If a run went on meanwhile, whether somebody who has left
in time still gets the reminder would be decided by which worker comes first. So a run, and what it would send, waits until the events of
its customer that may end it have been routed. Exits that look at live objects are judged before every step in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from django.db import connection

from automations.engine.plan import Plan
from automations.worker.copying import array
from automations.worker.hearing import names_of
from automations.worker.planner import without
from automations.worker.plans import plans_for

# Of each shard its oldest: what has a smaller id was routed. By one look each, for any statistics.
OLDEST = """
SELECT min(first.event_id) FROM generate_series(0, 63) AS s(shard) CROSS JOIN LATERAL
    (SELECT event_id FROM automations_unrouted WHERE shard = s.shard ORDER BY event_id LIMIT 1) first
"""
#: A person's records: what was merged into one has events of its own.
RECORDS = "SELECT {customer} UNION ALL SELECT id FROM accounts_customer WHERE merged_into_id = {customer}"
#: Whether event `e` still waits for a router, as a look by the key of the queue.
WAITS = "(SELECT true FROM automations_unrouted u WHERE u.shard = e.shard AND u.event_id = e.id LIMIT 1)"
_SWITCHES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan")
_ENDING = f"""
SELECT r.id, e.name FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS r(id, workspace_id, customer_id)
CROSS JOIN LATERAL ({RECORDS.format(customer="r.customer_id")}) c(id)
CROSS JOIN LATERAL (
    SELECT name FROM automations_event e WHERE e.workspace_id = r.workspace_id AND e.customer_id = c.id AND e.id >= ({OLDEST})
        AND e.name = ANY(%s::text[]) AND {WAITS} OFFSET 0) e
"""


class Going(Protocol):
    """A run that is about to go on."""

    @property
    def id(self) -> int: ...
    @property
    def version_id(self) -> int: ...
    @property
    def workspace_id(self) -> int: ...
    @property
    def customer_id(self) -> int | None: ...


def may_end(runs: Iterable[Going]) -> set[int]:
    """Ids of those of these runs for whose customer an event is still to be routed that an exit or an ending goal of theirs names."""
    concerned = [run for run in runs if run.customer_id is not None]
    plans = plans_for({run.version_id for run in concerned})
    names = {id: _ending_names(plan) for id, plan in plans.items()}
    concerned = [run for run in concerned if names.get(run.version_id)]
    if not concerned:
        return set()
    columns = [array([getattr(run, name) for run in concerned]) for name in ("id", "workspace_id", "customer_id")]
    wanted = sorted(frozenset().union(*(names[run.version_id] for run in concerned)))
    with connection.cursor() as cursor:
        without(cursor, _SWITCHES, _ENDING, [*columns, wanted])
        found = cursor.fetchall()
    versions = {run.id: run.version_id for run in concerned}
    return {id for id, name in found if name in names[versions[id]]}


def _ending_names(plan: Plan) -> frozenset[str]:
    """The names of the events that may end its runs."""
    ending = [item.event for item in plan.exits]
    if plan.goal is not None and plan.goal.ends_run:
        ending.append(plan.goal.event)
    return frozenset().union(*(names_of(event) for event in ending))
