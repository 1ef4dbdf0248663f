"""W8, growth: W1 again among 0, 1 and 3 million parked runs, the floor and the product in turn; and the memory of one worker over very many
runs, beside a process that has only called `django.setup()`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from django.db import connections

from benchmarks import floor, product
from benchmarks.stage import (
    COSTS,
    LIMIT,
    Contender,
    Goal,
    Result,
    Row,
    Rows,
    Sizes,
    expect,
    forked,
    in_turn,
    say,
    spawned,
    until,
)
from benchmarks.stage import seconds as wall
from benchmarks.w1 import wanted

FAR = timedelta(days=30)
OTHERS = 100_000  # customers of the parked runs; those of W1 have none
BARE = "import django, sys; django.setup(); print('ready', flush=True); sys.stdin.read()"
WORKER = """
import sys, django
django.setup()
from benchmarks import product
class Ready:
    def release(self): print("ready", flush=True)
class Never:
    def wait(self): sys.stdin.read()
product.work(Ready(), Never())
"""


def run(dsn: str, sizes: Sizes) -> Result:
    """All states of the tables one after the other, the contenders in turn within each."""
    rows: Rows = {}
    for parked in sizes.growth:
        rows |= _among(dsn, sizes, parked)
    memory, note = _memory(sizes)
    goals = [
        *(_slowdown(rows, sizes.growth[0], parked) for parked in sizes.growth[1:]),
        Goal("W8 peak memory of a worker over bare django.setup()", [memory], 1.5, 1.2),
    ]
    title = (
        f"W8, growth: {sizes.runs:,} runs of W1 among {', '.join(f'{number:,}' for number in sizes.growth)} parked ones"
    )
    return Result(title, rows, COSTS, goals, [note])


def _slowdown(rows: Rows, none: int, many: int) -> Goal:
    """How much slower the product became, over how much slower the floor became; a round each."""
    base = statistics.median(map(wall, rows[f"product {none:,}"])) / statistics.median(
        map(wall, rows[f"floor {none:,}"])
    )
    values = [
        wall(mine) / wall(its) / base
        for mine, its in zip(rows[f"product {many:,}"], rows[f"floor {many:,}"], strict=True)
    ]
    return Goal(f"W8 {many:,} parked: slow-down over the floor's own", values, 1.2, 1.05)


def _among(dsn: str, sizes: Sizes, parked: int) -> Rows:
    workspace = product.prepare(sizes.runs + min(OTHERS, max(1, parked)))
    customers = product.customer_ids()
    far = datetime.now(UTC) + FAR
    floor.prepare(dsn)
    floor.park(dsn, parked, far)
    product.park(workspace, customers[sizes.runs :], parked, far)
    product.settle()
    floor.settle(dsn)
    say(f"{parked:,} parked")
    contenders = {
        f"floor {parked:,}": _floor(dsn, sizes.runs),
        f"product {parked:,}": _product(workspace, customers[: sizes.runs]),
    }
    return in_turn(dsn, sizes.numbers(sizes.growth_rounds), contenders)


class _After:
    """The newest run before a measurement: what is counted came after it."""

    id = 0


def _floor(dsn: str, runs: int) -> Contender:
    after = _After()

    def prepare(number: int) -> None:
        after.id = floor.last(dsn)

    return Contender(
        size=runs,
        prepare=prepare,
        working=lambda: forked(floor.work, dsn),
        begin=lambda number: floor.enrol(dsn, 1 + number * runs, runs),
        done=lambda: floor.completed(dsn, after.id) == runs,
        check=lambda number: expect("floor", floor.finished(dsn, after.id), wanted(runs)),
    )


def _product(workspace: int, customers: list[int]) -> Contender:
    after, runs = _After(), len(customers)

    def prepare(number: int) -> None:
        after.id = product.last()

    return Contender(
        size=runs,
        prepare=prepare,
        working=product.working,
        begin=lambda number: product.enrol(workspace, customers, number),
        done=lambda: product.completed(after.id) == runs,
        check=lambda number: expect("product", product.finished(after.id), wanted(runs)),
    )


def _memory(sizes: Sizes) -> tuple[float, str]:
    """The worker's peak over the bare process, and the megabytes in words."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with spawned([sys.executable, "-c", BARE], environment=environment) as (bare,):
        plain = _resident(bare)["VmRSS"]
    people = min(sizes.lifetime, sizes.runs)
    workspace = product.prepare(people)
    customers = product.customer_ids()
    connections.close_all()
    with spawned([sys.executable, "-c", WORKER], environment=environment) as (worker,):
        first = _resident(worker)["VmRSS"]
        for number in range(sizes.lifetime // people):
            product.enrol(workspace, customers, number)
            until(lambda number=number: product.completed() == (number + 1) * people, LIMIT)  # type: ignore[misc]  # bound now
        found = _resident(worker)
    expect("the worker's runs", product.finished(), wanted(sizes.lifetime // people * people))
    note = (
        f"memory: django.setup() {plain:.0f} MB; a worker at rest {first:.0f} MB, after {sizes.lifetime:,} runs {found['VmRSS']:.0f} MB, "
        f"at most {found['VmHWM']:.0f} MB"
    )
    say(note)
    return found["VmHWM"] / plain, note


def _resident(process: subprocess.Popen[str]) -> Row:
    """Megabytes now and at most; where the system does not tell the most, now."""
    now = psutil.Process(process.pid).memory_info().rss / 1e6
    found = {"VmRSS": now, "VmHWM": now}
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) / 1000
    return found
