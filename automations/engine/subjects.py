"""Correlation: which object joins an event and a run (CONTRACTS 4)."""

from __future__ import annotations

from collections.abc import Mapping

from automations.engine.registry import Registry

#: Object names, the narrowest first.
NARROWEST = ("payment", "invoice", "subscription", "customer")


def provided(event: str, registry: Registry) -> frozenset[str]:
    """Objects that an event of this name is about; a custom event is about its customer."""
    trigger = registry.triggers.get(event)
    return trigger.provides if trigger is not None and trigger.type == "event" else frozenset({"customer"})


def narrowest(subjects: Mapping[str, int], among: frozenset[str] | None = None) -> tuple[str, int]:
    """Name and id of the narrowest object, `("none", 0)` without one."""
    for name in NARROWEST:
        if name in subjects and (among is None or name in among):
            return name, subjects[name]
    return "none", 0


def correlation(event: str, subjects: Mapping[str, int], registry: Registry) -> str:
    """The key under which a run with these subjects waits for an event: `invoice:8`, by the narrowest object both have."""
    name, id = narrowest(subjects, provided(event, registry) - {"payment"})
    return f"{name}:{id}"


def keys_of(subjects: Mapping[str, int]) -> tuple[str, ...]:
    """All keys under which runs may wait for an event with these subjects."""
    return tuple(f"{name}:{subjects[name]}" for name in NARROWEST if name in subjects)
