"""Executions and step logs as the API shows them (CONTRACTS 9, EXE-10 to 17, RUN-02 to 11, 26, 27)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accounts.api.base import stamp
from accounts.ids import optional_id, public_id
from automations.engine.registry import registry
from automations.engine.run_state import Record
from automations.models import EventContent, Run, StepLog
from automations.services.executions import SHOWN

PREFIXES = {"customer": "cus", "invoice": "inv", "subscription": "sub", "payment": "pay", "delivery": "dlv"}
FALLBACK, LATE = 1, 2  # bits of `step_log.flags`


def executions_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Rows of a list; the runs bear the annotations of `services.executions.listed`."""
    return [_execution(run, _triggered_by(run.trigger_type, run.trigger_event)) for run in runs]  # type: ignore[attr-defined]  # annotated


def _triggered_by(type_: str | None, event: str | None) -> str:
    return event or "" if type_ == "event" else type_ or ""


def _execution(run: Run, triggered_by: str) -> dict[str, Any]:
    return {
        "id": public_id("exec", run.pk),
        "status": SHOWN[run.status],
        "triggeredBy": triggered_by,
        "triggeredAt": stamp(run.started_at),
        "completedAt": stamp(run.ended_at),
        "stepsExecuted": run.steps_executed,
        "runStatus": run.status,
        "endReason": run.end_reason,
        "automationId": public_id("auto", run.automation_id),
        "automationName": run.automation.name,
        "version": run.version.number,
        "profileId": optional_id("cus", run.customer_id),
        "subject": subject_json(run.subjects),
        "currentStepId": run.step,
        "nextStepAt": stamp(run.due_at),
        "parkedOn": run.parked_on,
        "mode": run.mode,
        "error": run.error,
        "eventId": public_id("evt", run.event_id),
        "recordedAt": stamp(run.recorded_at),
    }


def subject_json(subjects: Mapping[str, int]) -> dict[str, str]:
    """`{"customer": "cus_7", "invoice": "inv_8"}`."""
    return {name: public_id(PREFIXES.get(name, name), number) for name, number in subjects.items()}


def execution_json(run: Run, steps: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    """One execution with its trigger and the first page of its log."""
    trigger = run.version.definition.get("trigger", {})
    triggered_by = _triggered_by(trigger.get("type"), trigger.get("event"))
    return {
        **_execution(run, triggered_by),
        "trigger": {"type": trigger.get("type"), "event": run.event.name, "data": _trigger_data(run)},
        "cause": optional_id("exec", run.event.cause_run),
        "goalReachedAt": stamp(run.goal_reached_at),
        "steps": steps,
        "stepsCursor": cursor,
    }


def _trigger_data(run: Run) -> Any:
    """The payload as posted; for billing's own events, which have none, the snapshot's own fields (CONTRACTS 7). None once the
    content has been dropped (`ONWARD_RETENTION_DAYS`)."""
    content = EventContent.objects.filter(event_id=run.event_id).first()
    if content is None:
        return None
    if content.payload or run.event.origin == "api":
        return content.payload
    return {name: value for name, value in content.snapshot.items() if not isinstance(value, dict)}


def steps_json(run: Run, rows: Sequence[StepLog], deliveries: Mapping[int, int]) -> list[dict[str, Any]]:
    """Rows of the log; names and actions come from the run's version, which cannot change (VER-08)."""
    nodes = {node["id"]: node for node in run.version.definition.get("nodes", ())}
    return [step_json(row, nodes.get(row.step, {}), deliveries.get(row.seq)) for row in rows]


def _output(row: StepLog | Record, delivery: int | None) -> Mapping[str, Any] | None:
    """What the step put out; a queued mail names its delivery, whose id is known only beside the log (CONTRACTS 9)."""
    if row.type == "send_email" and delivery is not None and row.output and "to" in row.output:
        return {"delivery": optional_id("dlv", delivery), **row.output}
    return row.output


def step_json(row: StepLog | Record, node: Mapping[str, Any], delivery: int | None) -> dict[str, Any]:
    """One row; `node` is its step in the definition."""
    action = row.type in registry.actions
    shown = {
        "seq": row.seq,
        "attempt": row.attempt + 1,  # people count from one
        "stepId": row.step,
        "type": "action" if action else row.type,
        "action": row.type if action else None,
        "name": node.get("name") or None,
        "status": row.status,
        "port": row.port,
        "startedAt": stamp(row.started_at),
        "endedAt": stamp(row.ended_at),
        "durationMs": round((row.ended_at - row.started_at).total_seconds() * 1000),
        "iteration": row.iteration,
        "fallback": bool(row.flags & FALLBACK),
        "input": row.input,
        "output": _output(row, delivery),
        "error": row.error,
        "warnings": row.warnings or [],
        "delivery": optional_id("dlv", delivery),
    }
    return {**shown, "late": True} if row.flags & LATE else shown
