"""What a race is: two sides at one moment, the order forced by locks and gates, round after round; and the same once more with a
protection taken away, which must then do harm, so that each race is known to bite.

Judged are the effects, beside them what nobody should have to notice: exceptions on either side, errors that the product caught and
logged, transactions that were made again, and the server's own count of deadlocks.
"""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from django.db import connection
from django.test import override_settings

from accounts.repeating import counted
from automations.doctor.run import examine
from tests.factories import actor_of, make_workspace
from tests.worker.racing import together

SETTINGS = {
    "ONWARD_ALLOW_CLOCK": True,
    "ONWARD_EGRESS_ALLOW": ("127.0.0.0/8",),
    "ONWARD_DELIVERY_THREADS": 1,  # what is sent is sent by the side that claimed it
}
AT_ONCE = "at_once"
RESTING = "steps: [{id: rest, type: delay, duration: 900d}]"  # longer than any race moves the clock


@dataclass(frozen=True, slots=True)
class Guard:
    """A protection: its name, how to take it away, and the orders in which that does harm."""

    name: str
    remove: Callable[[pytest.MonkeyPatch], AbstractContextManager[None] | None]
    orders: tuple[str, ...]


@dataclass(slots=True)
class Figures:
    """What came of the rounds. `late` counts what went on after the word to stop had been given; `seen` the orders, with those apart
    in which the second side was not held up as it should have been; `outcomes` who won."""

    name: str
    seed: int
    without: str = ""
    rounds: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    exceptions: list[str] = field(default_factory=list)
    deadlocks: int = 0
    lost: int = 0
    doubled: int = 0
    late: int = 0
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def harm(self) -> int:
        """Everything that should be zero, together."""
        return self.lost + self.doubled + self.late + self.deadlocks + len(self.exceptions) + len(self.findings)

    @property
    def forced(self) -> bool:
        """Whether the second side was held up in every round whose order was forced."""
        return not any(order.endswith(NOT_HELD) for order in self.seen)


NOT_HELD = ", not held"


class Race:
    """One race. A subclass says how a round begins, what its orders are (methods of these names, which answer whether the second side
    was held up), and what the round came to."""

    name: ClassVar[str]
    title: ClassVar[str]
    rows: ClassVar[str]  # of RELIABILITY section 3, and of INVARIANTS
    orders: ClassVar[tuple[str, ...]]
    guards: ClassVar[tuple[Guard, ...]]
    checks: ClassVar[tuple[str, ...]]  # of the doctor, at the end

    def __init__(self, figures: Figures, chance: random.Random, stack: ExitStack) -> None:
        self.figures, self.chance, self.stack = figures, chance, stack
        self.workspace = make_workspace()
        self.actor = actor_of(self.workspace)
        self.prepare()

    def prepare(self) -> None:
        """What all rounds share."""

    def begin(self) -> Any:
        """What one round is about; handed to its order and to `judge`."""

    def judge(self, about: Any) -> None:
        """Count in `figures` what the round came to."""
        raise NotImplementedError

    def play(self, order: str) -> None:
        """One round."""
        self.figures.rounds += 1
        try:
            about = self.begin()
            held = getattr(self, order)(about)
            self.figures.seen[order if held else order + NOT_HELD] += 1
            self.judge(about)
        except Exception:  # of whichever side: it is one of the figures
            self.figures.exceptions.append(f"{order}: {traceback.format_exc()[-1500:]}")

    def at_once_with(self, *works: Callable[[], Any]) -> list[Any]:
        """No order forced: all start at one moment, each after a few random milliseconds. Answers what they answered."""
        return together(*[_after(self.chance.uniform(0, 0.004), work) for work in works])


def _after(seconds: float, work: Callable[[], Any]) -> Callable[[], Any]:
    def later() -> Any:
        time.sleep(seconds)  # the random delay of a race (RELIABILITY 3), not a wait for anything
        return work()

    return later


def run(kind: type[Race], rounds: int, seed: int, guard: Guard | None = None) -> Figures:
    """So many rounds of a race, its orders in turn, shuffled by the seed; with a guard, without its protection."""
    figures = Figures(kind.name, seed, guard.name if guard else "")
    chance = random.Random(f"{seed} {kind.name}")
    began, before = time.monotonic(), _deadlocks()
    with ExitStack() as stack:
        stack.enter_context(override_settings(**SETTINGS))
        stack.enter_context(_witness(figures))
        race = kind(figures, chance, stack)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        if guard is not None and (removed := guard.remove(patch)) is not None:
            stack.enter_context(removed)
        for order in _deck(guard.orders if guard else kind.orders, rounds, chance):
            race.play(order)
        figures.findings = [str(finding.as_json()) for finding in examine(only=kind.checks, at_rest=True)]
    figures.deadlocks = max(now - then for now, then in zip(_deadlocks(), before, strict=True))
    figures.seconds = time.monotonic() - began
    return figures


def _deck(orders: tuple[str, ...], rounds: int, chance: random.Random) -> Iterator[str]:
    for number in range(rounds):
        if number % len(orders) == 0:
            deck = chance.sample(orders, len(orders))
        yield deck[number % len(orders)]


@contextmanager
def _witness(figures: Figures) -> Iterator[None]:
    """Errors that the product caught and logged are exceptions as well, and so are transactions that it made again."""

    class Witness(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else ""
            figures.exceptions.append(f"logged: {record.getMessage()} {error!r}"[:1500])

    witness = Witness(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("automations", "accounts", "billing")]
    for logger in loggers:
        logger.addHandler(witness)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(witness)


def _deadlocks() -> tuple[int, int]:
    """How many the server had to resolve, by its own count and by ours. Its own is complete when the connections of both sides have
    ended, which they do a moment after their threads."""
    end = time.monotonic() + 5
    with connection.cursor() as cursor:
        while _others(cursor) and time.monotonic() < end:
            time.sleep(0.01)  # polling the server's own table, which has no other way to be told
        cursor.execute("select pg_stat_force_next_flush()")
        cursor.execute("select pg_stat_clear_snapshot()")
        cursor.execute("select deadlocks from pg_stat_database where datname = current_database()")
        return int(cursor.fetchone()[0]), counted["40P01"]


def _others(cursor: Any) -> int:
    cursor.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and backend_type = 'client backend'"
    )
    return int(cursor.fetchone()[0])
