"""What a measurement cost: seconds, processor time of the application and of PostgreSQL, WAL bytes and fsyncs."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from types import TracebackType

import psycopg

SETTLE = 3.0  # seconds
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """Reads the counters when entered and left; the differences are in `spent`. Processes that are there before and live on, like
    workers already started, count only with what they do in between. PostgreSQL is counted as a whole (its postmaster and all it has
    forked, ended ones included), so a shared server counts its other users too. Zero where /proc does not say. Syncs of the log are exact
    after `settle`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.spent: dict[str, float] = {}

    def __enter__(self) -> Meter:
        self._before = self._read()
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.monotonic() - self._started
        after = self._read()
        self.spent = {"seconds": seconds, **{name: after[name] - before for name, before in self._before.items()}}

    def settle(self) -> None:
        """Read again how often the log was synced, when all who worked have gone: a session tells the server's counters only now and then,
        and when it ends."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            end = time.monotonic() + SETTLE
            while time.monotonic() < end:
                row = connection.execute(_OTHERS).fetchone()
                if row is None or row[0] == 0:
                    break
                time.sleep(0.02)
        self.spent["fsyncs"] = self._read()["fsyncs"] - self._before["fsyncs"]

    def _read(self) -> dict[str, float]:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), "
                "(SELECT coalesce(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal'), pg_backend_pid()"
                if connection.info.server_version >= 180000
                else "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), wal_sync, pg_backend_pid() FROM pg_stat_wal"
            ).fetchone()
            assert row is not None
            mine, theirs = family(os.getpid()), family(_parent(row[2]))
            return {"app": mine, "postgres": theirs, "wal": float(row[0]), "fsyncs": float(row[1])}


def family(parent: int) -> float:
    """CPU seconds of a process and its descendants, living and ended."""
    children = _all_children()
    total, found = 0.0, [parent]
    while found:
        pid = found.pop()
        total += _living(pid) + _ended(pid)
        found += children.get(pid, ())
    return total


def _living(pid: int) -> float:
    """To the nanosecond, over all threads that live; a thread that ends takes its time along."""
    total = 0
    with suppress(OSError, IndexError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
    return total / 1e9


def _ended(parent: int) -> float:
    """Children that ended and were waited for, in clock ticks."""
    with suppress(OSError, IndexError):
        return sum(map(int, _stat(parent)[13:15])) / _TICKS
    return 0.0


def _all_children() -> dict[int, list[int]]:
    """By parent."""
    found: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            found.setdefault(_parent(int(name)), []).append(int(name))
    return found


def _parent(pid: int) -> int:
    """0 where nobody says, or it ended while we looked."""
    with suppress(OSError, IndexError):
        return int(_stat(pid)[1])
    return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name: state, parent, ..."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()
