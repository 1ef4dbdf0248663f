"""The snapshot of an event: the objects it is about, as they were (`trigger.*`, CONTRACTS 7, TRG-51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from accounts.models import Membership
from automations.engine.kinds import Trigger
from automations.engine.registry import registry
from automations.engine.subjects import NARROWEST
from automations.engine.values import plain

if TYPE_CHECKING:
    from automations.services.events import NewEvent


def complete(events: Sequence[NewEvent]) -> list[Mapping[str, Any]]:
    """A snapshot for each event: its own when it brings one, else made from its objects, read in bulk."""
    bare = [event for event in events if event.snapshot is None]
    records = load_subjects([event.subjects for event in bare])
    owners = _owners({event.workspace_id for event in bare})
    return [
        event.snapshot if event.snapshot is not None else _snapshot(event, records, owners.get(event.workspace_id))
        for event in events
    ]


def load_subjects(subjects: Sequence[Mapping[str, int]]) -> dict[str, Mapping[int, Mapping[str, Any]]]:
    """The records of all objects named, by object name, in the fixed few queries of each root."""
    wanted: dict[str, set[int]] = {}
    for some in subjects:
        for name, id in some.items():
            if name in NARROWEST and name in registry.roots:
                wanted.setdefault(name, set()).add(id)
    return {name: registry.roots[name].load(ids) for name, ids in wanted.items()}


def _snapshot(
    event: NewEvent, records: Mapping[str, Mapping[int, Mapping[str, Any]]], owner: str | None
) -> dict[str, Any]:
    """Objects under their names, the own object's fields on top of them."""
    found = {name: plain(records[name][id]) for name, id in event.subjects.items() if id in records.get(name, ())}
    trigger = next((entry for entry in _entries(event.name)), None)
    own = dict(found.get(trigger.subject, {})) if trigger is not None else {}
    for name in NARROWEST:
        own.pop(name, None)
    snapshot = {**found, **own}
    for field, path in (trigger.derived if trigger is not None else {}).items():
        if field not in snapshot and (value := _at(found, path)) is not None:
            snapshot[field] = value
    if owner:
        snapshot["accountOwner"] = (found.get("customer") or {}).get("owner") or owner
    return snapshot


def _entries(name: str) -> list[Trigger]:
    """Catalogue entries of that event, its namesake first."""
    named = registry.triggers.get(name)
    others = [entry for entry in registry.triggers.values() if name in entry.listens and entry is not named]
    return [named, *others] if named is not None and named.type == "event" else others


def _at(data: Any, path: str) -> Any:
    for segment in path.split("."):
        data = data.get(segment) if isinstance(data, Mapping) else None
    return data


def _owners(workspaces: set[int]) -> dict[int, str]:
    """The e-mail address of each workspace's first owner, one query."""
    if not workspaces:
        return {}
    rows = Membership.objects.filter(workspace_id__in=workspaces, role="owner").order_by("-id")
    return dict(rows.values_list("workspace_id", "user__email"))
