"""Routing recorded events to runs: end, wake, enter (DESIGN 5.1). One transaction holds whole shards, up to sixteen, and
more while little waits; nothing is asked of the database per event or per run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

from django.db import connection, transaction

from accounts.clock import evaluation_now
from accounts.models import Customer
from accounts.prepared import prepared
from automations.engine.plan import Plan
from automations.models import SHARDS
from automations.services.cancel import end_runs
from automations.services.endings import ERASED, ends_by
from automations.services.entry import Entries, take_places, write_runs
from automations.services.erasing import empty_records
from automations.services.events import facts_of
from automations.worker import at_once, bell, deciding, evaluations, exits, poison, queue, wake
from automations.worker.batch import Listening, LiveRun, Occurrence
from automations.worker.copying import arrays
from automations.worker.hearing import find_listening, names_of
from automations.worker.knowing import know
from automations.worker.locks import hold_shards, take_shards
from automations.worker.planner import without
from automations.worker.reading import Reader
from automations.worker.retrying import is_surroundings, retrying
from automations.worker.runs import leave_to_looks, locked, looks_due, runs_of
from automations.worker.stuck import stuck_ends

log = logging.getLogger(__name__)
# More shards are held only where so many have too few events for a full batch: other routers shall find some as well.
ENOUGH_SHARDS = 16
MOST_EVENTS = 500
_COLUMNS = """e.id, e.name, e.subjects, e.occurred_at, e.origin, e.cause_run, e.depth, c.payload::text, c.snapshot::text,
    e.workspace_id, e.only_automation, e.recorded_at, e.shard, u.lost"""
_CONTENT = "left join automations_event_content c on c.event_id = e.id and c.recorded_at = e.recorded_at"
# Of each shard its oldest, and of all of them the oldest: what is left out of a shard is younger than what is taken.
_OLDEST = f"""
select {_COLUMNS} from (
    select oldest.event_id, oldest.lost from unnest(%s::int[]) s cross join lateral (
        select event_id, lost from automations_unrouted where shard = s order by event_id limit %s) oldest
    order by oldest.event_id limit %s) u
