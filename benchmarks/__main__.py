"""`make bench`: W1 and W2 of PERFORMANCE.md, the product and the floor in turn on one PostgreSQL; prints tables, writes JSON.

    python -m benchmarks [--rounds 5] [--runs 10000] [--storm 100000] [W1 W2]
    make bench W=W1,W2

Each measurement counts its own rows afterwards; a wrong count is an error, not a figure.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.meter import Meter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
PROCESSES = 2
STARTING = 1.5  # seconds until a worker listens
PARKING = 20  # seconds until the runs of a storm are parked
LIMIT = 600  # seconds for one measurement


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", help="W1 W2 (default: both)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10_000, help="runs of W1")
    parser.add_argument("--storm", type=int, default=100_000, help="parked runs of W2")
    options = parser.parse_args()
    names = [name for given in options.workloads or ["W1", "W2"] for name in given.upper().split(",")]
    with bench_database() as dsn:
        results = {name: WORKLOADS[name](dsn, options) for name in names}
    for name, rows in results.items():
        report(name, rows)
    path = Path(__file__).parent / "results" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1))
    print(f"\nwritten to {path}")


@contextmanager
def bench_database() -> Iterator[str]:
    """A database of its own on the configured server, with the server's own settings; dropped at the end."""
    from benchmarks.database import database

    with database() as dsn:
        import django

        django.setup()
        yield dsn


@contextmanager
def workers(target: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Two worker processes, started and at rest before the clock and ended after it."""
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    children = [context.Process(target=target, args=(*arguments, stop)) for _ in range(PROCESSES)]
    for child in children:
        child.start()
    time.sleep(STARTING)
    try:
        yield
    finally:
        stop.set()
        for child in children:
            child.join()


def until(done: Callable[[], bool]) -> None:
    """Poll gently: the polling must not be what is measured."""
    end = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the measurement did not come to its end")
        time.sleep(0.02)


def in_turn(
    dsn: str, rounds: int, contenders: dict[str, Callable[[int, Meter], None]]
) -> dict[str, list[dict[str, float]]]:
    """A B A B: each contender once a round, which enters the meter for what is measured; answers what each cost."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            meter = Meter(dsn)
            measure(number, meter)
            if number:  # the first round warms caches and is not counted
                rows[name].append(meter.spent)
    return rows


def w1(dsn: str, options: argparse.Namespace) -> dict[str, Any]:
    """The dunning drip: from the first enrolment to the last completion."""
    from benchmarks import floor, product

    workspace = product.prepare(options.runs)
    customers = product.customer_ids()

    def run_floor(number: int, meter: Meter) -> None:
        floor.prepare(dsn)
        with workers(floor.work, dsn), meter:
            floor.enrol(dsn, 1, options.runs)
            until(lambda: floor.completed(dsn) == options.runs)
        expect(floor.finished(dsn), options.runs)

    def run_product(number: int, meter: Meter) -> None:
        product.clear()
        close()
        with workers(product.work), meter:
            product.enrol(workspace, customers, number)
            until(lambda: product.completed() == options.runs)
        expect(product.finished(), options.runs)

    rows = in_turn(dsn, options.rounds, {"floor": run_floor, "product": run_product})
    return {"count": options.runs, "unit": "runs/s", "must": 4.0, "rows": rows}


def expect(found: tuple[int, int, int], runs: int) -> None:
    """All complete, exactly six log rows and two deliveries a run."""
    if found != (runs, 6 * runs, 2 * runs):
        raise AssertionError(f"{found} in place of {(runs, 6 * runs, 2 * runs)}")


def close() -> None:
    """Forked workers must not share a connection."""
    from django.db import connections

    connections.close_all()


def w2(dsn: str, options: argparse.Namespace) -> dict[str, Any]:
    """The timer storm: until each of the parked runs has advanced one step."""
    from benchmarks import floor, product

    workspace = product.prepare(1_000)
    customers = product.customer_ids()

    def run_floor(number: int, meter: Meter) -> None:
        floor.prepare(dsn)
        due = soon()
        floor.park(dsn, options.storm, due)
        with workers(floor.work, dsn):
            at(due)
            with meter:
                until(lambda: floor.moved(dsn) == options.storm)

    def run_product(number: int, meter: Meter) -> None:
        product.clear()
        due = soon()
        product.park(workspace, customers, options.storm, due)
        close()
        with workers(product.work):
            at(due)
            with meter:
                until(lambda: product.moved() == options.storm)

    rows = in_turn(dsn, options.rounds, {"floor": run_floor, "product": run_product})
    return {"count": options.storm, "unit": "timers/s", "must": 3.0, "rows": rows}


def soon() -> datetime:
    """The moment at which a storm breaks: late enough for its runs to be parked and the workers to be at rest."""
    return datetime.now(UTC) + timedelta(seconds=PARKING)


def at(moment: datetime) -> None:
    """Wait for it."""
    left = (moment - datetime.now(UTC)).total_seconds()
    if left < 0:
        raise AssertionError("parking took longer than it may; the storm broke before the clock was started")
    time.sleep(left)


WORKLOADS = {"W1": w1, "W2": w2}


COLUMNS = (  # heading, what the meter calls it, scale, digits
    ("app CPU ms", "app", 1000, 3),
    ("PG CPU ms", "postgres", 1000, 3),
    ("WAL bytes", "wal", 1, 0),
    ("WAL fsyncs", "fsyncs", 1, 4),
)


def report(name: str, result: dict[str, Any]) -> None:
    """Medians and ranges, costs of each run, and the ratios of each round to the floor of the same round."""
    rows, count = result["rows"], result["count"]
    print(
        f"\n{name}: {count:,} ({result['unit']}), {len(rows['floor'])} rounds in turn; costs are medians of one run or timer"
    )
    print(
        f"  {'contender':10} {'median s':>9} {'range':>15} {'per second':>11}"
        + "".join(f" {text:>11}" for text, *_ in COLUMNS)
    )
    for contender, measured in rows.items():
        seconds = [row["seconds"] for row in measured]
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
        costs = [
            f" {statistics.median(row[key] for row in measured) / count * scale:11,.{digits}f}"
            for _, key, scale, digits in COLUMNS
        ]
        print(f"  {contender:10} {median:9.2f} {spread:>15} {count / median:11,.0f}{''.join(costs)}")
    result["ratios"] = {
        "wall": _ratios(rows, lambda row: row["seconds"]),
        "cpu": _ratios(rows, lambda row: row["app"] + row["postgres"]),
    }
    for what, ratios in result["ratios"].items():
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        limit = f", must be <= {result['must']}" if what == "wall" else ""
        print(f"  {what} over the floor, paired: median {statistics.median(ratios):.2f} {spread}{limit}")


def _ratios(rows: dict[str, list[dict[str, float]]], cost: Callable[[dict[str, float]], float]) -> list[float]:
    return [cost(mine) / cost(base) for mine, base in zip(rows["product"], rows["floor"], strict=True)]


if __name__ == "__main__":
    main()
