"""Advancing runs: claim, walk, commit, in one transaction per batch (DESIGN 5.2). A killed process rolls back; nothing is half done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.conf import settings
from django.db import Error, connection, transaction

from accounts.clock import evaluation_now
from automations.engine.moves import Load
from automations.engine.run_state import RunState
from automations.engine.scope import Records
from automations.engine.walk import Walk
from automations.worker import bell, poison, store
from automations.worker.claim import claim, claim_suspect, claim_these
from automations.worker.context import Asked, Context, load_items, load_workspaces
from automations.worker.marks import obey_marks
from automations.worker.plans import plans_for
from automations.worker.retrying import is_surroundings, retrying
from automations.worker.stuck import stuck_ends

log = logging.getLogger(__name__)
ROUNDS = 8  # rounds of effects a turn (DESIGN 5.2)
LOADS = 100  # rounds of reading a turn; each brings something new, so this only stops a defect
# Below the least, what a transaction costs by itself outweighs what a short one spares others.
BATCH_MAX, BATCH_MIN = 500, 200
_SLOW, _FAST = 1.0, 0.2  # seconds a transaction should stay between


class Size:
    """The batch size adapts: half when a transaction takes longer than a second, double when a full one takes under 200 ms."""

    now = BATCH_MAX

    @classmethod
    def learn(cls, count: int, seconds: float) -> None:
        if seconds > _SLOW:
            cls.now = max(BATCH_MIN, cls.now // 2)
        elif count >= cls.now and seconds < _FAST:
            cls.now = min(BATCH_MAX, cls.now * 2)


def advance_batch(limit: int | None = None) -> int:
    """Advance up to `limit` due runs (default: as many as a short transaction takes). Answers how many it moved."""
    size = limit or Size.now
    started = time.monotonic()
    count = _batch(lambda: claim(size))
    if count and limit is None:
        Size.learn(count, time.monotonic() - started)
    return count + (_suspects() if not count or _Suspects.due() else 0)


def _suspects() -> int:
    """Runs that a dead worker held, each alone, for as long as the others may wait for them."""
    end, done = time.monotonic() + _Suspects.SHARE, 0
    while time.monotonic() < end and (count := _batch(claim_suspect)):
        done += count
    return done


class _Suspects:
    """When a run that a dead worker held is looked for, although others are due: it must not wait until nobody else is (ERR-11)."""

    EVERY = 0.25  # seconds
    SHARE = 0.1  # seconds of them; a whole batch of suspects is through within seconds
    last = 0.0

    @classmethod
    def due(cls) -> bool:
        now = time.monotonic()
        if now - cls.last < cls.EVERY:
            return False
        cls.last = now
        return True


def _batch(take: Callable[[], list[RunState]]) -> int:
    """One batch; when its transaction fails for good, its halves, down to the run that fails alone."""
    held: list[int] = []
    try:
        return retrying(lambda: _transaction(take, held))
    except Exception as error:  # whatever a root, a step or a constraint raised: it must not stop the others (ERR-11)
        if is_surroundings(error) or not held:
            raise
        if isinstance(error, MemoryError):
            poison.out_of_memory()
        log.exception("a batch of %s failed", len(held))
        return _halves(held, error)


def _halves(ids: Sequence[int], error: Exception) -> int:
    if len(ids) == 1:
        return _fail_alone(ids[0], error)
    middle = len(ids) // 2
    return sum(_batch(lambda part=part: claim_these(part)) for part in (ids[:middle], ids[middle:]))  # type: ignore[misc]


def _transaction(take: Callable[[], list[RunState]], held: list[int]) -> int:
    with transaction.atomic():
        runs = take()
        held[:] = [run.id for run in runs]
        if not runs:
            return 0
        left = poison.hold(held)
        runs = [run for run in runs if run.id not in left]
        with stuck_ends():
            walks = _walk(runs)
    if left:
        poison.reap()
    if any(walk.effects or walk.run.parked_on is None for walk in walks):
        bell.ring()
    return len(runs)


def _walk(runs: list[RunState]) -> Sequence[Walk]:
    if not runs:
        return ()
    now = evaluation_now()
    walks = walks_of(obey_marks(runs), now)
    if walks:
        walk_all(walks, context_of(walks, now))
        store.write(walks)
    return walks


def context_of(walks: Sequence[Walk], now: datetime, triggers: Mapping[int, Any] | None = None) -> Context:
    """What these walks share, with the records that most of them need; `triggers` are known already, by event."""
    context = Context(now)
    context.records.put("trigger", triggers or {}, [])
    for walk in walks:
        walk.records = context.records
    _lock_customers(walks)
    context.preload(walks)
    return context


def walks_of(runs: Sequence[RunState], now: datetime) -> list[Walk]:
    """A walk for each of these runs. Raises `LookupError` for a version that cannot be compiled here."""
    plans = plans_for({run.version_id for run in runs})
    workspaces = load_workspaces(run.workspace_id for run in runs)
    grid = next_pass(now)
    walks = []
    records = Records()
    for run in runs:
        plan = plans.get(run.version_id)
        if plan is None:
            raise LookupError(f"version {run.version_id} of exec_{run.id} cannot be compiled")
        walks.append(Walk(plan, run, records, now, workspaces[run.workspace_id], grid))
    load_items(walks)
    return walks


def next_pass(now: datetime) -> datetime:
    """The next point of the grid of passes (`ONWARD_PASS_MINUTES`), strictly after `now`."""
    minutes = getattr(settings, "ONWARD_PASS_MINUTES", 5)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return start + timedelta(minutes=((now - start) // timedelta(minutes=minutes) + 1) * minutes)


def _lock_customers(walks: Sequence[Walk]) -> None:
    """Customers of runs that may change something, locked in id order before anything else (DESIGN 5.2, lock order)."""
    ids = {walk.run.customer_id for walk in walks if walk.plan.changes_records and walk.run.customer_id is not None}
    if ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM accounts_customer WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [sorted(ids)]
            )


def walk_all(walks: Sequence[Walk], context: Context) -> None:
    """Walk until every run parked or ended, or the rounds are used up; then the rest stays due."""
    asked = _advance(walks)
    rounds = loads = 0
    while asked and rounds < ROUNDS and loads < LOADS:
        reading = all(isinstance(question, Load) for _, question in asked)
        rounds, loads = rounds + (not reading), loads + reading
        later = context.answer(asked)
        waiting = {id(walk) for walk, _ in later}
        asked = [*later, *_advance([walk for walk, _ in asked if id(walk) not in waiting])]
    for walk, _ in asked:
        walk.interrupt()


def _advance(walks: Sequence[Walk]) -> list[Asked]:
    asked = []
    for walk in walks:
        question = walk.advance()
        if question is not None:
            asked.append((walk, question))
    return asked


def _fail_alone(id: int, error: Exception) -> int:
    """The culprit of a failing batch: it FAILS, with the error, and nothing else of the turn is kept."""

    def end() -> int:
        with transaction.atomic():
            runs = claim_these([id])
            if not runs:
                return 0
            walks = [_broken(runs[0], error)]
            store.write([walk for walk in walks if walk is not None])
        return 1

    try:
        return retrying(end)
    except (Error, psycopg.Error, LookupError) as fault:  # COPY raises the driver's own
        if is_surroundings(fault):
            raise
        log.exception("exec_%s could not be ended by its error", id)
        return fail_bare(id, "internal", f"{type(error).__name__}: {error}")


def _broken(run: RunState, error: Exception) -> Walk:
    now = evaluation_now()
    walk = walks_of([run], now)[0]
    walk.fail("internal", f"{type(error).__name__}: {error}")
    return walk


def fail_bare(id: int, reason: str, message: str) -> int:
    """End a run that cannot even be walked (its plan is broken, or it killed three workers)."""
    end_reason = "poison" if reason == "poison" else "failed"
    # One transaction: a death between the two statements would keep the re-entry key for ever.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE automations_run SET status = 'FAILED', end_reason = %s, ended_at = greatest(onward_now(), started_at), "
            "parked_on = NULL, due_at = NULL, wait_name = NULL, wait_key = NULL, answer = NULL, "
            "error = jsonb_build_object('code', %s::text, 'message', %s::text, 'temporary', false) "
            "WHERE id = %s AND ended_at IS NULL",
            [end_reason, reason, message[:2000], id],
        )
        count = cursor.rowcount
        cursor.execute("DELETE FROM automations_entry WHERE run_id = %s AND NOT once", [id])
        return int(count)
