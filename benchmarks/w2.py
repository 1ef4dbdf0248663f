"""W2, the timer storm: parked runs fall due at one moment; until each of them has advanced one step."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from benchmarks import floor, product
from benchmarks.stage import COSTS, Contender, Goal, Result, Sizes, expect, forked, in_turn, paired
from benchmarks.stage import seconds as wall

FIRST = 0.0001  # seconds that parking a run may take, before it was measured
READING = 0.015  # seconds that reading the counters takes: none of the storm may be over before


class Storm:
    """When it breaks: late enough for its runs to be parked and the workers to be at rest, judged by how long it took before."""

    def __init__(self, runs: int, rest: float, park: Callable[[datetime], None]) -> None:
        self._park = park
        self._takes = runs * FIRST
        self._rest = rest
        self._due = datetime.now(UTC)

    def gather(self, number: int) -> None:
        """Park the runs."""
        started = time.monotonic()
        self._due = datetime.now(UTC) + timedelta(seconds=1.5 * self._takes + self._rest)
        self._park(self._due)
        self._takes = time.monotonic() - started

    def wait(self) -> bool:
        """Until it breaks. False when it broke already, on a machine with other work: then the next one has twice the time."""
        left = (self._due - datetime.now(UTC)).total_seconds()
        if left < 0:
            self._rest *= 2
            return False
        time.sleep(max(0.0, left - READING))
        return True


def run(dsn: str, sizes: Sizes) -> Result:
    """The floor and the product."""
    workspace = product.prepare(min(1_000, sizes.storm))
    customers = product.customer_ids()
    rows = in_turn(
        dsn, sizes.numbers(), {"floor": _floor(dsn, sizes), "product": _product(workspace, customers, sizes)}
    )
    goal = Goal("W2 time over the floor", paired(rows, "product", "floor", wall), 3.0, 1.5)
    return Result(f"W2, timer storm: {sizes.storm:,} parked runs due at one moment", rows, COSTS, [goal])


def _floor(dsn: str, sizes: Sizes) -> Contender:
    runs = sizes.storm
    storm = Storm(runs, sizes.rest, lambda due: floor.park(dsn, runs, due))

    def prepare(number: int) -> None:
        floor.prepare(dsn)
        storm.gather(number)

    return Contender(
        size=runs,
        prepare=prepare,
        working=lambda: forked(floor.work, dsn),
        stand_by=storm.wait,
        begin=lambda number: None,
        done=lambda: floor.moved(dsn) == runs,
        check=lambda number: expect("floor", floor.finished(dsn), (0, runs, 0)),
    )


def _product(workspace: int, customers: list[int], sizes: Sizes) -> Contender:
    runs = sizes.storm
    storm = Storm(runs, sizes.rest, lambda due: product.park(workspace, customers, runs, due))

    def prepare(number: int) -> None:
        product.clear()
        storm.gather(number)

    return Contender(
        size=runs,
        prepare=prepare,
        working=product.working,
        stand_by=storm.wait,
        begin=lambda number: None,
        done=lambda: product.moved() == runs,
        check=lambda number: expect("product", product.finished(), (0, runs, 0)),
    )
