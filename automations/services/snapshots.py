"""The snapshot of an event: the objects it is about, as they were (`trigger.*`, CONTRACTS 7, TRG-51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import connection

from automations.engine.kinds import Trigger
from automations.engine.registry import registry
from automations.engine.subjects import NARROWEST
from automations.services.jsontext import dumps, loads, plain_text

if TYPE_CHECKING:
    from automations.services.events import NewEvent


def texts(events: Sequence[NewEvent]) -> list[str]:
    """The snapshot of each event as JSON text: its own when it brings one, else made from its objects, read in bulk."""
    bare = [event for event in events if event.snapshot is None]
    records = load_subjects([event.subjects for event in bare])
    owners = _owners({event.workspace_id for event in bare})
    entries = {name: _entry(name) for name in {event.name for event in bare}}
    return [
        dumps(event.snapshot)
        if event.snapshot is not None
        else plain_text(_snapshot(event, entries[event.name], records, owners.get(event.workspace_id)))
        for event in events
    ]


def complete(events: Sequence[NewEvent]) -> list[Mapping[str, Any]]:
    """The snapshots as they will be read."""
    return [loads(text) for text in texts(events)]


def load_subjects(subjects: Sequence[Mapping[str, int]]) -> dict[str, Mapping[int, Mapping[str, Any]]]:
    """The records of all objects named, by object name, in the fixed few queries of each root."""
    wanted: dict[str, set[int]] = {}
    for some in subjects:
        for name, id in some.items():
            if name in NARROWEST and name in registry.roots:
                wanted.setdefault(name, set()).add(id)
    return {name: registry.roots[name].load(ids) for name, ids in wanted.items()}


def _snapshot(
    event: NewEvent,
    trigger: Trigger | None,
    records: Mapping[str, Mapping[int, Mapping[str, Any]]],
    owner: str | None,
) -> dict[str, Any]:
    """Objects under their names, the own object's fields on top of them."""
    found: dict[str, Any] = {
        name: records[name][id] for name, id in event.subjects.items() if id in records.get(name, ())
    }
    snapshot = {**found, **_own(found, trigger)} if trigger is not None else found
    if owner:
        snapshot["accountOwner"] = (found.get("customer") or {}).get("owner") or owner
    return snapshot


def _own(found: Mapping[str, Any], trigger: Trigger) -> dict[str, Any]:
    """The fields of the event's own object, and those that follow from its other objects where it has none."""
    own = {name: value for name, value in found.get(trigger.subject, {}).items() if name not in NARROWEST}
    for field, path in trigger.derived.items():
        if field not in own and field not in found and (value := _at(found, path)) is not None:
            own[field] = value
    return own


def _entry(name: str) -> Trigger | None:
    """The catalogue entry of that event, its namesake before others that listen to it."""
    named = registry.triggers.get(name)
    if named is not None and named.type == "event":
        return named
    return next((entry for entry in registry.triggers.values() if name in entry.listens and entry is not named), None)


def _at(data: Any, path: str) -> Any:
    for segment in path.split("."):
        data = data.get(segment) if isinstance(data, Mapping) else None
    return data


_OWNERS = """
select m.workspace_id, u.email from accounts_membership m join accounts_user u on u.id = m.user_id
where m.workspace_id = any(%s) and m.role = 'owner' order by m.id desc
"""


def _owners(workspaces: set[int]) -> dict[int, str]:
    """The e-mail address of each workspace's first owner, one query."""
    if not workspaces:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_OWNERS, [list(workspaces)])
        return dict(cursor.fetchall())
