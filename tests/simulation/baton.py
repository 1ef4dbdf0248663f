"""The scheduler: many threads of which one runs, by turns that are drawn from the start value."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from tests.simulation.clock import Clock
    from tests.simulation.server import Server

POLL = 0.004  # seconds of real time after which a thread that has not come back is looked up in the server's lock table
MOST = 15_000  # lines of a trace, several times what any simulation takes
PATIENCE = 30.0  # seconds of real time after which it is a fault of the simulation itself
SWITCHING = (0.05, 0.15, 0.4)  # how likely the baton is handed on before a statement

ALSO = 0.25  # how likely more than one of a kind looks whether time has brought something


class Death(BaseException):
    """The process ends here. No `except Exception` holds it up."""


class Stuck(AssertionError):
    """The simulation cannot go on: a deadlock, or a thread that never came back."""


class State(Enum):
    """Where an actor stands. BLOCKED: within a statement, waiting for somebody's lock. FREED: that statement has ended, at a moment
    that only the server knows; it is READY once the scheduler has seen it."""

    READY = "ready"
    RUNNING = "running"
    BLOCKED = "blocked"
    FREED = "freed"
    IDLE = "idle"
    DONE = "done"


_own = threading.local()


def current() -> Actor | None:
    """The actor whose thread this is; None in the scheduler's own."""
    return getattr(_own, "actor", None)


class Actor:
    """One thread with a connection of its own."""

    def __init__(self, baton: Baton, name: str, work: Callable[[], None], home: object) -> None:
        self.baton, self.name, self._work, self.home = baton, name, work, home
        self.state = State.READY
        self.doomed = False
        self.wakes_at = 0.0  # simulated seconds before which it gets no turn
        self.pid: int | None = None  # of its server process
        self.error: BaseException | None = None
        self.go = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._main, name=name, daemon=True)
        self.thread.start()

    def _main(self) -> None:
        _own.actor = self
        self.go.acquire()
        try:
            if not self.doomed:
                with connection.execute_wrapper(self.baton.around):
                    self._work()
        except Death:
            pass
        except BaseException as error:  # shown by the scheduler, which fails the simulation with it
            self.error = error
        finally:
            connection.close()
            self.baton.enter(self, State.DONE)


