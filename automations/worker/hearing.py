"""Which automations hear which events (DESIGN 5.1, "Against races")."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from accounts.prepared import prepared
from automations.engine.kinds import EventFacts
from automations.engine.plan import Plan
from automations.engine.registry import registry
from automations.worker.batch import Listening, Occurrence, by_workspace
from automations.worker.copying import array
from automations.worker.locks import lock_shared
from automations.worker.plans import plans_for

_FIND = """
select a.id from automations_automation a
where a.workspace_id = any((select %s::bigint[])::bigint[]) and a.state in ('ACTIVE', 'PAUSED')
    and (a.listens && %s::varchar[] or a.id = any((select %s::bigint[])::bigint[]))
"""
_READ = """
select a.id, a.workspace_id, a.state, a.active_version_id, v.number, a.priority, cardinality(a.stages) > 0
from automations_automation a join automations_version v on v.id = a.active_version_id
where a.id = any((select %s::bigint[])::bigint[])
"""


def find_listening(occurrences: Sequence[Occurrence]) -> list[Listening]:
    """The automations with an active version that hear one of these events, locked shared, with their states as they are under
    the lock: after a pause has committed, no run of it appears."""
    workspaces = sorted({item.workspace_id for item in occurrences})
    names = sorted({item.facts.name for item in occurrences})
    only = sorted({item.only_automation for item in occurrences if item.only_automation is not None})
    with prepared() as cursor:
        cursor.execute(_FIND, [array(workspaces), array(names), array(only)])
        ids = [row[0] for row in cursor.fetchall()]
    return read_listening(ids)


def read_listening(ids: Collection[int]) -> list[Listening]:
    """Lock these automations shared and read them."""
    if not ids:
        return []
    lock_shared(ids)
    with prepared() as cursor:
        cursor.execute(_READ, [array(list(ids))])
        rows = cursor.fetchall()
    plans = plans_for({row[3] for row in rows})
    return [_listening(row, plans[row[3]]) for row in rows if row[3] in plans]


def _listening(row: Sequence[Any], plan: Plan) -> Listening:
    id, workspace_id, state, version_id, number, priority, scoped = row
    return Listening(id, workspace_id, state, version_id, number, priority, scoped, plan)


class Audience:
    """Which of the automations hear which event of a batch, exclusive ones in their priority: worked out once for each name."""

    def __init__(self, listening: Sequence[Listening]) -> None:
        self._all = by_workspace(listening)
        self._known: dict[tuple[int, str, int | None], list[Listening]] = {}

    def of(self, occurrence: Occurrence) -> list[Listening]:
        """Those that the event may start a run of."""
        key = (occurrence.workspace_id, occurrence.facts.name, occurrence.only_automation)
        found = self._known.get(key)
        if found is None:
            mine = self._all.get(occurrence.workspace_id, ())
            found = self._known[key] = [item for item in mine if hears(item, occurrence)]
        return found


def hears(item: Listening, occurrence: Occurrence) -> bool:
    """Whether the event may start a run of the automation (exits and goals are heard by runs, not by automations)."""
    if occurrence.only_automation is not None:
        return occurrence.only_automation == item.id
    trigger, spec = item.plan.trigger, item.plan.definition.trigger
    if trigger.type != "event":
        return False
    return (
        occurrence.facts.name in trigger.listens if trigger.key == spec.event else occurrence.facts.name == spec.event
    )


@lru_cache(maxsize=4096)
def names_of(event: str) -> frozenset[str]:
    """The names under which the occurrences of a trigger key come; a custom name is its own."""
    trigger = registry.triggers.get(event)
    return frozenset(trigger.listens) | {event} if trigger is not None else frozenset({event})


def is_one_of(event: str, facts: EventFacts) -> bool:
    """Whether an occurrence is one of the event that an exit or a goal names."""
    if facts.name == event:
        return True
    trigger = registry.triggers.get(event)
    return trigger is not None and facts.name in trigger.listens and trigger.applies(facts, trigger.Parameters())
