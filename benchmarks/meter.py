"""What a measurement cost: processor time of the application and of PostgreSQL, WAL bytes and fsyncs."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from types import TracebackType

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """Reads the counters when entered and left; the differences are in `spent`. PostgreSQL is counted as a whole (its postmaster
    and all it has forked, ended ones included), so a shared server counts its other users too. Zero where /proc does not say."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.spent: dict[str, float] = {}

    def __enter__(self) -> Meter:
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = self._read()
        self.spent = {name: after[name] - before for name, before in self._before.items()}

    def _read(self) -> dict[str, float]:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), "
                "(SELECT coalesce(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal'), pg_backend_pid()"
                if connection.info.server_version >= 180000
                else "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), wal_sync, pg_backend_pid() FROM pg_stat_wal"
            ).fetchone()
            assert row is not None
            return {"app": _application(), "postgres": _postgres(row[2]), "wal": float(row[0]), "fsyncs": float(row[1])}


def _application() -> float:
    """CPU seconds of this process and its ended children."""
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def _postgres(backend: int) -> float:
    """CPU seconds of the server: its living processes, and those that ended."""
    try:
        postmaster = int(_stat(backend)[1])
    except (OSError, IndexError):
        return 0.0
    ticks = sum(map(int, _stat(postmaster)[11:15]))
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it ended while we looked
            fields = _stat(int(name))
            if int(fields[1]) == postmaster:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name: state, parent, ..."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()
