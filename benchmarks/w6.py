"""W6, ingest: events over HTTP, one and 100 a request, checked and authenticated, against two web workers; beside them a bare Django view
that inserts one row. Only web servers run: what becomes of the events is W1's and W3's matter."""

from __future__ import annotations

import psycopg
from django.conf import settings

from accounts.actor import system_actor
from accounts.services.keys import create_api_key
from benchmarks import load, plain, product
from benchmarks.meter import Meter
from benchmarks.site import served
from benchmarks.stage import Column, Goal, Result, Row, Rows, Sizes, each, expect, paired, say
from benchmarks.stage import seconds as wall
from config.folder import read_keys

CONNECTIONS = 8  # as many as the two web workers have threads
MANY = 100
COLUMNS = (
    Column("events/s", lambda row: row["count"] / row["seconds"], 0),
    Column("requests/s", lambda row: row["requests"] / row["seconds"], 0),
    Column("p50 ms", lambda row: row["p50"], 2),
    Column("p99 ms", lambda row: row["p99"], 2),
    Column("app CPU us", each("app", 1e6), 0),
    Column("PG CPU us", each("postgres", 1e6), 0),
    Column("WAL bytes", each("wal", 1), 0),
)


def run(dsn: str, sizes: Sizes) -> Result:
    """A key for each connection: one alone may post 500 requests a second."""
    workspace = product.prepare(load.PEOPLE)
    actor = system_actor(workspace)
    keys = [create_api_key(actor=actor, name=f"load {place}", scopes=["events"])[1] for place in range(CONNECTIONS)]
    plain.make_tables(dsn)
    bare_settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.plain.settings"}
    with (
        served("config.wsgi:application", **_as_in_production()) as address,
        served("benchmarks.plain.wsgi:application", **bare_settings) as bare,
    ):
        sides = {
            "bare view": Side(dsn, bare, 1, keys, "plain.plain_event"),
            "product, 1": Side(dsn, address, 1, keys, "automations_event"),
            f"product, {MANY}": Side(dsn, address, MANY, keys, "automations_event"),
        }
        rows = _in_turn(sizes, sides)
    one, many = "product, 1", f"product, {MANY}"
    goals = [
        Goal(
            "W6 one event a request over the bare view", _inverse(paired(rows, one, "bare view", wall)), 0.5, 0.8, True
        ),
        Goal(f"W6 events/s at {MANY} a request over 1", _inverse(paired(rows, many, one, wall)), 20, 40, True),
    ]
    notes = [
        f"{load.driver()}, {CONNECTIONS} connections, {settings.ONWARD_WEB_WORKERS} gunicorn workers of 4 threads on all sides; "
        "the driver's own processor time is left out of the application's"
    ]
    return Result(f"W6, ingest over HTTP for {sizes.seconds:g} s; costs of one event", rows, COLUMNS, goals, notes)


def _inverse(values: list[float]) -> list[float]:
    return [1 / value for value in values]


def _as_in_production() -> dict[str, str]:
    """Without Django's debug mode, which keeps every query in memory; over plain HTTP, as behind a proxy."""
    keys = read_keys(settings.ONWARD_DATA)
    assert keys is not None
    return {
        "ONWARD_DEBUG": "",
        "ONWARD_BASE_URL": "http://127.0.0.1",
        "ONWARD_ALLOWED_HOSTS": "127.0.0.1",
        "ONWARD_SECRET_KEY": keys.secret,
        "ONWARD_QUEUE_KEY": keys.queue,
        "ONWARD_ENCRYPTION_KEYS": ",".join(keys.encryption),
    }


class Side:
    """One way to take events in."""

    def __init__(self, dsn: str, address: str, size: int, keys: list[str], table: str) -> None:
        self._dsn, self._address, self._size, self._keys, self._table = dsn, address, size, keys, table

    def measure(self, number: int, seconds: float) -> Row:
        """One measurement. AssertionError when an answer was no 202 or the rows are not those that were answered."""
        before, meter = self._rows(), Meter(self._dsn)
        with meter:
            found = load.drive(self._address, seconds, self._size, f"r{number}-{self._size}", self._keys)
        expect("answers other than 202", found["errors"], 0)
        new, said = self._rows() - before, int(found["requests"]) * self._size
        # wrk leaves when its time is up: what was under way is recorded and not counted by it.
        under_way = (CONNECTIONS if load.driver() == "wrk" else 0) * self._size
        if not said <= new <= said + under_way:
            raise AssertionError(f"{new} rows for {said} events")
        spent = {**meter.spent, "app": max(0.0, meter.spent["app"] - found["cpu"])}
        return {**spent, **found, "count": float(said)}

    def _rows(self) -> int:
        with psycopg.connect(self._dsn) as connection:
            query = f"SELECT count(*) FROM {self._table}"
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def _in_turn(sizes: Sizes, sides: dict[str, Side]) -> Rows:
    rows: Rows = {name: [] for name in sides}
    for number in sizes.numbers():
        for name, side in sides.items():
            row = side.measure(number, sizes.seconds)
            say(f"round {number} {name}: {row['count'] / row['seconds']:,.0f} events/s")
            if number > 0:
                rows[name].append(row)
    return rows
