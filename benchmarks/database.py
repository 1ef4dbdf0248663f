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
        _again(base, create=True)
        yield _dsn(place)
        _again(base, create=False)
    finally:
        if hold:
            hold.release()


def _dsn(place: Database) -> str:
    parts = {
        "dbname": place.name,
        "user": place.user,
        "password": place.password,
        "host": place.host,
        "port": place.port,
    }
    return psycopg.conninfo.make_conninfo("", **{key: value for key, value in parts.items() if value})


def _again(base: Database, create: bool) -> None:
    with psycopg.connect(_dsn(base), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{NAME}" WITH (FORCE)')
        if create:
            connection.execute(f'CREATE DATABASE "{NAME}"')
