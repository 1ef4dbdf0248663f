"""What people write first or reach for: a Django project with one row per run, advanced by django-q2 tasks or by cron with ORM saves;
and the bare view of W6. Runs as programs of its own, with settings of its own, beside the product."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from benchmarks.stage import Contender

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Of its programs."""
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "benchmarks.plain.settings", "PYTHONPATH": str(ROOT)}


def program(*arguments: str) -> list[str]:
    """How one of them is started."""
    return [sys.executable, "-m", "benchmarks.plain", *arguments]


def make_tables(dsn: str) -> None:
    """Once for each database."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT to_regclass('plain.plain_event')").fetchone()
    if row is None or row[0] is None:
        subprocess.run(program("tables"), env=environment(), check=True)


class Plain:
    """One of the two ways to advance the runs."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self._name = dsn, name
        self._feeder: subprocess.Popen[str] | None = None

    def prepare(self, number: int) -> None:
        """No rows."""
        make_tables(self._dsn)
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(
                "TRUNCATE plain.plain_run, plain.plain_steplog, plain.plain_mail, plain.django_q_ormq, plain.django_q_task"
            )

    @contextmanager
    def working(self) -> Iterator[list[int]]:
        """Two workers and the one that enrols, at rest."""
        from benchmarks.stage import PROCESSES, spawned

        servers = (
            [program("queued")]
            if self._name == "queued"
            else [program("cron", str(share), str(PROCESSES)) for share in range(PROCESSES)]
        )
        with spawned(program(f"enrol-{self._name}"), *servers, environment=environment()) as (self._feeder, *workers):
            yield [pid for worker in workers for pid in _family(worker.pid)]

    def enrol(self, count: int) -> None:
        """Have the runs begun."""
        assert self._feeder is not None
        assert self._feeder.stdin is not None
        self._feeder.stdin.write(f"{count}\n")
        self._feeder.stdin.flush()

    def counts(self) -> tuple[int, int, int]:
        """Completed runs, log rows, mails."""
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM plain.plain_run WHERE status = 'done'), (SELECT count(*) FROM plain.plain_steplog), "
                "(SELECT count(*) FROM plain.plain_mail)"
            ).fetchone()
        assert row is not None
        return row[0], row[1], row[2]


def _family(pid: int) -> list[int]:
    import psutil

    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def contender(dsn: str, name: str, runs: int) -> Contender:
    """`queued` (django-q2, one task per step) or `cron` (ORM saves)."""
    from benchmarks.stage import Contender, expect

    plain = Plain(dsn, name)
    return Contender(
        size=runs,
        prepare=plain.prepare,
        working=plain.working,
        begin=lambda number: plain.enrol(runs),
        done=lambda: plain.counts()[0] == runs,
        check=lambda number: expect(name, plain.counts(), (runs, 6 * runs, 2 * runs)),
    )