join automations_event e on e.id = u.event_id {_CONTENT} order by e.id
"""
_THESE = f"""
select {_COLUMNS} from automations_event e join automations_unrouted u on u.shard = e.shard and u.event_id = e.id {_CONTENT}
where e.id = any(%s) order by e.id
"""
# A batch by its keys: without the switches the planner may read whole tables, however many events wait or were ever recorded.
_SWITCHES = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin")
_REACHED = """
update automations_run r set goal_reached_at = v.at from unnest(%s::bigint[], %s::timestamptz[]) v (id, at)
where r.id = v.id and r.goal_reached_at is null
"""
_SHARDS_OF = "select distinct shard from automations_event where id = any(%s)"


def route_batch(walking: bool = True) -> int:
    """Route one batch; answers the number of events, 0 when none is recorded that nobody else holds. New runs are walked in the same
    transaction where that is short (`at_once`), unless `walking` is false: then each waits to be claimed."""
    return _batch(_oldest, walking)


def _batch(take: Callable[[], list[Occurrence]], walking: bool) -> int:
    """One transaction; when it fails for good, again without walking, and then its halves in their order, down to the event that fails
    alone: it is recorded as routed with the error, so that one bad event cannot stop a shard."""
    held: list[int] = []
    try:
        return retrying(lambda: _transaction(take, held, walking))
    except Exception as error:  # whatever a filter, a root or a constraint raised must not stop the other events
        if is_surroundings(error) or not held:
            raise
        if isinstance(error, MemoryError):
            poison.out_of_memory()
        log.exception("routing %s events failed", len(held))
        return _batch(lambda: _these(held), False) if walking else _halves(list(held), error)


def _halves(ids: list[int], error: Exception) -> int:
    if len(ids) == 1:
        return retrying(lambda: _give_up(ids[0], error))
    middle = len(ids) // 2
    return sum(_batch(lambda part=part: _these(part), False) for part in (ids[:middle], ids[middle:]))  # type: ignore[misc]  # bound now


@transaction.atomic
def _transaction(take: Callable[[], list[Occurrence]], held: list[int], walking: bool) -> int:
    occurrences = _free(_up_to_suspect(take()))
    held[:] = [item.facts.id for item in occurrences]
    if not occurrences:
        return 0
    if occurrences[0].lost >= poison.EVENT_DEATHS:
        _record_failure(
            occurrences[0], poison.Poison(f"{occurrences[0].lost} workers died while they routed this event.")
        )
    else:
        with stuck_ends():
            _route_and_walk(occurrences, walking and not occurrences[0].lost and _nobody_waits(occurrences))
    return len(occurrences)


def _up_to_suspect(occurrences: list[Occurrence]) -> list[Occurrence]:
    """One that a worker died with is routed alone, after those that were recorded before it (ERR-11)."""
    for place, item in enumerate(occurrences):
        if item.lost:
            return occurrences[: place or 1]
    return occurrences


def _free(occurrences: list[Occurrence]) -> list[Occurrence]:
    """Up to one that a worker says to hold that may be dead: behind it, its shard waits. All are written down (`poison`)."""
    if not occurrences:
        return []
    left = poison.hold_events([item.facts.id for item in occurrences])
    return list(takewhile(lambda item: item.facts.id not in left, occurrences))


def _nobody_waits(occurrences: Sequence[Occurrence]) -> bool:
    """Whether there is time to walk runs. In a flood of events those of other workspaces would wait behind them, which claims take in
    turn (DESIGN 5.2, fairness)."""
    if len(occurrences) < MOST_EVENTS // 2:
        return True
    with prepared() as cursor:
        cursor.execute(_OTHERS, [occurrences[0].workspace_id])
        return not cursor.fetchone()[0]


_OTHERS = "select exists (select from accounts_workspace where id <> (select %s::bigint))"


def _route_and_walk(occurrences: Sequence[Occurrence], walking: bool) -> None:
    now = evaluation_now()
    new, woken = route(occurrences, now)
    walked = at_once.may_walk([*new, *woken], occurrences) if walking else []
    ids = {run.id for run in walked}
    write_runs([run for run in new if run.id not in ids], now)
    if wake.write_wakes([run for run in woken if run.id not in ids]):
        bell.ring()
    queue.leave([(item.shard, item.facts.id) for item in occurrences])
    at_once.walk(walked, occurrences, now)
    _forget([item for item in occurrences if item.facts.name == ERASED and item.customer_id is not None])


def _oldest() -> list[Occurrence]:
    shards = take_shards(SHARDS, ENOUGH_SHARDS, os.getpid() * 7 % SHARDS, MOST_EVENTS)
    if not shards:
        return []
    return _fetch(_OLDEST, [shards, MOST_EVENTS // min(len(shards), ENOUGH_SHARDS), MOST_EVENTS])


def _these(ids: Sequence[int]) -> list[Occurrence]:
    with connection.cursor() as cursor:
        cursor.execute(_SHARDS_OF, [list(ids)])
        hold_shards([row[0] for row in cursor.fetchall()])
    return _fetch(_THESE, [list(ids)])


def _fetch(statement: str, parameters: list[Any]) -> list[Occurrence]:
    with connection.cursor() as cursor:
        without(cursor, _SWITCHES, statement, parameters)
        return [Occurrence(facts_of(row[:9]), *row[9:]) for row in cursor.fetchall()]


@transaction.atomic
def _give_up(id: int, error: Exception) -> int:
    for occurrence in _these([id]):
        _record_failure(occurrence, error)
        return 1
    return 0


def _record_failure(occurrence: Occurrence, error: Exception) -> None:
    evaluations.write([evaluations.failed(occurrence, error)])
    queue.leave([(occurrence.shard, occurrence.facts.id)])


def route(occurrences: Sequence[Occurrence], now: datetime) -> tuple[list[LiveRun], list[LiveRun]]:
    """End runs for these events, in their order, in the caller's transaction that holds their shards. Answers the runs that they start
    and those that they wake, which the caller writes or walks."""
    listening = find_listening(occurrences)
    known = know(occurrences, listening, now)
    entries = Entries(now, known)
    runs = _affected(occurrences, listening, known.reader)
    _expect_runs(occurrences, runs, known.reader)
    known.reader.load()
    evaluated = []
    for occurrence in occurrences:
        _end_and_wake(occurrence, runs.get(occurrence.customer_id, ()), entries)
        before = len(entries.new)
        evaluated.append(deciding.decide(occurrence, entries))
        _remember(entries, before, runs)
    there = {run.id: run for some in runs.values() for run in some if run.id > 0}.values()
    _write(there)
    new = take_places(entries)  # behind the ends, so that a key which an event frees can be taken by the next one
    evaluations.write([item for item in evaluated if item.needed])
    return new, [run for run in there if run.woken_by is not None and run.end_reason is None]


def _forget(occurrences: Sequence[Occurrence]) -> None:
    """Runs that a worker was advancing when their customer was erased wrote their last turn after it; it goes as well (SUP-06)."""
    for occurrence in occurrences:
        customer = occurrence.customer_id or 0
        if Customer.objects.filter(pk=customer, erased_at__isnull=False).exists():
            empty_records(occurrence.workspace_id, [customer])


def _end_and_wake(occurrence: Occurrence, runs: Sequence[LiveRun], entries: Entries) -> None:
    reader = entries.known.reader
    for run in runs:
        if run.workspace_id != occurrence.workspace_id:
            continue
        if exits.touches(run, occurrence):
            _end_by(run, occurrence, entries)
        if run.look_due and wake.waits_for(run, occurrence):
            run.left_to_look = min(run.left_to_look or occurrence.facts.id, occurrence.facts.id)
        elif not run.look_due and wake.wakes(run, occurrence, reader):
            run.woken_by = occurrence.facts.id


def _end_by(run: LiveRun, occurrence: Occurrence, entries: Entries) -> None:
    reader = entries.known.reader
    reason = None
    if exits.reaches_goal(run, occurrence, reader):
        run.goal_reached_at = occurrence.facts.occurred_at
        assert run.plan.goal is not None
        reason = exits.GOAL_REACHED if run.plan.goal.ends_run else None
    if not run.unfinished:
        return
    reason = exits.end_reason(run, occurrence, reader) or reason
    if reason is not None:
        run.end_reason = reason
        entries.freed(run)


def _remember(entries: Entries, known: int, runs: dict[int | None, list[LiveRun]]) -> None:
    """A run that this batch starts may be ended by a later event of it."""
    for entering in entries.new[known:]:
        if entering.run.customer_id is not None:
            runs.setdefault(entering.run.customer_id, []).append(entering.run)


def _affected(
    occurrences: Sequence[Occurrence], listening: Sequence[Listening], reader: Reader
) -> dict[int | None, list[LiveRun]]:
    """By customer, the runs that an exit, a goal or a wait joins with an event of the batch, locked and read again."""
    customers = {item.customer_id for item in occurrences if item.customer_id is not None}
    with_goals = [item.id for item in listening if item.plan.goal is not None]
    names = {item.facts.name for item in occurrences}
    candidates, plans = runs_of(customers, with_goals)
    naming = {version for version, plan in plans.items() if _names_one(plan, names)}
    concerned = [id for id, wait, version in candidates if wait in names or version in naming]
    found: dict[int | None, list[LiveRun]] = {}
    runs = locked(concerned)
    due = looks_due([run.id for run in runs if run.waiting])
    for run in runs:
        run.look_due = run.id in due
        found.setdefault(run.customer_id, []).append(run)
    return found


def _names_one(plan: Plan, names: Collection[str]) -> bool:
    """Whether an exit or the goal of its runs may be one of these events."""
    if any(ends_by(name, plan) for name in names):
        return True
    goal = [plan.goal.event] if plan.goal is not None else []
    return any(not names_of(event).isdisjoint(names) for event in (*(item.event for item in plan.exits), *goal))


def _expect_runs(occurrences: Sequence[Occurrence], runs: dict[int | None, list[LiveRun]], reader: Reader) -> None:
    for occurrence in occurrences:
        for run in runs.get(occurrence.customer_id, ()):
            if exits.touches(run, occurrence):
                reader.expect_run(run, exits.expressions_of(run, occurrence))
            if wake.waits_for(run, occurrence):
                reader.expect_run(run, wake.wait_expressions(run))
                wake.expect_mail(run, reader)


def _write(runs: Collection[LiveRun]) -> None:
    for reason in sorted({run.end_reason for run in runs if run.end_reason is not None}):
        end_runs([run.id for run in runs if run.end_reason == reason], reason=reason)
    _write_goals([run for run in runs if run.goal_reached_at is not None])
    leave_to_looks({run.id: run.left_to_look for run in runs if run.left_to_look is not None})


def _write_goals(runs: Sequence[LiveRun]) -> None:
    if runs:
        with connection.cursor() as cursor:
            without(cursor, wake.SWITCHES, _REACHED, arrays([(run.id, run.goal_reached_at) for run in runs]))
