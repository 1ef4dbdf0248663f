"""One simulation: a copy of the world, two workers, two clients, one fault, until nothing is left to be done."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import Installation
from automations.channels import smtp
from automations.services import shapes, sweeps
from automations.services.housekeeping import make_partitions
from automations.worker import (
    advance,
    bell,
    claim,
    delivery_claim,
    loop,
    plans,
    retrying,
    route,
    store,
    strays,
    stuck,
)  # fmt: skip
from automations.worker import settle as settling
from tests.simulation.baton import Baton, State, Stuck, current
from tests.simulation.clock import COVER, REBIND, START, Clock, Time
from tests.simulation.faults import Fault, Points
from tests.simulation.peers import Peers
from tests.simulation.processes import Client, Worker, separate
from tests.simulation.server import Server
from tests.simulation.world import World, ending, failing_payments, make_world, write_scripts

TIMED = (claim, delivery_claim, advance, bell, plans, loop, retrying, smtp)
LONGEST = 2 * 86_400.0  # simulated seconds after which something keeps itself busy for ever
QUIET = (5.5,)  # seconds that pass when nobody has anything to do, before the clock goes to the next due time
NEVER_LEFT = 6  # rounds in which something is due and nobody takes it
#: What acts is the thread that is simulated. The address is never asked: the peers stand in front of it.
SETTINGS = {"ONWARD_DELIVERY_THREADS": 1, "ONWARD_SMTP_URL": "smtp://simulated:25", "ONWARD_STARTTLS": "never"}
#: As if nobody had ever worked in it: no row, no dead row, no number used, no statistics, and none to come.
EMPTY = r"""
do $$
declare
    names text;
    one regclass;
begin
    select string_agg(c.oid::regclass::text, ', ') into names from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> all (array['django_migrations', 'django_content_type', 'auth_permission', 'accounts_installation',
            'accounts_plan', 'django_q_schedule', 'automations_partitionlog']);
    execute 'truncate ' || names || ' restart identity';
    delete from pg_statistic;
    for one in select c.oid::regclass from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' loop
        execute format('alter table %s set (autovacuum_enabled = false)', one);
    end loop;
end $$
"""


@contextmanager
def patched(clock: Clock, sleep: Callable[[float], None], chance: random.Random) -> Iterator[pytest.MonkeyPatch]:
    """Time, chance and process number as the simulation has them; what processes keep in memory begins anew."""
    with pytest.MonkeyPatch.context() as patch:
        for module in TIMED:
            patch.setattr(module, "time", Time(clock, sleep))
        for name, value in SETTINGS.items():
            patch.setattr(settings, name, value, raising=False)
        patch.setattr(stuck, "signal", _NoAlarm)
        patch.setattr(timezone, "now", lambda: clock.now)
        patch.setattr(settling, "random", SimpleNamespace(random=chance.random))
        patch.setattr(route, "os", SimpleNamespace(getpid=_number))
        patch.setattr(advance.Size, "now", advance.BATCH_MAX)
        patch.setattr(advance._Suspects, "last", 0.0)
        patch.setattr(bell, "_last", 0.0)
        patch.setattr(strays._Look, "after", None)
        patch.setattr(store, "_instance", "")
        plans.forget_plans()
        smtp._kept.clear()
        shapes.forget()
        yield patch
        plans.forget_plans()


class _NoAlarm:
    """Whoever parks with the baton elsewhere says nothing for long, and does not hang: the kernel's alarm is real time."""

    SIGALRM, ITIMER_REAL, SIG_DFL = signal.SIGALRM, signal.ITIMER_REAL, signal.SIG_DFL

    @staticmethod
    def setitimer(which: int, seconds: float) -> None:
        """No alarm."""

    @staticmethod
    def getitimer(which: int) -> tuple[float, float]:
        """None was set."""
        return 0.0, 0.0

    @staticmethod
    def getsignal(number: int) -> signal.Handlers:
        """As it is at the start."""
        return signal.SIG_DFL


def _number() -> int:
    actor = current()
    return int(getattr(actor.home, "number", os.getpid())) if actor is not None else 0


class Stage:
    """The database in which a world is prepared once for each start value, and its copies."""

    def __init__(self) -> None:
        self.server = Server()
        self.prepared = f"{self.server.base}_prepared"
        self.run = f"{self.server.base}_run"
        self._world: World | None = None

    def close(self) -> None:
        """Leave nothing behind."""
        for name in (self.prepared, self.run):
            self.server.drop(name)
        self.server.close()

    def world(self, seed: int) -> World:
        """The world of this start value, in the prepared database."""
        if self._world is None or self._world.seed != seed:
            connection.close()
            self.server.copy(self.server.base, self.prepared)
            clock = Clock()
            with self.server.using(self.prepared), patched(clock, lambda _: None, random.Random(seed)) as patch:
                patch.setattr("tests.factories._numbers", iter(range(1, 10_000)))
                self._world = self._prepare(seed, clock, patch)
        return self._world

    def _prepare(self, seed: int, clock: Clock, patch: pytest.MonkeyPatch) -> World:
        with connection.cursor() as cursor:
            cursor.execute(EMPTY)
            cursor.execute(COVER)
            cursor.execute(REBIND)
        clock.tell()
        make_partitions(clock.now)
        Installation.objects.update(instance="simulated")
        Peers(Points(Baton(seed, clock, self.server), Fault())).install(patch)
        return make_world(seed)


