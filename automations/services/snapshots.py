"""The snapshot of an event: the objects it is about, as they were (`trigger.*`, CONTRACTS 7, TRG-51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accounts.prepared import prepared
from automations.engine.kinds import Trigger
from automations.engine.registry import registry
from automations.engine.subjects import NARROWEST
from automations.services.jsontext import dumps, loads, plain_text
from automations.worker.copying import array

if TYPE_CHECKING:
    from automations.services.events import NewEvent


Records = Mapping[str, Mapping[int, Mapping[str, Any]]]  # by object name and id


@dataclass(frozen=True, slots=True)
class Known:
    """What was read a moment ago and need not be read again: records, and the owners' addresses of workspaces."""

    records: Records = field(default_factory=dict)
    owners: Mapping[int, str] = field(default_factory=dict)


def texts(events: Sequence[NewEvent], known: Known | None = None) -> list[str]:
    """The snapshot of each event as JSON text: its own when it brings one, else made from its objects, read in bulk."""
    known = known or Known()
    bare = [event for event in events if event.snapshot is None]
    records = load_subjects([event.subjects for event in bare], known.records)
    owners = {**known.owners, **_owners({event.workspace_id for event in bare}.difference(known.owners))}
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


def load_subjects(subjects: Sequence[Mapping[str, int]], known: Records | None = None) -> Records:
    """The records of all objects named, by object name, in the fixed few queries of each root; those that are known are not read."""
    wanted: dict[str, set[int]] = {}
    for some in subjects:
        for name, id in some.items():
            if name in NARROWEST and name in registry.roots:
                wanted.setdefault(name, set()).add(id)
    found: dict[str, Mapping[int, Mapping[str, Any]]] = {}
    for name, ids in wanted.items():
        there = (known or {}).get(name, {})
        missing = ids.difference(there)
        found[name] = {**there, **registry.roots[name].load(missing)} if missing else there
    return found


def _snapshot(
    event: NewEvent,
    trigger: Trigger | None,
    records: Records,
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
    for name, path in trigger.derived.items():
        if name not in own and name not in found and (value := _at(found, path)) is not None:
            own[name] = value
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


#: The address of the first owner of a workspace given by an expression, within another statement.
OWNER = """(
    select (select o.email from accounts_user o where o.id = m.user_id) from accounts_membership m
    where m.workspace_id = {workspace} and m.role = 'owner' order by m.id limit 1
)"""
_OWNERS = f"select v.id, {OWNER.format(workspace='v.id')} from unnest((select %s::bigint[])) v (id)"


def _owners(workspaces: set[int]) -> dict[int, str]:
    """The e-mail address of each workspace's first owner, one query."""
    if not workspaces:
        return {}
    with prepared() as cursor:
        cursor.execute(_OWNERS, [array(sorted(workspaces))])
        return {id: email for id, email in cursor.fetchall() if email is not None}
