"""`enrolExisting`: how many records it would start a run for, worked out by the same gates and without writing anything; and the
enrolment itself, page by page (DESIGN 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accounts.clock import evaluation_now
from automations.engine.kinds import Content, EventFacts
from automations.engine.plan import compile_plan
from automations.engine.registry import registry
from automations.models import Automation, AutomationState, Event, Version
from automations.services import snapshots
from automations.services.copies import trigger_key
from automations.services.entry import ENROL_PAGE, existing
from automations.services.events import NewEvent, record_events
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
        facts = EventFacts(-1 - index, name, event.subjects, Content.of(trigger, {}), now, origin="schedule")
        occurrences.append(Occurrence(facts, item.workspace_id, item.id, now))
    known = know(occurrences, [item], now)
    return sum(not (early(item, one, known) or late(item, one, known)) for one in occurrences)


def enrol_page(automation: Automation, limit: int = ENROL_PAGE) -> int:
    """Go on with an enrolment under way (`enrol_after`), in the caller's transaction, which holds the automation's row: record an
    event for each of the next records, addressed to this automation alone; the workers route them through all gates, filter
    included. Answers how many records it looked at; at 0 there is none left, and the mark is gone. Doing it again for one version
    enrols nobody twice."""
    if automation.enrol_after is None:
        return 0
    name = existing(automation)
    page: Sequence[Mapping[str, int]] = ()
    subject = ""
    if name is not None and automation.state == AutomationState.ACTIVE:
        subject = registry.roots[registry.queries[name].root].subject
        page = registry.queries[name].page(automation.workspace_id, automation.enrol_after, limit)
        record_events(_unknown([_enrolment(automation, subjects, subject) for subjects in page]))
    automation.enrol_after = page[-1][subject] if page else None
    automation.save(update_fields=["enrol_after"])
    return len(page)


def _unknown(events: Sequence[NewEvent]) -> list[NewEvent]:
    """Without those of an earlier enrolment: a record may belong to somebody else since, which would make it another event."""
    rows = Event.objects.filter(workspace_id__in={event.workspace_id for event in events}, source="manual")
    known = set(rows.filter(key__in=[event.key for event in events]).values_list("key", flat=True))
    return [event for event in events if event.key not in known]


def _enrolment(automation: Automation, subjects: Mapping[str, int], subject: str) -> NewEvent:
    prefix = next(root.prefix for root in registry.roots.values() if root.subject == subject)
    return NewEvent(
        workspace_id=automation.workspace_id,
        name=automation.trigger_key,
        source="manual",
        key=f"{automation.public_id}:enrol:{automation.active_version_id}#{prefix}_{subjects[subject]}",
        subjects=subjects,
        payload={},
        origin="schedule",
        only_automation=automation.pk,
    )
