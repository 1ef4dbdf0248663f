"""What happens to an event on an exclusive trigger that no automation took: the workspace's default settings (PRI-03, PRI-11).

The app that owns a trigger registers a function for it when it starts; dispatch calls it in the routing transaction.
"""

from __future__ import annotations

from collections.abc import Callable

from automations.engine.kinds import EventFacts

#: Applies the default settings to an event; answers what the evaluation records (`applied`), or None when there are none.
Default = Callable[[int, EventFacts], str | None]

_defaults: dict[str, Default] = {}


def register(trigger_key: str, default: Default) -> None:
    """Name the function of a trigger, once however often it is called."""
    _defaults[trigger_key] = default


def apply_default(trigger_key: str, workspace_id: int, event: EventFacts) -> str | None:
    """Apply the default settings of a trigger; None when it has none."""
    default = _defaults.get(trigger_key)
    return default(workspace_id, event) if default else None