class Baton:
    """Hands the one turn from actor to actor and writes the trace."""

    def __init__(self, seed: int, clock: Clock, server: Server) -> None:
        self.chance = random.Random(seed)
        self.switching = self.chance.choice(SWITCHING)
        self.clock, self.server = clock, server
        self.actors: list[Actor] = []
        self.trace: list[str] = []
        self.switches = self.waits = 0
        self.around: Callable[..., object] = lambda execute, *rest: execute(*rest)
        self._changed = threading.Condition()

    # --- what actors call

    def enter(self, actor: Actor, state: State) -> None:
        """Note where an actor stands now."""
        with self._changed:
            actor.state = state
            self._changed.notify_all()

    def park(self, actor: Actor, state: State = State.READY) -> None:
        """Hand the baton over and wait for the next turn. Raises `Death` when the process died meanwhile."""
        self.enter(actor, state)
        actor.go.acquire()
        self.live(actor)

    def live(self, actor: Actor) -> None:
        """Go on only in a process that lives."""
        if actor.doomed:
            raise Death

    def rejoin(self, actor: Actor) -> None:
        """After a statement that had to wait for a lock: the baton went on, so stand in line."""
        with self._changed:
            if actor.state is not State.BLOCKED:
                return
        self.park(actor, State.FREED)

    def maybe(self, actor: Actor, likelihood: float | None = None) -> None:
        """A place at which others may take their turn. While somebody waits for a lock it is handed over at each, for what was just
        done may have set them free."""
        self.rejoin(actor)
        self.live(actor)
        if self.anybody(State.BLOCKED, State.FREED) or self.chance.random() < (
            self.switching if likelihood is None else likelihood
        ):
            self.park(actor)

    def pause(self, actor: Actor, seconds: float) -> None:
        """Stand still for so long, as a stopped process does, or a client between two requests."""
        actor.wakes_at = self.clock.seconds + seconds
        self.park(actor)

    def ring(self) -> None:
        """Something may be there to be done: whoever idles looks at its next turn."""
        for actor in self.actors:
            self.enter_if(actor, State.IDLE, State.READY)

    def rouse(self) -> None:
        """Time has passed: of those who idle one of each kind looks, and others perhaps."""
        idle = [actor for actor in self.actors if actor.state is State.IDLE]
        self.chance.shuffle(idle)
        roused: set[str] = set()
        for actor in idle:
            kind = actor.name.partition(".")[2]
            if kind not in roused or self.chance.random() < ALSO:
                roused.add(kind)
                self.enter(actor, State.READY)

    def note(self, text: str) -> None:
        """A line of the trace."""
        actor = current()
        if len(self.trace) > MOST:
            raise Stuck("it does not come to rest")
        self.trace.append(f"{self.clock.seconds:11.3f} {actor.name if actor else '-':<11} {text}")

    def anybody(self, *states: State) -> bool:
        """Whether some actor is in one of these states."""
        return any(actor.state in states for actor in self.actors)

    # --- what the scheduler calls

    def add(self, name: str, work: Callable[[], None], home: object) -> Actor:
        """One more actor, in the process `home`; it waits for its first turn."""
        actor = Actor(self, name, work, home)
        self.actors.append(actor)
        return actor

    def turn(self) -> bool:
        """Give one actor its turn; whether there was one that can go on without time passing."""
        ready = [a for a in self.actors if a.state is State.READY and a.wakes_at <= self.clock.seconds]
        if not ready:
            return False
        self._give(self.chance.choice(ready))
        return True

    def _give(self, actor: Actor) -> None:
        self.switches += 1
        self.enter(actor, State.RUNNING)
        actor.go.release()
        if self._until_back(actor, State.RUNNING):
            self.waits += 1
            self.note(f"{actor.name} waits for a lock")
            self.enter_if(actor, State.RUNNING, State.BLOCKED)
        self._let_free_ones_finish()
        if actor.error is not None:
            raise actor.error

    def enter_if(self, actor: Actor, before: State, after: State) -> None:
        """Note a state unless the actor has gone on meanwhile."""
        with self._changed:
            if actor.state is before:
                actor.state = after

    def _let_free_ones_finish(self) -> None:
        """Those whose lock is free now end their statement before anybody else moves."""
        for actor in [a for a in self.actors if a.state in (State.BLOCKED, State.FREED)]:
            self._until_back(actor, State.BLOCKED, at_once=True)
            self.enter_if(actor, State.FREED, State.READY)

    def _until_back(self, actor: Actor, state: State, at_once: bool = False) -> bool:
        """Wait until the actor has left this state; True when it waits for a lock instead."""
        end = time.monotonic() + PATIENCE
        with self._changed:
            while actor.state is state:
                if not at_once:
                    self._changed.wait(POLL)
                if actor.state is state and actor.pid is not None and self.server.waits(actor.pid):
                    return True
                if at_once:
                    self._changed.wait(POLL / 4)
                if time.monotonic() > end:
                    raise Stuck(f"{actor.name} never came back")
        return False

    def unlock(self) -> None:
        """Nobody can go on but by a lock that nobody will free. The server breaks a deadlock; that is a fault of the product."""
        raise Stuck(f"all wait for locks: {[actor.name for actor in self.actors if actor.state is State.BLOCKED]}")

    def bury(self, actors: list[Actor]) -> None:
        """The process of these actors has died: let each unwind, one after the other, and wait until the server knows."""
        for actor in actors:
            actor.doomed = True
        for actor in actors:
            if actor.state is State.BLOCKED and actor.pid is not None:
                self.server.terminate(actor.pid)
                self._until_left(actor, State.BLOCKED)
            if actor.state is not State.DONE:
                self.enter(actor, State.RUNNING)
                actor.go.release()
                self._until_left(actor, State.RUNNING)
            actor.thread.join(PATIENCE)
        self.server.await_gone([actor.pid for actor in actors if actor.pid is not None])
        self.actors = [actor for actor in self.actors if actor not in actors]
        self._let_free_ones_finish()

    def _until_left(self, actor: Actor, state: State) -> None:
        end = time.monotonic() + PATIENCE
        with self._changed:
            while actor.state is state:
                self._changed.wait(POLL)
                if time.monotonic() > end:
                    raise Stuck(f"{actor.name} does not die")
