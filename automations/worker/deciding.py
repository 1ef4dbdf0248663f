"""Dispatch: which of the automations that hear an event start a run (C-04, PRI-01 to 05, PRI-12)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from automations.engine.expressions import Expression
from automations.engine.kinds import Trigger
from automations.engine.registry import registry
from automations.services.defaults import apply_default
from automations.services.entry import Entries
from automations.worker.batch import Decision, Evaluated, Listening, Occurrence
from automations.worker.gates import early, too_old

APPLIED = "applied"


def decide(occurrence: Occurrence, entries: Entries) -> Evaluated:
    """Let the event through the gates of every automation that hears it. Exclusive triggers have one winner each, the first in
    priority; all others start every match. Each trigger key is dispatched on its own (TRG-49)."""
    found = Evaluated(occurrence)
    exclusive: dict[str, list[Listening]] = {}
    for item in entries.known.audience.of(occurrence):
        if item.plan.trigger.dispatch == "exclusive" and occurrence.only_automation is None:
            exclusive.setdefault(item.plan.trigger.key, []).append(item)
        else:
            found.decisions.append(entries.try_enter(item, occurrence))
    for group in exclusive.values():
        found.decisions += _first(group, occurrence, entries)
    if occurrence.only_automation is None:
        _defaults(found, occurrence, entries)
    if found.needed:
        found.values = _values(found, occurrence, entries)
    return found


def _first(group: Sequence[Listening], occurrence: Occurrence, entries: Entries) -> list[Decision]:
    """In priority, the first whose filter holds. When a later gate refuses it, nobody runs (DESIGN 5.1)."""
    decisions: list[Decision] = []
    winner: Listening | None = None
    for item in group:
        if winner is not None:
            reason = f"auto_{winner.id} comes first and took it."
            decisions.append(entries.refused(item, ("priority", reason)))
            continue
        stop = early(item, occurrence, entries.known)
        if stop is not None:
            decisions.append(entries.refused(item, stop))
            continue
        winner = item
        decisions.append(entries.enter(item, occurrence))
    return decisions


#: Gates that leave an event to the default settings: nobody wanted it. Others mean that it is nobody's to act on.
_UNWANTED = frozenset({"state", "parameters", "subject", "filter"})


def _defaults(found: Evaluated, occurrence: Occurrence, entries: Entries) -> None:
    """Without a winner the workspace's default settings act, for each exclusive trigger that the event is one of (PRI-05, PRI-11)."""
    for trigger in _exclusive_triggers(occurrence, entries):
        mine = [item for item in found.decisions if item.listening.plan.trigger.key == trigger.key]
        if all(item.outcome == "skipped" and item.gate in _UNWANTED for item in mine):
            found.default = apply_default(trigger.key, occurrence.workspace_id, occurrence.facts) or found.default


def _exclusive_triggers(occurrence: Occurrence, entries: Entries) -> list[Trigger]:
    facts = occurrence.facts
    named = _exclusive(facts.name)
    if not named or too_old(occurrence, entries.now):
        return []
    return [trigger for trigger in named if trigger.applies(facts, trigger.Parameters())]


@lru_cache(maxsize=1024)
def _exclusive(name: str) -> tuple[Trigger, ...]:
    """Exclusive triggers that listen to events of this name."""
    return tuple(
        trigger for trigger in registry.triggers.values() if trigger.dispatch == "exclusive" and name in trigger.listens
    )


def _values(found: Evaluated, occurrence: Occurrence, entries: Entries) -> dict[str, object]:
    """What the filters of those that did not start read (PRI-13)."""
    expressions: dict[str, Expression] = {}
    for decision in found.decisions:
        plan = decision.listening.plan
        expressions.update({expression.source: expression for expression in (*plan.where, *plan.filter)})
    reader = entries.known.reader
    return reader.values(expressions.values(), reader.of_event(occurrence)) if expressions else {}
