"""The floor with the protections of DESIGN 5.2, written by hand: psycopg 3, no Django. Workspaces and fair claims, events recorded once
and routed under locks of their shards, automations locked and read again, filters with an evaluation row where one refuses, the version
of each run, JSON in every log row, partitions, ordered locks, a worker's own row against poison, compare-and-set of `seq`, savepoints,
immediate constraints, appended tallies, second looks.

What runs only after a failure (halving a batch, burying a worker) costs nothing while all goes well and is left out. Constraints are not
deferrable, hence immediate. Re-entry is `always`, as in the automation of W1, and sets no key."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from benchmarks.guarded_advance import advance, look_again
from benchmarks.guarded_route import route
from benchmarks.guarded_tables import PARTITION, PARTITIONED, TABLES

BATCH, SHARDS, WORKSPACE = 500, 64, 1
Connection = psycopg.Connection[Any]


def prepare(dsn: str, customers: int) -> None:
    """Fresh tables with two automations and so many customers."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES)
        for table in PARTITIONED:
            connection.execute(PARTITION.format(table=table))  # names of our own
        connection.execute(
            "INSERT INTO guarded_customer SELECT g, 1, 'Customer ' || g, 'customer-' || g || '@example.com', 'pro' "
            "FROM generate_series(1, %s) g",
            [customers],
        )


def shard_of(customer: int) -> int:
    """Events of one customer are routed in their order."""
    return zlib.crc32(f"{WORKSPACE}:{customer}".encode()) % SHARDS


def record(dsn: str, name: str, customers: Sequence[int], size: int = BATCH) -> None:
    """An event of each customer, `size` a transaction: the event, its content and its place in the routers' queue."""
    with psycopg.connect(dsn) as connection:
        for start in range(0, len(customers), size):
            _record(connection, name, customers[start : start + size])
            connection.commit()


def _record(connection: Connection, name: str, customers: Sequence[int]) -> None:
    ids = connection.execute(
        "SELECT nextval('guarded_event_id_seq') FROM generate_series(1, %s)", [len(customers)]
    ).fetchall()
    now = datetime.now(UTC)
    rows = list(zip([row[0] for row in ids], customers, strict=True))
    payload = json.dumps({"failureCount": 1})
    with connection.cursor() as cursor:
        with cursor.copy(
            "COPY guarded_event (id, workspace_id, name, source, key, body_sha256, customer_id, subjects, occurred_at, recorded_at, "
            "shard) FROM STDIN"
        ) as copy:
            for id, customer in rows:
                subjects = f'{{"customer": {customer}}}'
                sha = hashlib.sha256(f"[{name},{subjects},{payload}]".encode()).hexdigest()
                key = f"{name}-{customer}"
                copy.write_row((id, 1, name, "api", key, sha, customer, subjects, now, now, shard_of(customer)))
        with cursor.copy("COPY guarded_content FROM STDIN") as copy:
            for id, _ in rows:
                copy.write_row((id, now, WORKSPACE, payload))
        with cursor.copy("COPY guarded_unrouted FROM STDIN") as copy:
            for id, customer in rows:
                copy.write_row((shard_of(customer), id, WORKSPACE))


def wait(dsn: str, count: int) -> None:
    """A run of each customer that waits for an event of its own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO guarded_run (workspace_id, automation_id, version_id, event_id, customer_id, subjects, status, parked_on, step, "
            "seq, started_at, wait_name, wait_key, wait_since) SELECT 1, 2, 12, 1000000000 + g, g, "
            "jsonb_build_object('customer', g), 'WAITING', 'event', 'paid', 1, now(), 'paid', 'customer:' || g, 0 "
            "FROM generate_series(1, %s) g",
            [count],
        )
        connection.execute("ANALYZE guarded_run")


def work(dsn: str, ready: Any, stop: Any) -> None:
    """Route, advance, look again until `stop` is set. The second connection carries the worker's own row."""
    with psycopg.connect(dsn) as connection, psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("SET synchronous_commit = off")
        row = holder.execute("INSERT INTO guarded_worker DEFAULT VALUES RETURNING id").fetchone()
        assert row is not None
        ready.release()
        while not stop.is_set():
            if not route(connection) + advance(connection, holder, row[0]) + look_again(connection):
                stop.wait(0.005)


def finished(dsn: str) -> tuple[int, int, int]:
    """Completed runs, log rows and deliveries."""
    return _row(
        dsn,
        "SELECT (SELECT count(*) FROM guarded_run WHERE status = 'COMPLETED'), (SELECT count(*) FROM guarded_log), "
        "(SELECT count(*) FROM guarded_delivery)",
    )


_BUSY = "EXISTS (SELECT 1 FROM guarded_unrouted)"
_DUE = "EXISTS (SELECT 1 FROM guarded_run WHERE workspace_id = 1 AND due_at <= now())"


def completed(dsn: str) -> int:
    """Completed runs, 0 as long as something is due or to be routed."""
    return int(
        _row(
            dsn,
            f"SELECT CASE WHEN {_BUSY} OR {_DUE} THEN 0 ELSE (SELECT count(*) FROM guarded_run WHERE status = 'COMPLETED') END",
        )[0]
    )


def routed(dsn: str) -> bool:
    """Whether every event was routed."""
    return not _row(dsn, f"SELECT {_BUSY}")[0]


def awake(dsn: str) -> int:
    """Runs that wait for their event no more."""
    return int(_row(dsn, "SELECT count(*) FROM guarded_run WHERE version_id = 12 AND status <> 'WAITING'")[0])


def _row(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchone()  # queries of our own
