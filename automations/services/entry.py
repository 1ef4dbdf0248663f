"""Entering: the writes that turn an event into runs, used by routing, manual triggers and enrolment (DESIGN 5.1, RUN-01)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from accounts.actor import Actor
from accounts.audit import record
from accounts.clock import evaluation_now
from accounts.errors import Refusal, not_found
from automations.engine import states
from automations.engine.registry import registry
from automations.models import Automation, Run
from automations.services import run_rows
from automations.services.events import NewEvent, load_events, record_events, shard_of, short
from automations.worker import bell, queue
from automations.worker.batch import Decision, Listening, LiveRun, Occurrence
from automations.worker.copying import arrays
from automations.worker.gates import Known, early, entry_key, late
from automations.worker.hearing import read_listening
from automations.worker.knowing import KEY_SWITCHES, know
from automations.worker.locks import hold_shards
from automations.worker.planner import without

# A key whose run has ended is free for a rule that asks only for unfinished ones: `once` in an earlier version left it. It is
# removed by the run that was seen to hold it, so that of two who take it at once one finds it taken.
_LEFT = """
delete from automations_entry e using unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[])
    v (workspace_id, automation_id, key, run_id)
where e.workspace_id = v.workspace_id and e.automation_id = v.automation_id and e.key = v.key and e.run_id = v.run_id
"""
_ENTRIES = """
insert into automations_entry (workspace_id, automation_id, key, run_id, once)
select * from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::boolean[])
on conflict (workspace_id, automation_id, key) do nothing
returning automation_id, key
"""


@dataclass(slots=True)
class Entering:
    """A run about to begin; `key` is its re-entry key while it has one."""

    run: LiveRun
    decision: Decision
    key: str | None
    once: bool


@dataclass(slots=True)
class Entries:
    """The runs that one transaction starts, in order. Nothing is written before `enter_runs`."""

    now: datetime
    known: Known
    new: list[Entering] = field(default_factory=list)

    def try_enter(self, item: Listening, occurrence: Occurrence) -> Decision:
        """All gates of one automation, in their order; a run when it passes."""
        stop = early(item, occurrence, self.known)
        return self.refused(item, stop) if stop else self.enter(item, occurrence)

    def enter(self, item: Listening, occurrence: Occurrence) -> Decision:
        """The gates behind the filter; a run when it passes."""
        stop = late(item, occurrence, self.known)
        if stop is not None:
            return self.refused(item, stop)
        decision = Decision(item, "started")
        key = entry_key(item.plan, occurrence)
        run = self._run(item, occurrence)
        if key is not None:
            self.known.entries[item.id, key] = run.id
        self.new.append(Entering(run, decision, key, item.plan.settings.reentry == "once"))
        return decision

    @staticmethod
    def refused(item: Listening, stop: tuple[str, str]) -> Decision:
        """A decision against it."""
        return Decision(item, "skipped", *stop)

    def _run(self, item: Listening, occurrence: Occurrence) -> LiveRun:
        return LiveRun(
            id=-1 - len(self.new),
            workspace_id=item.workspace_id,
            automation_id=item.id,
            version_id=item.version_id,
            event_id=occurrence.facts.id,
            customer_id=occurrence.customer_id,
            subjects=occurrence.objects,
            status=states.RUNNING,
            parked_on=None,
            step=item.plan.first,
            wait_name=None,
            wait_key=None,
            started_at=self.now,
            state={},
            goal_reached_at=None,
            plan=item.plan,
        )

    def freed(self, run: LiveRun) -> None:
        """A run of this transaction or an earlier one was ended: its key is free again, unless it is kept for ever (RUN-23)."""
        if run.plan.settings.reentry == "once":
            return
        for key in [key for key, holder in self.known.entries.items() if holder == run.id]:
            del self.known.entries[key]


def enter_runs(entries: Entries) -> list[int]:
    """Write the new runs in the caller's transaction, in three statements whatever their number: ids, re-entry keys, rows. Where
    somebody else took a key at the same moment the decision becomes `reentry`. Answers the ids of the runs that exist now."""
    return write_runs(take_places(entries), entries.now)


def take_places(entries: Entries) -> list[LiveRun]:
    """The new runs that may begin, with their ids and re-entry keys; their rows are not written yet."""
    if not entries.new:
        return []
    with connection.cursor() as cursor:
        for entering, id in zip(entries.new, run_rows.new_ids(cursor, len(entries.new)), strict=True):
            entering.run.id = id
        _take_keys(cursor, entries)
    return [entering.run for entering in entries.new if entering.decision.outcome == "started"]


def write_runs(runs: Sequence[LiveRun], now: datetime) -> list[int]:
    """The rows of these new runs, due at once. Answers the ids of those that exist now."""
    if not runs:
        return []
    with connection.cursor() as cursor:
        made = run_rows.write(cursor, runs, now)
    if made:
        bell.ring()
    return made


def _take_keys(cursor: Any, entries: Entries) -> None:
    wanted = [item for item in entries.new if item.key and (item.once or item.run.end_reason is None)]
    if not wanted:
        return
    left = [(*row, entries.known.left[row[1:]]) for item in wanted if (row := _key_of(item))[1:] in entries.known.left]
    if left:
        without(cursor, KEY_SWITCHES, _LEFT, arrays(sorted(set(left))))
    rows = [(*_key_of(item), item.run.id, item.once) for item in wanted]
    cursor.execute(_ENTRIES, arrays(sorted(rows)))
    taken = {tuple(row) for row in cursor.fetchall()}
    for item in wanted:
        if (item.run.automation_id, item.key) not in taken:
            item.decision.outcome, item.decision.gate = "skipped", "reentry"
            item.decision.reason = f"{item.key} was taken by another run at the same moment."


def _key_of(item: Entering) -> tuple[int, int, str]:
    return item.run.workspace_id, item.run.automation_id, item.key or ""


@transaction.atomic
def trigger_manually(
    actor: Actor,
    automation: Automation,
    subjects: Mapping[str, int],
    payload: Mapping[str, Any],
    key: str | None = None,
) -> Run:
    """Start a run of an ACTIVE automation with a manual trigger; it exists when this answers (TRG-03). The same key again answers
    the same run. Refusals `trigger_not_manual`, `wrong_state`, and `not_entered` with the gate in its details."""
    actor.require("operate")
    # As a router does, before the automation: while it is held the record can neither be merged nor erased (`services/ahead.py`).
    shard = shard_of(actor.workspace_id, subjects.get("customer"))
    hold_shards([shard])
    item = _manual(actor, automation)
    event = NewEvent(
        workspace_id=actor.workspace_id,
        name="manual",
        source="manual",
        key=f"{automation.public_id}:{short(key) if key else uuid.uuid4().hex}",
        subjects=subjects,
        payload=payload,
        origin="api",
        cause_run=actor.run_id,
        only_automation=automation.pk,
    )
    recorded = record_events([event])[0]
    if recorded.status == "duplicate":
        return _run_of(automation, recorded.id)
    facts = load_events([recorded.id])[recorded.id]
    occurrence = Occurrence(facts, actor.workspace_id, automation.pk, facts.occurred_at)
    now = evaluation_now()
    entries = Entries(now, know([occurrence], [item], now))
    decision = entries.try_enter(item, occurrence)
    made = enter_runs(entries)
    if not made:
        reason = f"“{automation.name}” did not start: {decision.reason}"
        raise Refusal("not_entered", reason, {"gate": decision.gate})
    queue.leave([(shard, recorded.id)])
    record(actor, "automation.trigger", automation.public_id, None, {"execution": f"exec_{made[0]}"})
    return Run.objects.get(pk=made[0])


def _manual(actor: Actor, automation: Automation) -> Listening:
    """The automation under its lock, or why it cannot be started by hand."""
    if automation.workspace_id != actor.workspace_id:
        raise not_found("automation", automation.public_id)
    if automation.trigger_key != "manual":
        message = f"“{automation.name}” starts on {automation.trigger_key}; only a manual trigger can be called."
        raise Refusal("trigger_not_manual", message, {"trigger": automation.trigger_key})
    found = read_listening([automation.pk]) if automation.active_version_id else []
    if not found or found[0].state != "ACTIVE":
        state = found[0].state if found else automation.state
        raise Refusal("wrong_state", f"“{automation.name}” is {state}; activate it first.", {"state": state})
    return found[0]


def _run_of(automation: Automation, event_id: int) -> Run:
    run = Run.objects.filter(workspace_id=automation.workspace_id, automation=automation, event_id=event_id).first()
    if run is None:
        raise Refusal("not_entered", f"“{automation.name}” did not start when it was first asked to.", {"gate": None})
    return run


ENROL_PAGE = 500


def existing(automation: Automation) -> str | None:
    """The query over the records that an automation is about, which enrolment walks; None when there is none."""
    trigger = registry.triggers.get(automation.trigger_key) or registry.triggers["custom"]
    subject = "invoice" if trigger.subject == "payment" else trigger.subject
    return next(
        (name for name, query in registry.queries.items() if registry.roots[query.root].subject == subject), None
    )