class Simulation:
    """One walk. `spoil` may take a protection away, by monkeypatch, before it begins."""

    def __init__(
        self, stage: Stage, seed: int, fault: Fault | None = None,
        spoil: Callable[[pytest.MonkeyPatch], None] | None = None,
    ) -> None:  # fmt: skip
        self.stage, self.seed, self.fault, self.spoil = stage, seed, fault or Fault(), spoil
        self.world = stage.world(seed)
        self.clock = Clock()
        self.baton = Baton(seed, self.clock, stage.server)
        self.points = Points(self.baton, self.fault)
        self.peers = Peers(self.points)
        self.processes: list[Any] = []
        self.errors: list[str] = []
        self.deaths = 0
        self._rounds = 0

    @property
    def trace(self) -> list[str]:
        """Everything that happened, in its order."""
        return self.baton.trace

    @property
    def digest(self) -> str:
        """The trace in one word."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]

    @property
    def clients(self) -> list[Client]:
        """Those that asked."""
        return [process for process in self.processes if isinstance(process, Client)]

    @property
    def began(self) -> datetime:
        """Moment 0."""
        return START

    def worked(self) -> None:
        """Something was done, so there may be more."""
        self._rounds = 0

    @contextmanager
    def walked(self) -> Iterator[Simulation]:
        """Walk to the end; within, the database is the walked one, to be judged."""
        server = self.stage.server
        connection.close()
        server.copy(self.stage.prepared, self.stage.run)
        with server.using(self.stage.run), self._dressed() as patch:
            if self.spoil is not None:
                self.spoil(patch)
            try:
                with self.points.installed():
                    self._walk()
            finally:
                self._end()
            yield self

    @contextmanager
    def _dressed(self) -> Iterator[pytest.MonkeyPatch]:
        with patched(self.clock, self._sleep, self.baton.chance) as patch, _listening(self._heard):
            separate(patch)
            self.peers.install(patch)
            write_scripts(self.world)
            self.world.scripts[0][:0] = failing_payments(self.world)
            self.world.scripts[1] += ending(self.world)
            self.clock.jump(1)
            self.clock.tell()
            yield patch

    def _sleep(self, seconds: float) -> None:
        actor = current()
        if actor is not None:
            self.baton.pause(actor, seconds)

    def _heard(self, text: str) -> None:
        self.errors.append(text)
        self.baton.note(f"log: {text}")

    # --- the scheduler's own thread

    def _walk(self) -> None:
        self.processes = [Worker(self, 1), Worker(self, 2)]
        self.processes += [Client(self, number, script) for number, script in enumerate(self.world.scripts)]
        while True:
            while self.baton.turn():
                self._replace()
            self._replace()
            if not self.baton.anybody(State.READY) and self._rounds_over() and not self._clients_ask():
                return
            self._pass_time()

    def _replace(self) -> None:
        struck = self.points.struck
        if struck is None:
            return
        self.points.struck = None
        self.deaths += 1
        process = struck.home
        self.baton.note(f"the process of {struck.name} is dead")
        self._bury(process)
        self.processes[self.processes.index(process)] = process.replace()  # type: ignore[attr-defined]  # all processes can
        self.worked()

    def _bury(self, process: Any) -> None:
        own = process.bury()
        self.baton.bury(process.actors)
        if own is not None:
            self.stage.server.await_gone([own])

    def _clients_ask(self) -> bool:
        return any(actor.state is not State.DONE for client in self.clients for actor in client.actors)

    def _rounds_over(self) -> bool:
        """Whether time alone will bring nothing any more."""
        if self._rounds < len(QUIET):
            return False
        due = self._next_due()
        return due is None or (due <= 0 and self._rounds > NEVER_LEFT)

    def _next_due(self) -> float | None:
        """Simulated seconds until something falls due."""
        moments = [moment for moment in (loop.next_due(), sweeps.next_due()) if moment is not None]
        return (min(moments) - self.clock.there).total_seconds() if moments else None

    def _pass_time(self) -> None:
        """Nobody can go on: let time pass until somebody can."""
        now = self.clock.seconds
        sleepers = [actor.wakes_at - now for actor in self.baton.actors if actor.state is State.READY]
        if self.baton.anybody(State.BLOCKED) and not sleepers:
            self.baton.unlock()
        wait = QUIET[self._rounds] if self._rounds < len(QUIET) else 4.0
        if self._rounds >= len(QUIET):
            due = self._next_due()
            if due is not None and due > 0:
                wait, self._rounds = due + 0.001, -1
            elif sleepers:
                wait = min(sleepers)
        jump = max(0.0, min([wait, *sleepers]))
        # Until somebody wakes is no round in which all were quiet: who looks meanwhile may step back before the one who sleeps.
        if jump == wait or self._rounds >= len(QUIET):
            self._rounds += 1
        self.clock.jump(jump)
        if self.clock.seconds > LONGEST:
            raise Stuck("something keeps itself busy for ever")
        self.clock.tell()
        self.baton.note("time passes")
        self.baton.rouse()

    def _end(self) -> None:
        for process in self.processes:
            self._bury(process)
        self.clock.jump(600)  # beyond every allowance of the doctor's
        self.clock.tell()


@contextmanager
def _listening(hear: Callable[[str], None]) -> Iterator[None]:
    """Errors that the product logs are heard, and not shown."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                error = record.exc_info[1] if record.exc_info else None
                hear(f"{record.name}: {record.getMessage()}" + (f" ({type(error).__name__}: {error})" if error else ""))

    ear = Ear()
    loggers = [logging.getLogger(name) for name in ("automations", "accounts", "billing", "django")]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(ear)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagated in zip(loggers, before, strict=True):
            logger.removeHandler(ear)
            logger.propagate = propagated
