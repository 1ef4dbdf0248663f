"""Names of events: which the catalogue knows, and which may be an event of one's own (CONTRACTS 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from automations.engine.registry import Registry

NAME = re.compile(r"[a-z][a-z0-9_.]{0,99}")


def catalogue_names(registry: Registry) -> frozenset[str]:
    """Every name that a trigger has, listens to or is ended by."""
    names = {
        trigger.key for trigger in registry.triggers.values() if trigger.type == "event" and trigger.key != "custom"
    }
    for trigger in registry.triggers.values():
        names.update(trigger.listens)
        names.update(end.event for end in trigger.ends if end.event)
    return frozenset(names)


def group_of(name: str, names: Iterable[str]) -> str | None:
    """The catalogue's group that a name would belong to (`payment` of `payment.faild`), or None: it is an event of one's own."""
    group, dot, _ = name.partition(".")
    return group if dot and any(known.startswith(f"{group}.") for known in names) else None


def is_known(name: str, registry: Registry) -> bool:
    """Whether the name may occur: the catalogue has it, or no group of the catalogue claims it."""
    if "." not in name:  # of no group
        return True
    names = catalogue_names(registry)
    return name in names or group_of(name, names) is None
