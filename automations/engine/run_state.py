"""The run row as the walk sees it, and what a walk leaves to be written: log rows and deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from automations.engine import states
from automations.engine.kinds import Envelope
from automations.engine.plan import PlanNode


@dataclass(slots=True)
class RunState:
    """The run row as the walk sees and changes it."""

    id: int
    workspace_id: int
    automation_id: int
    version_id: int
    event_id: int
    customer_id: int | None
    subjects: Mapping[str, int]
    started_at: datetime
    step: str | None
    status: str = states.RUNNING
    parked_on: str | None = None
    due_at: datetime | None = None
    seq: int = 0
    attempt: int = 0
    entered_at: datetime | None = None
    state: dict[str, Any] = field(default_factory=dict)
    answer: Any = None  # what moved a parked run: an event's `{"event": 9}`, or the `Outcome` of its delivery
    answered_input: Mapping[str, Any] | None = None  # what the delivery had been asked to do, for the log
    wait_name: str | None = None
    wait_key: str | None = None
    wait_since: int | None = None  # from which routed event on a wait of this turn is concerned
    begun_by: int | None = None  # the event that this turn acts on: which started or woke the run
    steps_executed: int = 0
    end_reason: str | None = None
    error: Mapping[str, Any] | None = None
    ended_at: datetime | None = None
    mode: str = "live"
    lost: int = 0  # workers that died holding it
    had_items: bool = False  # rows with loop items exist beside it
    claimed_seq: int = 0  # `seq` as it was claimed: the compare-and-set of the write
    items: dict[str, list[Any]] = field(default_factory=dict)  # loop items, stored beside the row

    @property
    def public_id(self) -> str:
        """`exec_456`."""
        return f"exec_{self.id}"


@dataclass(slots=True)
class Record:
    """One row of the step log: an attempt of a visit that ended."""

    run_id: int
    seq: int
    attempt: int
    step: str
    type: str
    status: str
    port: str | None
    started_at: datetime
    ended_at: datetime
    input: Mapping[str, Any] | None = None
    output: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    warnings: list[Mapping[str, str]] | None = None
    iteration: str | None = None
    flags: int = 0


@dataclass(slots=True)
class Effect:
    """A delivery to be written down with the advance: `run`, `visit`, `number` name it for ever."""

    run: RunState
    visit: int
    number: int
    node: PlanNode
    envelope: Envelope
    waits: bool
