"""The second look: no event is lost between a run's decision to wait and the moment when routers can see it (DESIGN 5.2, W1).

A router that works while a run is being parked does not find it. The parking transaction therefore leaves a row; after its commit
any worker takes the row, waits for the routers that hold the customer's shard, and looks over the events which were routed since
the parking began, by the numbers that routing gives them: times would deceive where the database's clock was set back. Events that
nobody has routed yet are left to the routers, who see the parked run now: so each event meets each wait once. Events of records that
were merged into the customer are the customer's (DESIGN 5.5), and so are their shards.

A batch that raises is halved, as everywhere in the worker. The one wait that cannot be judged fails its own run, visibly at its step
(DESIGN 5.2, "Failure stays alone"; ERR-11): left parked it would wait for an event that has come. Nothing is failed for a fault of
the server, and the row of a run whose version cannot be compiled here stays for a process that can.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import connection, transaction

from accounts.clock import evaluation_now
from accounts.services.merged import merged_into
from automations.services.events import facts_of, shard_of
from automations.worker import bell, wake
from automations.worker.batch import LiveRun, Occurrence
from automations.worker.locks import hold_shards
from automations.worker.reading import Reader
from automations.worker.retrying import is_surroundings, is_too_long, retrying
from automations.worker.runs import locked
from automations.worker.zones import zones_of

log = logging.getLogger(__name__)
MOST = 500
EVENTS = 1_000  # looked at for one wait in a pass; after a long hold there may be more
_PAGE = "select run_id from automations_secondlook where run_id > %s order by run_id limit %s"
_CUSTOMERS = "select distinct workspace_id, customer_id from automations_secondlook where run_id = any(%s)"
_LOOKS = """
select l.run_id, l.workspace_id, l.customer_id, l.since, r.wait_since, l.created_at, r.status = 'WAITING_FOR_EVENT'
from automations_secondlook l join automations_run r on r.id = l.run_id where l.run_id = any(%s)
"""
_STILL = "select run_id from automations_secondlook where run_id = any(%s) and created_at = %s"
_GO_ON = """
update automations_secondlook l set since = v.since from unnest(%s::bigint[], %s::bigint[]) v (run_id, since) where l.run_id = v.run_id
"""
_DONE = "delete from automations_secondlook where run_id = any(%s)"
# Runs that somebody is advancing at this moment keep their row for the next pass; nobody waits for anybody.
_FREE = "select id from automations_run where id = any(%s) order by id for no key update skip locked"
_EVENTS = """
select l.run_id, e.number, e.id, e.name, case when e.customer_id = l.customer_id then e.subjects
    else e.subjects || jsonb_build_object('customer', l.customer_id) end, e.occurred_at, e.origin, e.cause_run, e.depth,
    c.payload::text, c.snapshot::text, e.workspace_id, e.only_automation, e.recorded_at, l.record
from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::text[])
    l (run_id, workspace_id, customer_id, record, since, number, created_at, name)
cross join lateral (
    select e.*, m.number from automations_event e join automations_routed m on m.event_id = e.id
        and case when l.number is null then m.routed_at >= l.created_at else m.number >= l.number end
    where e.workspace_id = l.workspace_id and e.customer_id = l.record and e.id > l.since and e.name = l.name
    order by e.id limit %s) e
