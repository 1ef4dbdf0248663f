"""What a step answers when the run stands on it: go on, park, ask the shell, or end (CONTRACTS 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(slots=True)  # not frozen: one is made for almost every step, and freezing triples what that costs
class Go:
    """Leave through `port`; `output` is logged and read as `steps.<id>.*`."""

    port: str = "next"
    output: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] | None = None
    skip: bool = False  # an anchored time already past: what follows, up to the next anchored delay, is skipped (C-21)


@dataclass(frozen=True, slots=True)
class WaitFor:
    """The event a run waits for: its name and the correlation key (`customer:7`)."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Park:
    """Stand still until `due` (None: no clock moves it) or until `wait` arrives."""

    on: Literal["timer", "event", "delivery", "approval", "hold"]
    due: datetime | None = None
    wait: WaitFor | None = None


@dataclass(frozen=True, slots=True)
class End:
    """End the run: `stop` inside a loop ends the run as well."""

    reason: str = "stopped"
    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enter:
    """Enter a loop's body for one more item: the frame is pushed or moved on, the run goes to the `each` port."""

    frame: Mapping[str, Any]


# Questions. The shell answers all of one kind in bulk (DESIGN 5.2, rounds).


@dataclass(frozen=True, slots=True)
class Load:
    """Read these records (again): root name -> ids. Answered by filling the walk's records, with None."""

    wanted: Mapping[str, Sequence[int]]
    needs: tuple[Any, ...] = ()  # `kinds.Need`: records by name


@dataclass(frozen=True, slots=True)
class Apply:
    """A local effect: `action` is its key, `request` a `kinds.Request`. Answered with an `Outcome`."""

    action: str
    request: Any


@dataclass(frozen=True, slots=True)
class KeepBranch:
    """Store the branch of a percentage split for this customer unless one is kept; answered with `(branch, kept)` (C-20)."""

    step: str
    branch: str


@dataclass(frozen=True, slots=True)
class NextPage:
    """Records of a query after an id, those for which `where` holds; answered with a list of subjects, each with its id."""

    query: str
    where: str | None
    after: int
    limit: int = 100


Question = Load | Apply | KeepBranch | NextPage


@dataclass(frozen=True, slots=True)
class Ask:
    """Put a question to the shell; `resume` gets the answer."""

    question: Question


Move = Go | Park | Ask | End | Enter
