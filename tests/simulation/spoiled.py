"""The product with one protection taken away, by monkeypatch: each must be found by some start value, so that the judge is known to
bite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.clock import evaluation_now
from automations.services import pause
from automations.services.entry import write_runs
from automations.worker import claim, deliver, loop, poison, queue, route, schedules, settle, store, wake
from tests.simulation.baton import current

Spoil = Callable[[pytest.MonkeyPatch], None]
NOTE = "spoiled"  # a line of the trace: the next commit is the one that should not stand alone


def _note() -> None:
    actor = current()
    if actor is not None:
        actor.baton.note(NOTE)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """A late result is written, whoever took the delivery over since (S3)."""
    guarded = settle._SETTLE
    text = guarded.replace(" AND d.fence = u.fence AND d.state = u.state", "")
    assert text != guarded
    patch.setattr(settle, "_SETTLE", text)


def no_second_look(patch: pytest.MonkeyPatch) -> None:
    """Who parked is not looked at again (W1)."""

    def forget() -> int:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("delete from automations_secondlook")
            return int(cursor.rowcount)

    patch.setattr(loop, "look_again", forget)


def marked_before(patch: pytest.MonkeyPatch) -> None:
    """The mark that an event was routed is committed before what it brought about (E3, E4)."""

    def apart(take: Callable[[], list[Any]], held: list[int], _walking: bool) -> int:
        with transaction.atomic():
            occurrences = take()
            held[:] = [item.facts.id for item in occurrences]
            if occurrences:
                queue.leave([(item.shard, item.facts.id) for item in occurrences])
                _note()
        if occurrences:
            with transaction.atomic():
                now = evaluation_now()
                new, woken = route.route(occurrences, now)
                write_runs(new, now)
                wake.write_wakes(woken)
        return len(occurrences)

    patch.setattr(route, "_transaction", apart)


def no_unique_keys(patch: pytest.MonkeyPatch) -> None:
    """No row lock on a run that is walked, nobody asked who holds it, no comparison with what was read, and no unique delivery key
    behind them all (O2, S1)."""
    patch.setattr(poison, "hold", lambda _: frozenset())
    for module, name, guard in (
        (claim, "_CLAIM", "LIMIT %s FOR UPDATE SKIP LOCKED"),
        (store, "_UPDATE", " AND r.seq = u.claimed"),
    ):
        guarded = getattr(module, name)
        text = guarded.replace(guard, "LIMIT %s" if "LIMIT" in guard else "")
        assert text != guarded
        patch.setattr(module, name, text)
    with connection.cursor() as cursor:
        for table in ("automations_delivery", "automations_step_log"):
            cursor.execute(_UNIQUE, [table])
            for (statement,) in cursor.fetchall():
                cursor.execute(statement)


_UNIQUE = """
select case when c.oid is null then format('drop index %%s', i.indexrelid::regclass)
    else format('alter table %%s drop constraint %%I', i.indrelid::regclass, c.conname) end
from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('u', 'p')
where i.indrelid = %s::regclass and i.indisunique and not exists (
    select 1 from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any(i.indkey) and a.attname = 'id')
"""


def key_of_the_try(patch: pytest.MonkeyPatch) -> None:
    """A repetition goes out under a key of its own (O2)."""
    act = deliver._act

    def fresh(job: Any) -> Any:
        return act(replace(job, key=f"{job.key}~{job.attempts}") if job.attempts > 1 else job)

    patch.setattr(deliver, "_act", fresh)


def rendered_again(patch: pytest.MonkeyPatch) -> None:
    """Bytes are made anew for each try (O3)."""
    prepare = deliver._prepare_bytes

    def anew(jobs: Any) -> None:
        for job in jobs:
            job.request_sha256 = ""
        with connection.cursor() as cursor:
            cursor.execute(
                "delete from automations_delivery_body where delivery_id = any(%s)", [[job.id for job in jobs]]
            )
        prepare(jobs)

    patch.setattr(deliver, "_prepare_bytes", anew)


def settled_without_its_run(patch: pytest.MonkeyPatch) -> None:
    """What became of a delivery is committed, and the run is told in a second transaction (R1)."""
    tell = settle.tell_runs

    def later(_cursor: Any, settled: Any, runs: Any) -> None:
        def told() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                tell(cursor, settled, runs)

        _note()
        transaction.on_commit(told)

    patch.setattr(settle, "tell_runs", later)


def fired_anew(patch: pytest.MonkeyPatch) -> None:
    """A schedule that goes on counts its next time from the clock alone, and each firing is an event of its own (T2)."""
    record, numbers = schedules.record_events, count()

    def apart(events: Any) -> Any:
        _note()
        return record([replace(event, key=f"{event.key}~{next(numbers)}") for event in events])

    def following(automation: Any, now: Any) -> Any:
        automation.next_fire_at = None
        return schedules.following_fire(automation, now)

    patch.setattr(schedules, "record_events", apart)
    patch.setattr(pause, "following_fire", following)


SPOILS: dict[str, Spoil] = {
    spoil.__name__: spoil
    for spoil in (
        no_fence, no_second_look, marked_before, no_unique_keys, key_of_the_try, rendered_again,
        settled_without_its_run, fired_anew,
    )
}  # fmt: skip
