"""The faults, each an object that strikes once, and the seeded order in which a storm lets them strike."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.chaos.fleet import Fleet
    from tests.chaos.proxy import Link
    from tests.chaos.server import Server

SLOW_SECONDS, SWALLOWED_SECONDS = 0.05, 1.0


@dataclass
class World:
    """What can be struck, and marks of what was done. `again`: when the database took connections again."""

    fleet: Fleet
    server: Server
    link: Link
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    again: list[float] = field(default_factory=list)


class Nemesis(Protocol):
    """One stroke. It returns when it is done, not when its consequences are over."""

    def strike(self, world: World) -> None: ...


@dataclass(frozen=True)
class KillChild:
    """SIGKILL one process of a kind."""

    kind: str = "work"

    def strike(self, world: World) -> None:
        world.fleet.kill_child(self.kind)


@dataclass(frozen=True)
class KillHost:
    """SIGKILL a parent and its children."""

    kind: str = "work"

    def strike(self, world: World) -> None:
        world.fleet.kill_host(self.kind)


@dataclass(frozen=True)
class KillAll:
    """SIGKILL every process of the product."""

    def strike(self, world: World) -> None:
        world.fleet.kill_all()


@dataclass(frozen=True)
class Freeze:
    """SIGSTOP a worker until its leases are over."""

    def strike(self, world: World) -> None:
        world.fleet.freeze()


@dataclass(frozen=True)
class Restart:
    """The database goes down, `fast` or `immediate`, and comes again."""

    mode: str

    def strike(self, world: World) -> None:
        world.server.restart(self.mode)
        world.again.append(time.time())
        world.counts[f"restarts {self.mode}"] += 1


@dataclass(frozen=True)
class Cut:
    """The line breaks between a COMMIT and its answer, so many times."""

    times: int = 5

    def strike(self, world: World) -> None:
        world.link.cut(self.times)


@dataclass(frozen=True)
class Reset:
    """Every connection to the database breaks."""

    def strike(self, world: World) -> None:
        world.link.reset()
        world.counts["resets of the line"] += 1


@dataclass(frozen=True)
class Swallow:
    """The line says nothing for a while, in either direction, and then goes on."""

    def strike(self, world: World) -> None:
        world.link.swallow(True)
        time.sleep(SWALLOWED_SECONDS)
        world.link.swallow(False)
        world.counts["silences of the line"] += 1


@dataclass(frozen=True)
class Slow:
    """Each answer of the database comes later, until the next stroke of this kind."""

    def strike(self, world: World) -> None:
        world.link.delay = 0.0 if world.link.delay else SLOW_SECONDS
        world.counts["slow line"] += 1


@dataclass
class Plan:
    """How much of everything. `pause`: seconds between two strikes, on average."""

    runs: int = 300
    kills: int = 15
    freezes: int = 2
    restarts: int = 2
    cuts: int = 20
    leavers: int = 4
    seed: int = 0
    pause: float = 0.25
    patience: float = 120.0
    clocks: tuple[int, ...] = (120,)  # seconds by which further hosts are off
    hang: float = 0.0
    published_every: float = 1.0  # seconds
    waits: str = "4s"  # how long an order waits for its payment


def schedule(plan: Plan, chance: random.Random) -> list[Nemesis]:
    """The strokes in their order. The same plan and the same state of `chance` give the same."""
    strokes: list[Nemesis] = []
    for place in range(plan.kills):
        strokes.append(_kill(place))
    strokes += [Freeze() for _ in range(plan.freezes)]
    strokes += [Restart("immediate" if place % 2 else "fast") for place in range(plan.restarts)]
    strokes += [Cut(min(5, plan.cuts - place)) for place in range(0, plan.cuts, 5)]
    for _ in range(0, plan.cuts, 50):
        strokes += [Reset(), Swallow(), Slow(), Slow()]
    chance.shuffle(strokes)
    return strokes


def _kill(place: int) -> Nemesis:
    """Of twenty kills: thirteen workers, two hosts of workers, two of the web, two of the queue, one of everything."""
    others: dict[int, Nemesis] = {
        2: KillChild("web"), 4: KillHost(), 7: KillAll(), 9: KillChild("queue"), 12: KillChild("web"), 14: KillHost(),
        17: KillHost("queue"),
    }  # fmt: skip
    return others.get(place % 20, KillChild())
