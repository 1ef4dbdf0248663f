"""W3, event match: many runs wait for an event of their own; events arrive in batches of 100; until the right ones are due. Workers run on
all sides and advance what was woken, so that nobody wakes runs on an idle machine."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from benchmarks import floor, guarded, product
from benchmarks.stage import COSTS, Contender, Goal, Result, Sizes, expect, forked, in_turn, paired
from benchmarks.stage import seconds as wall

BATCH = 100
FAR = timedelta(days=60)


def run(dsn: str, sizes: Sizes) -> Result:
    """The floor, which matches in the transaction that records; the floor with protections and the product, which record and route."""
    workspace = product.prepare(sizes.waiting)
    customers = product.customer_ids()
    chosen = sorted(random.Random(3).sample(range(sizes.waiting), sizes.events))
    subjects = [place + 1 for place in chosen]
    contenders = {
        "floor": _floor(dsn, sizes.waiting, subjects),
        "guarded floor": _guarded(dsn, sizes.waiting, subjects),
        "product": _product(workspace, customers, [customers[place] for place in chosen]),
    }
    rows = in_turn(dsn, sizes.numbers(), contenders)
    goal = Goal("W3 time over the floor", paired(rows, "product", "floor", wall), 3.0, 1.5)
    beside = f"over the floor with protections: {', '.join(f'{value:.2f}' for value in paired(rows, 'product', 'guarded floor', wall))}"
    title = f"W3, event match: {sizes.events:,} events for {sizes.waiting:,} waiting runs, {BATCH} a transaction; costs of one event"
    return Result(title, rows, COSTS, [goal], [beside])


def _floor(dsn: str, waiting: int, subjects: list[int]) -> Contender:
    def prepare(number: int) -> None:
        floor.prepare(dsn)
        floor.wait(dsn, waiting)

    return Contender(
        size=len(subjects),
        prepare=prepare,
        working=lambda: forked(floor.work, dsn),
        begin=lambda number: floor.match(dsn, subjects, BATCH),
        done=lambda: floor.awake(dsn) == len(subjects),
        check=lambda number: expect("floor", floor.awake(dsn), len(subjects)),
    )


def _guarded(dsn: str, waiting: int, subjects: list[int]) -> Contender:
    def prepare(number: int) -> None:
        guarded.prepare(dsn, waiting)
        guarded.wait(dsn, waiting)

    return Contender(
        size=len(subjects),
        prepare=prepare,
        working=lambda: forked(guarded.work, dsn),
        begin=lambda number: guarded.record(dsn, "paid", subjects, BATCH),
        done=lambda: guarded.routed(dsn),
        check=lambda number: expect("guarded floor", guarded.awake(dsn), len(subjects)),
    )


def _product(workspace: int, customers: list[int], chosen: list[int]) -> Contender:
    def prepare(number: int) -> None:
        product.clear()
        product.wait(workspace, customers, datetime.now(UTC) + FAR)

    return Contender(
        size=len(chosen),
        prepare=prepare,
        working=product.working,
        begin=lambda number: product.record(workspace, "paid", chosen, number, BATCH),
        done=product.routed,
        check=lambda number: expect("product", product.woken(), set(chosen)),
    )
