"""The race of a worker that dies between the commit that parks a run and its second look (W1, DESIGN 5.2; RELIABILITY 16)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from automations.models import Run
from automations.worker import second_look, store
from automations.worker.second_look import look_again
from tests.chaos.races.gates import PATIENCE, advance, fresh
from tests.chaos.races.race import Guard
from tests.chaos.races.waiting import Parking
from tests.worker.racing import Racer


def _without_note(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store, "_second_looks", lambda cursor, parked: None)


class DeathBeforeTheLook(Parking):
    """The process that parks a run is killed, by SIGKILL, before it could look once more."""

    name, title, rows = "death-second-look", "death between commit and second look", "16, W1"
    orders = ("dies_after_the_commit", "dies_before_the_commit", "dies_in_the_look", "dies_before_the_event")
    guards = (Guard("the note that a look is due", _without_note, orders[:1]),)

    def dies_after_the_commit(self, run: Run) -> bool:
        with Mortal(self._park) as worker:
            self.ping(run)
        return worker.died

    def dies_before_the_commit(self, run: Run) -> bool:
        def work(point: Callable[[], None]) -> None:
            with transaction.atomic():
                advance()
                point()
                os.kill(os.getpid(), signal.SIGKILL)

        with Mortal(work) as worker:
            self.ping(run)
        return worker.died and fresh(run).status == "RUNNING"

    def dies_in_the_look(self, run: Run) -> bool:
        def work(point: Callable[[], None]) -> None:
            second_look._finish = lambda ids: point()
            with transaction.atomic():
                look_again()
                os.kill(os.getpid(), signal.SIGKILL)

        with transaction.atomic():
            advance()
            Racer(lambda: self.ping(run)).result()
        with Mortal(work) as worker:
            pass
        return worker.died and fresh(run).status == "WAITING_FOR_EVENT"

    def dies_before_the_event(self, run: Run) -> bool:
        with Mortal(self._park) as worker:
            pass
        self.ping(run)
        return worker.died

    @staticmethod
    def _park(point: Callable[[], None]) -> None:
        with transaction.atomic():
            advance()
            point()


class Mortal:
    """A process that does `work`, stands at its point while the body of `with` is done, goes on and is killed at the end. It is over
    when the server has noticed."""

    def __init__(self, work: Callable[[Callable[[], None]], None]) -> None:
        self._work = work
        self.died = False

    def __enter__(self) -> Mortal:
        said, self._go = os.pipe(), os.pipe()
        connection.close()  # a connection must not be shared with a child
        self._pid = os.fork()
        if self._pid == 0:
            self._live(said[1])
        os.close(said[1])
        with os.fdopen(said[0], "rb") as stream:
            self._backend = int(stream.readline() or 0)
        return self

    def _live(self, said: int) -> None:
        def point() -> None:
            with connection.cursor() as cursor:
                cursor.execute("select pg_backend_pid()")
                os.write(said, b"%d\n" % cursor.fetchone()[0])
            os.read(self._go[0], 1)

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(PATIENCE))  # were it ever to hang, its parent would wait for it for ever
        try:
            self._work(point)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def __exit__(self, *error: object) -> None:
        os.write(self._go[1], b"x")
        status = os.waitpid(self._pid, 0)[1]
        for end in self._go:
            os.close(end)
        self.died = bool(self._backend) and os.WTERMSIG(status) == signal.SIGKILL
        end_of_patience = time.monotonic() + PATIENCE
        with connection.cursor() as cursor:
            while time.monotonic() < end_of_patience:
                cursor.execute("select count(*) from pg_stat_activity where pid = %s", [self._backend])
                if not cursor.fetchone()[0]:
                    return
                time.sleep(0.002)  # polling the server's own table, which has no other way to be told
        raise AssertionError("the server kept the dead worker's connection")
