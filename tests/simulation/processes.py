"""Logical processes: a worker with its two threads, and clients that ask for things until they are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.db import Error, connection

from accounts.errors import Refusal
from automations.worker import claim, delivery_claim, poison
from automations.worker.deliver import deliver_batch
from automations.worker.loop import Loop, _chores
from tests.simulation.baton import Actor, State, current

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class PerProcess:
    """Stands where the product keeps one object per process: each simulated process has its own."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        self._of: dict[int, Any] = {}
        self._homes: list[object] = []  # kept, so that no id is used again

    def __getattr__(self, name: str) -> Any:
        actor = current()
        home = actor.home if actor is not None else self
        if id(home) not in self._of:
            self._homes.append(home)
            self._of[id(home)] = self._make(home)
        return getattr(self._of[id(home)], name)


class _NoHolder:
    """A process that tracks nothing: a web process, or a worker in its first moments."""

    def hold(self, ids: Sequence[int]) -> list[int]:
        """Nothing to be noted, and nobody suspected."""
        return []


def separate(patch: pytest.MonkeyPatch) -> None:
    """Give each simulated process what a process has of its own."""
    patch.setattr(claim, "due_workspaces", PerProcess(lambda _: claim.DueWorkspaces()))
    patch.setattr(delivery_claim, "_workspaces", PerProcess(lambda _: delivery_claim._DueWorkspaces()))
    patch.setattr(poison, "_holder", PerProcess(lambda home: getattr(home, "holder", None) or _NoHolder()))


class _Stopping:
    """In place of the loop's event: nobody asks it to stop, and waiting lets the others go on."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def is_set(self) -> bool:
        """Never."""
        return False

    def set(self) -> None:
        """Not here."""

    def wait(self, seconds: float) -> None:
        """After an error of the server."""
        actor = current()
        assert actor is not None
        self._simulation.baton.pause(actor, seconds)


class Worker:
    """What `manage.py work` runs: one thread that advances, one that delivers, a row that says what it holds."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self.simulation, self.number = simulation, number
        self.holder: poison.Holder | None = None
        self._loop = Loop(deliver=False)
        self._loop.stopping = _Stopping(simulation)  # type: ignore[assignment]  # what the loop uses of an event
        baton = simulation.baton
        self.actors = [
            baton.add(f"w{number}.advance", self._advance, self),
            baton.add(f"w{number}.deliver", self._deliver, self),
        ]

    def _advance(self) -> None:
        self.holder = poison.Holder()
        chores = _chores()
        while True:
            if self._loop._all(chores):
                self.simulation.worked()
            elif (gathering := self._loop.left_to_gather()) > 0:
                self._loop.stopping.wait(gathering)
            else:
                poison.rest()
                self._idle()

    def _deliver(self) -> None:
        while True:
            if self._loop._turn(deliver_batch):
                self.simulation.worked()
            else:
                self._idle()

    def _idle(self) -> None:
        actor = current()
        assert actor is not None
        self.simulation.baton.park(actor, State.IDLE)

    def bury(self) -> int | None:
        """Close the connection that kept the row; answers its server process."""
        if self.holder is None:
            return None
        pid = self.holder._connection.info.backend_pid
        self.holder._connection.close()
        return int(pid)

    def replace(self) -> Worker:
        """The one that the parent starts in its place."""
        return Worker(self.simulation, self.number + 10)


@dataclass(frozen=True)
class Request:
    """Something that a client asks for, not before `at` (simulated seconds). `ask` answers what the client is told."""

    at: float
    name: str
    ask: Callable[[], Any]


class Client:
    """Asks for one thing after the other, through a web process that may die; asks again until it is answered."""

    def __init__(self, simulation: Simulation, number: int, requests: list[Request]) -> None:
        self.simulation, self.number, self.requests = simulation, number, requests
        self.answered: list[tuple[Request, Any, float]] = []
        self.actors: list[Actor] = [simulation.baton.add(f"c{number}", self._ask_all, self)]

    def _ask_all(self) -> None:
        actor = current()
        assert actor is not None
        baton = self.simulation.baton
        while len(self.answered) < len(self.requests):
            request = self.requests[len(self.answered)]
            if request.at > baton.clock.seconds:
                baton.pause(actor, request.at - baton.clock.seconds)
            baton.note(f"asks: {request.name}")
            answer = self._ask(request)
            if not isinstance(answer, Error):
                self.answered.append((request, answer, baton.clock.seconds))
                self.simulation.worked()
            baton.note(f"{request.name}: {'no answer' if isinstance(answer, Error) else 'answered'}")

    def _ask(self, request: Request) -> Any:
        try:
            return request.ask()
        except Refusal as refusal:  # asked again, it may have been done before; the judge looks at what was done
            return refusal
        except Error as error:  # the page says 500, and the client cannot know what was done
            if connection.connection is not None and connection.connection.closed:
                connection.close()  # as Django does at the end of a request
            return error

    def bury(self) -> int | None:
        """It holds nothing beside its connection."""
        return None

    def replace(self) -> Client:
        """The client asks another web process."""
        self.actors = [self.simulation.baton.add(f"c{self.number}", self._ask_all, self)]
        return self
