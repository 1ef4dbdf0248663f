"""How many records `enrolExisting` would start a run for, worked out by the same gates and without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accounts.clock import evaluation_now
from automations.engine.kinds import EventFacts
from automations.engine.plan import compile_plan
from automations.engine.registry import registry
from automations.models import Automation, Version
from automations.services import snapshots
from automations.services.copies import trigger_key
from automations.services.entry import ENROL_PAGE, existing
from automations.services.events import NewEvent
from automations.services.texts import definition_of
from automations.worker.batch import Listening, Occurrence
from automations.worker.gates import early, late
from automations.worker.knowing import know

MOST = 10_000  # records that a preview looks at


def would_enrol(automation: Automation, version: Version) -> int | None:
    """Records of the trigger's kind that pass all gates now, counted over the first 10,000; None where the trigger is about
    none that can be walked (schedules, manual)."""
    definition = definition_of(version)
    if definition.trigger.type != "event":
        return None
    name = existing(Automation(trigger_key=trigger_key(definition)))
    if name is None:
        return None
    scoped = bool(definition.settings.scope)
    plan = compile_plan(definition, registry)
    item = Listening(
        automation.pk, automation.workspace_id, "ACTIVE", version.pk, version.number, automation.priority, scoped, plan
    )
    subject = registry.roots[registry.queries[name].root].subject
    count = after = looked = 0
    while looked < MOST and (page := registry.queries[name].page(automation.workspace_id, after, ENROL_PAGE)):
        count += _passing(item, page)
        looked += len(page)
        after = page[-1][subject]
    return count


def _passing(item: Listening, page: Sequence[Mapping[str, int]]) -> int:
    now = evaluation_now()
    name = trigger_key(item.plan.definition)
    events = [
        NewEvent(item.workspace_id, name, "manual", str(index), subjects, {}) for index, subjects in enumerate(page)
    ]
    occurrences = []
    for index, (event, trigger) in enumerate(zip(events, snapshots.complete(events), strict=True)):
        facts = EventFacts(-1 - index, name, event.subjects, trigger, {}, now, origin="schedule")
        occurrences.append(Occurrence(facts, item.workspace_id, item.id, now))
    known = know(occurrences, [item], now)
    return sum(not (early(item, one, known) or late(item, one, known)) for one in occurrences)
