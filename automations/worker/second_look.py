"""The second look: no event is lost between a run's decision to wait and the moment when routers can see it (DESIGN 5.2, W1).

A router that works while a run is being parked does not find it. The parking transaction therefore leaves a row; after its commit
any worker takes the row, waits for the routers that hold the customer's shard, and looks over the events which were routed since
the parking began. Events that nobody has routed yet are left to the routers, who see the parked run now: so each event meets each
wait once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from accounts.clock import evaluation_now
from automations.services.events import facts_of, shard_of
from automations.worker import bell, wake
from automations.worker.batch import LiveRun, Occurrence
from automations.worker.locks import hold_shards
from automations.worker.reading import Reader
from automations.worker.retrying import retrying
from automations.worker.runs import locked
from automations.worker.zones import zones_of

MOST = 500
EVENTS = 1_000  # looked at for one wait: what one customer may do while one transaction parks its run
_LOOKS = (
    "select run_id, workspace_id, customer_id, since, created_at from automations_secondlook order by run_id limit %s"
)
# Runs that somebody is advancing at this moment keep their row for the next pass; nobody waits for anybody.
_FREE = "select id from automations_run where id = any(%s) order by id for no key update skip locked"
_EVENTS = """
select l.run_id, e.id, e.name, e.subjects, e.occurred_at, e.origin, e.cause_run, e.depth, c.payload, c.snapshot, e.workspace_id,
    e.only_automation, e.recorded_at
from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::text[])
    l (run_id, workspace_id, customer_id, since, created_at, name)
cross join lateral (
    select * from automations_event e
    where e.workspace_id = l.workspace_id and e.customer_id = l.customer_id and e.id > l.since and e.name = l.name
        and e.routed_at >= l.created_at
    order by e.id limit %s) e
left join automations_event_content c on c.event_id = e.id and c.recorded_at = e.recorded_at
order by l.run_id, e.id
"""
Look = tuple[int, int, int | None, int, Any]  # run, workspace, customer, since, created


def look_again() -> int:
    """Look once more for the runs that just parked; answers how many were looked at."""
    return retrying(_look)


@transaction.atomic
def _look() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_LOOKS, [MOST])
        looks: dict[int, Look] = {row[0]: row for row in cursor.fetchall()}
        if not looks:
            return 0
        hold_shards({shard_of(workspace, customer) for _, workspace, customer, _, _ in looks.values()})
        cursor.execute(_FREE, [sorted(looks)])
        free = [row[0] for row in cursor.fetchall()]
    waiting = [run for run in locked(free) if run.waiting]
    woken = _woken(waiting, looks)
    wake.write_wakes(woken)
    with connection.cursor() as cursor:
        cursor.execute("delete from automations_secondlook where run_id = any(%s)", [free])
    if woken:
        bell.ring()
    return len(free)


def _woken(runs: Sequence[LiveRun], looks: dict[int, Look]) -> list[LiveRun]:
    missed = _missed(runs, looks)
    by_id = {run.id: run for run in runs if any(id == run.id for id, _ in missed)}
    if not by_id:
        return []
    reader = Reader(evaluation_now(), zones_of({run.workspace_id for run in by_id.values()}))
    for run in by_id.values():
        reader.expect_run(run, wake.wait_expressions(run))
        wake.expect_mail(run, reader)
    reader.load()
    for id, occurrence in missed:
        if id in by_id and wake.wakes(by_id[id], occurrence, reader):
            by_id[id].woken_by = occurrence.facts.id
    return [run for run in by_id.values() if run.woken_by is not None]


def _missed(runs: Sequence[LiveRun], looks: dict[int, Look]) -> list[tuple[int, Occurrence]]:
    """Run and event, oldest events first: those that were routed since the run began to park."""
    rows = [(run.id, run.workspace_id, run.customer_id, *looks[run.id][3:5], run.wait_name) for run in runs]
    if not rows:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS, [*(list(column) for column in zip(*rows, strict=True)), EVENTS])
        return [(row[0], Occurrence(facts_of(row[1:10]), *row[10:])) for row in cursor.fetchall()]
