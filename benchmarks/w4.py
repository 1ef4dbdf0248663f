"""W4, idle scan: what one look of a worker costs when nothing is due among very many parked runs; and when the table was never analysed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
from django.db import connection

from benchmarks import floor, product
from benchmarks.stage import Column, Goal, Result, Row, Rows, Sizes, expect, say

COLUMNS = (
    Column("ms a look", lambda row: row["ms"], 3),
    Column("slowest ms", lambda row: row["slowest"], 3),
)
NO_STATISTICS = "ALTER TABLE {} SET (autovacuum_enabled = false)"
WARM = 3  # looks that are not counted: plans and catalogues come into memory


def run(dsn: str, sizes: Sizes) -> Result:
    """The floor and the product; the state of the table changes between blocks of looks, none before and after the many."""
    rows: Rows = {}
    rows |= _floor(dsn, sizes)
    rows |= _product(sizes)
    goals = [
        Goal("W4 one look, many parked over none", _ratio(rows, "many", "none"), 2.0, 1.2),
        Goal("W4 one look, never analysed over analysed", _ratio(rows, "raw", "analysed"), 2.0, 1.2),
    ]
    notes = [
        f"none, many: 0 and {sizes.parked:,} parked runs, none due; raw, analysed: {sizes.due:,} due, claimed by 500 and given back."
    ]
    return Result("W4, idle scan: one look for what is due", rows, COLUMNS, goals, notes)


def _ratio(rows: Rows, mine: str, base: str) -> list[float]:
    return [
        one["ms"] / other["ms"] for one, other in zip(rows[f"product {mine}"], rows[f"product {base}"], strict=True)
    ]


def _product(sizes: Sizes) -> Rows:
    workspace = product.prepare(min(sizes.parked, 10_000))
    customers = product.customer_ids()
    _execute(NO_STATISTICS.format("automations_run"))
    far = datetime.now(UTC) + timedelta(days=30)
    before = _looks(sizes, product.idle, 0)
    product.park(workspace, customers, sizes.parked, far)
    _execute("VACUUM ANALYZE automations_run")
    many = _looks(sizes, product.idle, 0)
    product.clear()
    _execute("VACUUM ANALYZE automations_run")
    after = _looks(sizes, product.idle, 0)
    say("W4 product: parked looks done")
    workspace = product.prepare(min(sizes.due, 10_000))  # never analysed: a database of its own
    _execute(NO_STATISTICS.format("automations_run"))
    product.park(workspace, product.customer_ids(), sizes.due, datetime.now(UTC) - timedelta(hours=1))
    raw = _looks(sizes, product.poll, min(floor.BATCH, sizes.due))
    _execute("ANALYZE automations_run")
    analysed = _looks(sizes, product.poll, min(floor.BATCH, sizes.due))
    return {
        "product none": _between(before, after),
        "product many": many,
        "product raw": raw,
        "product analysed": analysed,
    }


def _floor(dsn: str, sizes: Sizes) -> Rows:
    with psycopg.connect(dsn, autocommit=True) as session:

        def looks(found: int) -> list[Row]:
            session.autocommit = False
            session.execute("SET enable_sort = off")
            session.execute("SET enable_bitmapscan = off")
            session.commit()
            rows = _looks(sizes, lambda: floor.poll(session), found)
            session.autocommit = True
            return rows

        floor.prepare(dsn)
        before = looks(0)
        floor.park(dsn, sizes.parked, datetime.now(UTC) + timedelta(days=30))
        session.execute("VACUUM ANALYZE floor_run")
        many = looks(0)
        floor.prepare(dsn)
        session.execute(NO_STATISTICS.format("floor_run"))
        after = looks(0)
        floor.park(dsn, sizes.due, datetime.now(UTC) - timedelta(hours=1))
        raw = looks(min(floor.BATCH, sizes.due))
        session.execute("ANALYZE floor_run")
        analysed = looks(min(floor.BATCH, sizes.due))
    return {"floor none": _between(before, after), "floor many": many, "floor raw": raw, "floor analysed": analysed}


def _looks(sizes: Sizes, look: Callable[[], int], found: int) -> list[Row]:
    """One block of looks a round."""
    for _ in range(WARM):
        expect("a look", look(), found)
    return [_block(sizes.polls, look, found) for _ in range(sizes.rounds)]


def _block(polls: int, look: Callable[[], int], found: int) -> Row:
    taken = []
    for _ in range(polls):
        started = time.perf_counter()
        count = look()
        taken.append((time.perf_counter() - started) * 1000)
        expect("a look", count, found)
    return {"ms": statistics.median(taken), "slowest": max(taken)}


def _between(before: list[Row], after: list[Row]) -> list[Row]:
    """The mean of a block before and one after."""
    return [{key: (one[key] + other[key]) / 2 for key in one} for one, other in zip(before, after, strict=True)]


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