left join automations_event_content c on c.event_id = e.id and c.recorded_at = e.recorded_at
order by l.run_id, e.id
"""
# run, workspace, customer, event that it is behind, number (None: parked by the release before), created, whether it waits
Look = tuple[int, int, int | None, int, int | None, Any, bool]


def look_again() -> int:
    """Look once more for the runs that just parked; answers how many were looked at. Rows that have to stay (somebody advances the
    run at this moment, or its version cannot be compiled here) keep no later ones waiting."""
    after = 0
    while page := _page(after):
        if done := _batch(page):
            return done
        after = page[-1]
    return 0


def _page(after: int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_PAGE, [after, MOST])
        return [row[0] for row in cursor.fetchall()]


def _batch(ids: Sequence[int]) -> int:
    """One transaction; when it fails for good its halves, down to the wait that fails alone."""
    held: dict[int, Look] = {}
    try:
        return retrying(lambda: _look(ids, held))
    except Exception as error:  # whatever a filter, a root or a constraint raised must not stop the others (ERR-11)
        if not held or (is_surroundings(error) and not (len(ids) > 1 and is_too_long(error))):
            raise
        log.exception("looking again at %s runs failed", len(held))
        if len(ids) == 1:
            message = f"An event for this wait could not be judged. {type(error).__name__}: {error}"[:2000]
            return retrying(lambda: _fail(held[ids[0]], message))
    middle = len(ids) // 2
    return _batch(ids[:middle]) + _batch(ids[middle:])


@transaction.atomic
def _look(ids: Sequence[int], held: dict[int, Look]) -> int:
    held.clear()
    held.update(_take(ids))
    runs = locked([look[0] for look in held.values() if look[6]])
    waiting = [run for run in runs if run.waiting]
    missed, last = _missed(waiting, held)
    woken = _woken(waiting, missed)
    wake.write_wakes(woken)
    for run in woken:
        last.pop(run.id, None)
    _go_on(last)
    done = [look[0] for look in held.values() if not look[6]] + [run.id for run in runs if run.id not in last]
    _finish(done)
    if woken:
        bell.ring()
    return len(done) + len(last)


def _take(ids: Sequence[int]) -> dict[int, Look]:
    """The rows of those runs that nobody else holds, read when shards and runs are locked: a run may have gone on to another wait
    before, which begins later."""
    with connection.cursor() as cursor:
        cursor.execute(_CUSTOMERS, [list(ids)])
        pairs = cursor.fetchall()
        records = _records({customer for _, customer in pairs})
        shards = {shard_of(workspace, record) for workspace, customer in pairs for record in records[customer]}
        hold_shards(shards)
        cursor.execute(_FREE, [sorted(ids)])
        cursor.execute(_LOOKS, [[row[0] for row in cursor.fetchall()]])
        return {row[0]: row for row in cursor.fetchall() if shard_of(row[1], row[2]) in shards}


def _records(customers: Collection[int | None]) -> dict[int | None, list[int | None]]:
    """Under which records the events of each customer were recorded: events keep the id of a record that was merged since, and who
    was merged while its run parked is one person with the survivor."""
    merged = merged_into([customer for customer in customers if customer is not None])
    return {customer: [customer, *merged.get(customer or 0, ())] for customer in customers}


def _go_on(last: Mapping[int, int]) -> None:
    """The rows of these runs stay, for the events after those that were looked at."""
    if last:
        with connection.cursor() as cursor:
            cursor.execute(_GO_ON, [list(last), list(last.values())])


def _finish(ids: Sequence[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_DONE, [list(ids)])


@transaction.atomic
def _fail(look: Look, message: str) -> int:
    """The run fails at the very wait that was looked at; one that went on meanwhile is left to its next look."""
    run, *_, created, _waits = look
    with connection.cursor() as cursor:
        cursor.execute(_FREE, [[run]])
        cursor.execute(_STILL, [[row[0] for row in cursor.fetchall()], created])
        if cursor.fetchone() is None:
            return 0
    wake.write_failure(run, message)
    _finish([run])
    bell.ring()
    return 1


def _woken(runs: Sequence[LiveRun], missed: Sequence[tuple[int, Occurrence]]) -> list[LiveRun]:
    concerned = {id for id, _ in missed}
    by_id = {run.id: run for run in runs if run.id in concerned}
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


def _missed(runs: Sequence[LiveRun], looks: dict[int, Look]) -> tuple[list[tuple[int, Occurrence]], dict[int, int]]:
    """Run and event, in the order of routing: those that were routed since the run began to park. Where there may be more, the event
    behind which they are, by run."""
    records = _records({run.customer_id for run in runs})  # read again: the shards and runs are locked now
    rows = [
        (run.id, run.workspace_id, run.customer_id, record, *looks[run.id][3:6], run.wait_name)
        for run in runs
        for record in records[run.customer_id]
    ]
    if not rows:
        return [], {}
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS, [*(list(column) for column in zip(*rows, strict=True)), EVENTS])
        found = cursor.fetchall()
    last = _last(found)
    found.sort(key=lambda row: (row[1] or 0, row[2]))  # in the order of routing, which the next wait goes by
    return [(row[0], Occurrence(facts_of(row[2:11]), *row[11:14])) for row in found], last


def _last(found: Sequence[Sequence[Any]]) -> dict[int, int]:
    """Of a run with several records the earliest: nothing is looked at too late, and some events once more."""
    ids: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in found:
        ids[row[0], row[14]].append(row[2])
    full = sorted(((run, some[-1]) for (run, _), some in ids.items() if len(some) == EVENTS), reverse=True)
    return dict(full)
