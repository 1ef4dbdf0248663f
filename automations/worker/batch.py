"""What a router holds in its hands while it routes a batch: events, the automations that listen, and the runs they may touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from automations.engine import states
from automations.engine.kinds import EventFacts
from automations.engine.plan import Plan
from automations.engine.subjects import NARROWEST, keys_of

_WIDEST = tuple(reversed(NARROWEST))


@dataclass(slots=True)
class Occurrence:
    """A recorded event on its way through the router."""

    facts: EventFacts
    workspace_id: int
    only_automation: int | None
    recorded_at: datetime
    shard: int = 0  # the place in the queue, which stays when its customer is merged
    lost: int = 0  # workers that died while they routed it
    merged: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # roots as its filters read them
    customer_id: int | None = field(init=False)  # the customer it is about
    moved: bool = False  # recorded for another record, which was merged into the customer's
    _keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.customer_id = self.facts.subjects.get("customer")

    def move_to(self, customer_id: int) -> None:
        """Make it one of the record that its customer was merged into."""
        self.facts = replace(self.facts, subjects={**self.facts.subjects, "customer": customer_id})
        self.customer_id, self.moved = customer_id, True
        self._keys = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Under which runs may wait for it."""
        if self._keys is None:
            self._keys = keys_of(self.facts.subjects)
        return self._keys

    @property
    def objects(self) -> dict[str, int]:
        """The objects that a run started by it is about (RUN-26)."""
        subjects = self.facts.subjects
        return {name: subjects[name] for name in _WIDEST if name in subjects}


@dataclass(frozen=True, slots=True)
class Listening:
    """An automation that hears some event of the batch, with its active version."""

    id: int
    workspace_id: int
    state: str
    version_id: int
    number: int
    priority: int | None
    scoped: bool
    plan: Plan


@dataclass(slots=True)
class LiveRun:
    """A run that events of the batch may end, wake or count for; also one that the batch itself starts (a negative id until it is
    written)."""

    id: int
    workspace_id: int
    automation_id: int
    version_id: int
    event_id: int
    customer_id: int | None
    subjects: Mapping[str, int]
    status: str
    parked_on: str | None
    step: str | None
    wait_name: str | None
    wait_key: str | None
    started_at: datetime
    state: dict[str, Any]
    goal_reached_at: datetime | None
    plan: Plan
    end_reason: str | None = None  # set when this batch ends it
    woken_by: int | None = None  # the event that this batch wakes it with
    look_due: bool = False  # what it may have missed is still to be looked over, before anything wakes it
    left_to_look: int | None = None  # the oldest event of this batch that the look has to consider as well
    # What a walk goes on from, beside what is above.
    seq: int = 0
    attempt: int = 0
    entered_at: datetime | None = None
    steps_executed: int = 0
    lost: int = 0
    stored: str | None = None  # `state` as its JSON text

    @property
    def unfinished(self) -> bool:
        """Whether it can still be ended or woken."""
        return self.status in states.UNFINISHED and self.end_reason is None

    @property
    def waiting(self) -> bool:
        """Whether it waits for an event and none has come yet."""
        return self.unfinished and self.status == states.WAITING and self.woken_by is None


@dataclass(slots=True)
class Decision:
    """What became of an event at one automation (PRI-13)."""

    listening: Listening
    outcome: str  # started, skipped
    gate: str = ""
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """As it is stored and shown."""
        return {
            "automation": f"auto_{self.listening.id}",
            "version": self.listening.number,
            "priority": self.listening.priority,
            "outcome": self.outcome,
            "gate": self.gate or None,
            "reason": self.reason or None,
        }


@dataclass(slots=True)
class Evaluated:
    """What the evaluation row of one event says."""

    occurrence: Occurrence
    decisions: list[Decision] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    default: str | None = None
    error: str | None = None

    @property
    def needed(self) -> bool:
        """Only when some listening version did not simply start, or the default settings acted (DESIGN 5.1)."""
        return bool(self.default or self.error or [item for item in self.decisions if item.outcome != "started"])


def by_workspace(listening: Sequence[Listening]) -> dict[int, list[Listening]]:
    """The listening automations of each workspace, exclusive ones in their priority (PRI-02)."""
    found: dict[int, list[Listening]] = {}
    for item in sorted(listening, key=lambda item: (item.priority is None, item.priority or 0, item.id)):
        found.setdefault(item.workspace_id, []).append(item)
    return found
