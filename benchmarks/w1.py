"""W1, the dunning drip: runs enrolled by events walk six steps and queue two mails; from the first enrolment to the last completion."""

from __future__ import annotations

from benchmarks import durable, floor, guarded, plain, product, sets
from benchmarks.stage import (
    COSTS,
    PROCESSES,
    Contender,
    Goal,
    Result,
    Row,
    Rows,
    Sizes,
    cpu,
    each,
    expect,
    forked,
    in_turn,
    paired,
)
from benchmarks.stage import seconds as wall


def run(dsn: str, sizes: Sizes) -> Result:
    """The product, two floors, set-based SQL, and what people would use or write instead."""
    workspace = product.prepare(sizes.runs)
    customers = product.customer_ids()
    contenders = {
        "floor": _floor(dsn, sizes.runs),
        "guarded floor": _guarded(dsn, sizes.runs),
        "set-based SQL": _sets(dsn, sizes.runs),
        "product": product_drip(workspace, customers),
        "DBOS": durable.contender(dsn, sizes.slow),
        "django-q2": plain.contender(dsn, "queued", sizes.slow),
        "cron": plain.contender(dsn, "cron", sizes.slow),
    }
    there = {name: contender for name, contender in contenders.items() if contender is not None}
    rows = in_turn(dsn, sizes.numbers(), there)
    title = f"W1, dunning drip: {sizes.runs:,} runs of six steps and two mails, {PROCESSES} worker processes"
    notes = [f"DBOS, django-q2 and cron: {sizes.slow:,} runs a round; all costs are of one run."]
    if "DBOS" not in there:
        notes.append(f"DBOS: not measured: {durable.missing()}")
    return Result(title, rows, COSTS, goals(rows), notes)


def goals(rows: Rows) -> list[Goal]:
    """The lines of W1 in PERFORMANCE.md."""
    found = []
    for base, must, aim, must_cpu, aim_cpu in (("floor", 4.0, 2.5, 4.5, 2.8), ("guarded floor", 1.5, 1.15, 1.5, 1.15)):
        found.append(Goal(f"W1 wall over the {base}", paired(rows, "product", base, wall), must, aim))
        found.append(Goal(f"W1 CPU per run over the {base}", paired(rows, "product", base, cpu), must_cpu, aim_cpu))
    for other, must, aim in (("DBOS", 50, 100), ("django-q2", 150, 250), ("cron", 60, 100)):
        values = [1 / value for value in paired(rows, "product", other, wall)]
        found.append(Goal(f"W1 runs per second over {other}", values, must, aim, at_least=True))
    found.append(Goal("W1 WAL bytes per run over the floor", paired(rows, "product", "floor", _wal), 3.5, 2.0))
    syncs = [each("fsyncs", 10_000)(row) for row in rows["product"]]
    found.append(Goal("W1 WAL fsyncs per 10,000 runs", syncs, 200, 90, unit=""))
    return found


def _wal(row: Row) -> float:
    return row["wal"] / row["count"]


def _floor(dsn: str, runs: int) -> Contender:
    return Contender(
        size=runs,
        prepare=lambda number: floor.prepare(dsn),
        working=lambda: forked(floor.work, dsn),
        begin=lambda number: floor.enrol(dsn, 1, runs),
        done=lambda: floor.completed(dsn) == runs,
        check=lambda number: expect("floor", floor.finished(dsn), wanted(runs)),
    )


def _sets(dsn: str, runs: int) -> Contender:
    return Contender(
        size=runs,
        prepare=lambda number: floor.prepare(dsn),
        working=lambda: forked(sets.work, dsn),
        begin=lambda number: floor.enrol(dsn, 1, runs),
        done=lambda: floor.completed(dsn) == runs,
        check=lambda number: expect("set-based SQL", floor.finished(dsn), wanted(runs)),
    )


def _guarded(dsn: str, runs: int) -> Contender:
    return Contender(
        size=runs,
        prepare=lambda number: guarded.prepare(dsn, runs),
        working=lambda: forked(guarded.work, dsn),
        begin=lambda number: guarded.record(dsn, "payment_trouble", range(1, runs + 1)),
        done=lambda: guarded.completed(dsn) == runs,
        check=lambda number: expect("guarded floor", guarded.finished(dsn), wanted(runs)),
    )


def product_drip(workspace: int, customers: list[int]) -> Contender:
    """The product; its tables are emptied before each measurement."""
    runs = len(customers)
    return Contender(
        size=runs,
        prepare=lambda number: product.clear(),
        working=product.working,
        begin=lambda number: product.enrol(workspace, customers, number),
        done=lambda: product.completed() == runs,
        check=lambda number: expect("product", product.finished(), wanted(runs)),
    )


def wanted(runs: int) -> tuple[int, int, int]:
    """All complete, exactly six log rows and two deliveries a run."""
    return runs, 6 * runs, 2 * runs
