"""What exists in the workspace, as far as a definition can name it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Known:
    """Slugs of what a definition may name. A collection that is None was not loaded, and nothing is said about its names.

    `stages`: `funnel/stage` and plain stage slugs. `senders`: addresses (or slugs) of verified senders; `has_sender`: one of
    them is the default. `plan`: its name; the depths are its limits, None for unlimited (C-17). `events`: learned custom
    events and the dotted paths of their fields.
    """

    templates: Collection[str] | None = None
    tags: Collection[str] | None = None
    stages: Collection[str] | None = None
    automations: Collection[str] | None = None
    senders: Collection[str] | None = None
    has_sender: bool = True
    plan: str | None = None
    stage_depth: int | None = None
    global_depth: int | None = None
    events: Mapping[str, Collection[str]] = field(default_factory=dict)
