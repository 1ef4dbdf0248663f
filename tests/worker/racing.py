"""Two connections at work at once: threads whose connection is closed, and waiting until one of them waits for a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection


class Racer:
    """Runs `work` in a thread with a connection of its own; `result()` joins it and raises what it raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._answer: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._work()
        except BaseException as error:  # handed to the test, which raises it
            self._error = error
        finally:
            connection.close()

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def result(self, timeout: float = 60) -> Any:
        """What it answered."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the other side never finished"
        if self._error is not None:
            raise self._error
        return self._answer


def until_somebody_waits(racer: Racer, timeout: float = 60) -> None:
    """Return when a connection of this database waits for an advisory lock; fail when the racer ends without having waited."""
    _until(
        racer,
        timeout,
        "select count(*) from pg_locks where not granted and locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())",
    )


def until_a_row_is_waited_for(racer: Racer, timeout: float = 60, lock: str = "transactionid") -> None:
    """The same for a row that another transaction holds, or, with `relation`, a table."""
    _until(
        racer,
        timeout,
        "select count(*) from pg_stat_activity where datname = current_database()"
        f" and (wait_event_type, wait_event) = ('Lock', '{lock}')",
    )


def _until(racer: Racer, timeout: float, question: str) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            cursor.execute(
                "select pg_stat_clear_snapshot()"
            )  # within a transaction the server's answer would stay the first
            cursor.execute(question)
            if cursor.fetchone()[0]:
                return
        assert racer.alive, "it did not wait for anybody"
        time.sleep(0.01)  # polling the server's own table, which has no other way to be told
    raise AssertionError("nobody waited for a lock")


def together(*works: Callable[[], Any]) -> list[Any]:
    """Start all of them at one moment; their answers in order."""
    gate = threading.Barrier(len(works))

    def started(work: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            gate.wait()
            return work()

        return run

    racers = [Racer(started(work)) for work in works]
    return [racer.result(60) for racer in racers]
