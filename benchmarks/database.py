"""A database of its own for a measurement, on `DATABASE_URL`'s server or on an embedded cluster with the server's own settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from config.database import Database, parse_database_url
from config.folder import default_folder
from config.postgres import Cluster

NAME = os.environ.get("BENCH_DATABASE", "onward_bench")  # two measurements at once need two
MIGRATED = f"{NAME}_migrated"  # a copy with all tables and no rows, from which each workload begins
# Tests have a migrated database already; it is copied and left as it is.
GIVEN = os.environ.get("BENCH_TEMPLATE", "")
_server: list[Database] = []


@contextmanager
def database() -> Iterator[str]:
    """Make the database, point `DATABASE_URL` at it, answer its connection text, drop it at the end."""
    url = os.environ.get("DATABASE_URL")
    hold = None
    if url:
        base = parse_database_url(url)
    else:
        cluster = Cluster(default_folder().parent / "onward-bench")
        hold = cluster.attach()
        base = cluster.database()
    place = Database(NAME, base.user, base.password, base.host, base.port)
    os.environ["DATABASE_URL"] = place.as_url()
    os.environ.setdefault("ONWARD_DEBUG", "1")
    try:
        _server[:] = [base]
        _drop(MIGRATED)
        _make(NAME, GIVEN or None)
        yield _dsn(place)
        _drop(NAME)
        _drop(MIGRATED)
    finally:
        if hold:
            hold.release()


def keep_as_migrated() -> None:
    """Remember the database as it stands for `begin_anew`. Nobody may be connected to it."""
    _make(MIGRATED, NAME)


def begin_anew() -> bool:
    """Put the remembered database in the place of the present one: no rows, no statistics. False when none is remembered yet; then
    the place is empty."""
    source = GIVEN or MIGRATED
    with psycopg.connect(_dsn(_server[0]), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [source]).fetchone() is not None
    _make(NAME, source if known else None)
    return known


def _dsn(place: Database) -> str:
    parts = {
        "dbname": place.name,
        "user": place.user,
        "password": place.password,
        "host": place.host,
        "port": place.port,
    }
    return psycopg.conninfo.make_conninfo("", **{key: value for key, value in parts.items() if value})


def _drop(name: str) -> None:
    with psycopg.connect(_dsn(_server[0]), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _make(name: str, template: str | None = None) -> None:
    _drop(name)
    with psycopg.connect(_dsn(_server[0]), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
