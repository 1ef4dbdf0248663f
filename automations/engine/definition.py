"""The definition model: the graph document that a version holds (DESIGN 4, CONTRACTS 4). Plain immutable data.

`config` is kept as it was written; it is typed (`Kind.Config`) when it is validated and when a plan is compiled from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TRIGGER = "trigger"  # the reserved id of the entry, `from` of the first edge


@dataclass(frozen=True, slots=True)
class ErrorHandling:
    """`retries` more tries, the first after `retry_delay` (a duration text), each wait multiplied (ERR-01 to 03)."""

    retries: int = 0
    retry_delay: str = "5m"
    backoff_multiplier: float | int = 1


@dataclass(frozen=True, slots=True)
class Node:
    """One step. `type` is a control step's key or an action's key. `made`: the reader gave it its id; no part of the value."""

    id: str
    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    note: str = ""
    error_handling: ErrorHandling | None = None
    position: tuple[float, float] | None = None
    made: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Edge:
    """A wire from the output `port` of step `source` to the step `target`."""

    source: str
    port: str
    target: str


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """`type` event (`event`, `where`, `max_age`, `parameters`), schedule (exactly one of `interval`, `cron`, `calendar`, in
    `parameters` beside `at`, `timeZone`, `forEach`) or manual."""

    type: Literal["event", "schedule", "manual"]
    event: str = ""
    where: tuple[str, ...] = ()
    max_age: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExitSpec:
    """An event that ends the run early (RUN-28)."""

    event: str
    where: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GoalSpec:
    """An event within a window after the run began, also after it ended; `ends_run` makes it an exit as well."""

    event: str
    within: str
    where: tuple[str, ...] = ()
    ends_run: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What a version says about entry, pace and errors. `scope` empty means global, else `funnel/stage` slugs.
    None means the default that the trigger gives (`transactional`) or none (`error_handling`, `max_run_age`)."""

    scope: tuple[str, ...] = ()
    pacing: Literal["immediate", "tick"] = "immediate"
    reentry: Literal["always", "one_at_a_time", "once"] = "always"
    transactional: bool | None = None
    restart_on_own_effects: bool = False
    error_handling: ErrorHandling | None = None
    max_run_age: str | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """The whole document (schema version 1)."""

    name: str
    trigger: TriggerSpec
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    key: str = ""
    description: str = ""
    filter: tuple[str, ...] = ()
    exits: tuple[ExitSpec, ...] = ()
    goal: GoalSpec | None = None
    settings: Settings = field(default_factory=Settings)
    version: int = 1
