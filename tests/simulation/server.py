"""The database server as the scheduler sees it: copies of one prepared database, who waits for whom, who is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from django.db import connection
from psycopg import sql

_PLACE = ("user", "password", "host", "port")
_WAITS = "select exists (select 1 from pg_locks where pid = %s and not granted)"
_GONE = "select not exists (select 1 from pg_stat_activity where pid = any(%s))"
# Ours come before the server's own time functions; there is no analysis and no vacuum that would come at times of their own.
_PATH = "alter database {} set search_path = simulated, public, pg_catalog"


class Server:
    """A connection beside the simulated ones, to another database, so that its snapshots hold nothing back there."""

    def __init__(self) -> None:
        parameters = connection.get_connection_params()
        self._place = {name: parameters[name] for name in _PLACE if name in parameters}
        self._own = psycopg.connect(**self._place, dbname="postgres", autocommit=True)
        self.base = str(connection.settings_dict["NAME"])

    def close(self) -> None:
        """Leave."""
        self._own.close()

    def waits(self, pid: int) -> bool:
        """Whether this server process waits for a lock that somebody holds."""
        row = self._own.execute(_WAITS, [pid]).fetchone()
        return bool(row and row[0])

    def terminate(self, pid: int) -> None:
        """As when the kernel closes the sockets of a dead process."""
        self._own.execute("select pg_terminate_backend(%s)", [pid])

    def await_gone(self, pids: Sequence[int]) -> None:
        """Return when the server has seen the end of these."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            row = self._own.execute(_GONE, [list(pids)]).fetchone()
            if row and row[0]:
                return
            time.sleep(0.0005)  # polling the server's own table, which has no other way to be told
        raise AssertionError("a closed connection is still there")

    def copy(self, template: str, name: str) -> None:
        """Make `name` page by page what `template` is."""
        self.drop(name)
        made = sql.SQL("create database {} template {} strategy wal_log")
        self._own.execute(made.format(sql.Identifier(name), sql.Identifier(template)))
        self._own.execute(sql.SQL(_PATH).format(sql.Identifier(name)))

    def drop(self, name: str) -> None:
        """Away with it and whoever is connected."""
        self._own.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Let Django, in every thread, connect to this database."""
        before = connection.settings_dict["NAME"]
        connection.close()
        connection.settings_dict["NAME"] = name
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = before
