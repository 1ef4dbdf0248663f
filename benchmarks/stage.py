"""What all workloads share: contenders in turn on one PostgreSQL, workers that rest before the clock starts, and what came out."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from benchmarks.meter import Meter
from config.supervise import die_with_parent

PROCESSES = 2
LIMIT = 600  # seconds for one measurement
TRIES = 5
READY = 240  # seconds until workers stand by
Row = dict[str, float]
Rows = dict[str, list[Row]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `slow` is for contenders that run a hundred times slower; what they cost is counted for each run.
    `warm` rounds come first and are not counted; `rest` is how long (seconds) a storm waits for workers to stand by."""

    rounds: int = 5
    warm: int = 1
    runs: int = 10_000
    slow: int = 200
    storm: int = 100_000
    waiting: int = 100_000
    events: int = 10_000
    parked: int = 1_000_000
    due: int = 10_000
    polls: int = 100
    posts: int = 60
    seconds: float = 4.0
    rest: float = 3.0
    growth: tuple[int, ...] = (0, 1_000_000, 3_000_000)
    growth_rounds: int = 3
    lifetime: int = 100_000

    def numbers(self, rounds: int | None = None) -> range:
        """The rounds by number; those that count are positive."""
        return range(1 - self.warm, 1 + (rounds or self.rounds))


TINY = Sizes(
    rounds=1, warm=0, rest=1.0, runs=40, slow=3, storm=60, waiting=60, events=30, parked=300, due=50, polls=3, posts=2, seconds=0.3,
    growth=(0, 50), growth_rounds=1, lifetime=60,
)  # fmt: skip


@dataclass
class Goal:
    """A line of the table of goals in PERFORMANCE.md, with what was found, one value a round."""

    what: str
    values: list[float]
    must: float
    aim: float
    at_least: bool = False
    unit: str = "x"


@dataclass(frozen=True)
class Column:
    """A cost in a table: heading, how to read it from a row, digits."""

    heading: str
    of: Callable[[Row], float]
    digits: int = 2


@dataclass
class Result:
    """What a workload came to. `notes` say in words what figures do not."""

    title: str
    rows: Rows
    columns: tuple[Column, ...]
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def each(name: str, scale: float) -> Callable[[Row], float]:
    """A cost of one run, event or timer."""
    return lambda row: row[name] / row["count"] * scale


COSTS = (
    Column("seconds", lambda row: row["seconds"]),
    Column("per second", lambda row: row["count"] / row["seconds"], 0),
    Column("app CPU ms", each("app", 1000), 3),
    Column("PG CPU ms", each("postgres", 1000), 3),
    Column("WAL bytes", each("wal", 1), 0),
    Column("fsyncs/10,000", each("fsyncs", 10_000), 0),
    Column("worker MB", lambda row: row["memory"], 1),
)


def seconds(row: Row) -> float:
    """Wall time of one run."""
    return row["seconds"] / row["count"]


def cpu(row: Row) -> float:
    """Processor time of one run, the application's and PostgreSQL's."""
    return (row["app"] + row["postgres"]) / row["count"]


def paired(rows: Rows, mine: str, base: str, cost: Callable[[Row], float]) -> list[float]:
    """`mine` over `base`, each with the one of the same round; nothing where the other was not there."""
    return [cost(one) / cost(other) for one, other in zip(rows[mine], rows.get(base, ()), strict=False)]


@dataclass
class Contender:
    """One way to do the work of a workload. Called in this order, round after round, with the number of the round: `prepare`, then
    with workers from `working` at rest `stand_by`, then on the clock `begin` and `done` until it answers True, then `check`."""

    size: int
    prepare: Callable[[int], None]
    working: Callable[[], AbstractContextManager[list[int]]]
    begin: Callable[[int], None]
    done: Callable[[], bool]
    check: Callable[[int], None]
    stand_by: Callable[[], bool] = lambda: True

    def measure(self, dsn: str, number: int) -> Row:
        """One measurement, begun again when `stand_by` says that its moment was missed; AssertionError when the counts afterwards are
        wrong."""
        for _ in range(TRIES):
            if (row := self._try(dsn, number)) is not None:
                return row
        raise TimeoutError("the machine is too busy to begin a measurement")

    def _try(self, dsn: str, number: int) -> Row | None:
        self.prepare(number)
        meter = Meter(dsn)
        with self.working() as workers:
            if not self.stand_by():
                return None
            with meter:
                self.begin(number)
                until(self.done)
            memory = max((own_memory(pid) for pid in workers), default=0.0)
        _disconnect()
        meter.settle()
        self.check(number)
        return {**meter.spent, "count": self.size, "memory": memory}


def _disconnect() -> None:
    """Our own connection to the product's tables, if there is one, and those that a contender left open."""
    from django.db import connections

    connections.close_all()


def in_turn(dsn: str, rounds: range, contenders: dict[str, Contender]) -> Rows:
    """A B A B: each contender once a round. Rounds before the first (`Sizes.numbers`) warm caches and are not counted."""
    rows: Rows = {name: [] for name in contenders}
    for number in rounds:
        for name, contender in contenders.items():
            row = contender.measure(dsn, number)
            say(f"round {number} {name}: {row['seconds']:.3f} s for {contender.size:,}")
            if number > 0:
                rows[name].append(row)
    return rows


def say(text: str) -> None:
    """Progress, apart from the tables."""
    print(f"  {text}", file=sys.stderr, flush=True)


def until(done: Callable[[], bool], limit: float = LIMIT) -> None:
    """Poll gently: the polling must not be what is measured."""
    end = time.monotonic() + limit
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the measurement did not come to its end")
        time.sleep(0.01)


def expect(what: str, found: Any, wanted: Any) -> None:
    """A wrong count is an error, not a figure."""
    if found != wanted:
        raise AssertionError(f"{what}: {found} in place of {wanted}")


def own_memory(pid: int) -> float:
    """Megabytes that a process has to itself, what it shares with the one that forked it left out."""
    try:
        return float(psutil.Process(pid).memory_full_info().uss) / 1e6
    except psutil.Error:
        return 0.0


@contextmanager
def forked(target: Callable[..., None], *arguments: Any, processes: int = PROCESSES) -> Iterator[list[int]]:
    """Workers of this process's own code, at rest before the clock and ended after it. `target(*arguments, ready, stop)` sets `ready`
    (a semaphore it releases) when it stands by."""
    context = multiprocessing.get_context("fork")
    ready, stop = context.Semaphore(0), context.Event()
    children = [context.Process(target=_serve, args=(target, *arguments, ready, stop)) for _ in range(processes)]
    for child in children:
        child.start()
    try:
        for _ in children:
            if not ready.acquire(timeout=READY):
                raise TimeoutError("a worker does not come up")
        yield [child.pid for child in children if child.pid]
    finally:
        stop.set()
        for child in children:
            child.join()


def _serve(target: Callable[..., None], *arguments: Any) -> None:
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    target(*arguments)


@contextmanager
def spawned(*commands: list[str], environment: dict[str, str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that write `ready` when they stand by and end when they are terminated; their input is open for orders."""
    with ExitStack() as stack:
        started = []
        for command in commands:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent,
            )
            stack.callback(end, process)
            started.append(process)
        for process in started:
            _wait_for_ready(process)
        yield started


def _wait_for_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "ready":
            return
    raise RuntimeError(f"{process.args!r} ended before it was ready (exit code {process.wait()})")


def end(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, and wait."""
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
