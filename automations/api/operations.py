"""Activating, pausing, resuming, triggering and testing (CONTRACTS 8)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

from accounts.api.base import (
    ApiView,
    Reference,
    ReferenceField,
    Request,
    Response,
    StrictSerializer,
    actor_of,
    describe,
    parse,
    stamp,
)
from accounts.errors import Refusal
from accounts.ids import parse_id
from automations.api.automations import revision_of
from automations.api.execution_serializers import StartedOut
from automations.api.execution_shapes import execution_json, step_json, steps_json
from automations.api.serializers import (
    ActivateIn,
    AutomationOut,
    InFlightOut,
    PauseIn,
    PreviewOut,
    ResumeIn,
    TrialIn,
    TrialOut,
)
from automations.api.shapes import automation_json, problems_json
from automations.engine.definition import Definition
from automations.engine.durations import parse_duration
from automations.engine.simulate import PretendEvent
from automations.engine.values import plain
from automations.services.entry import trigger_manually
from automations.services.executions import SHOWN, find_run, steps_of
from automations.services.find import find_automation
from automations.services.pause import InFlight, pause_automation, resume_automation
from automations.services.publish import activate, preview_activation
from automations.services.subjects import resolve_subjects
from automations.services.testing import TrialInput, TrialResult, try_automation


class Activate(ApiView):
    """Puts the draft in force."""

    scope = "publish"

    @describe(
        "automations_activate",
        "Activate the draft; with `preview` only say what that would do",
        request=ActivateIn,
        answer=PolymorphicProxySerializer(
            component_name="Activated", serializers=[AutomationOut, PreviewOut], resource_type_field_name=None
        ),
        codes=["invalid_definition", "plan_limit", "wrong_state", "version_inactive", "draft_conflict", "unknown_key"],
    )
    def post(self, request: Request, automation: str) -> Response:
        number = parse_id("auto", automation)
        values = parse(request, ActivateIn)
        if values.pop("preview"):
            version = values.get("version")
            preview = preview_activation(actor=actor_of(request), automation_id=number, version=version)
            return Response(
                {
                    "problems": problems_json(preview.problems),
                    "runsByStep": preview.runs_by_step,
                    "wouldEnrol": preview.would_enrol,
                }
            )
        changed = activate(actor=actor_of(request), automation_id=number, revision=revision_of(request), **values)
        return Response(automation_json(changed))


def in_flight_response(done: InFlight) -> Response:
    """`{automation, runs}`."""
    runs = {"unfinished": done.unfinished, "cancelled": done.cancelled, "held": done.held}
    return Response({"automation": automation_json(done.automation), "runs": runs})


class Pause(ApiView):
    """Closes entry."""

    scope = "operate"

    @describe(
        "automations_pause",
        "Pause: no run begins; runs in flight finish, are cancelled, or are held",
        request=PauseIn,
        answer=InFlightOut,
        codes=["wrong_state", "unknown_key"],
    )
    def post(self, request: Request, automation: str) -> Response:
        number = parse_id("auto", automation)
        values = parse(request, PauseIn)
        return in_flight_response(pause_automation(actor=actor_of(request), automation_id=number, **values))


class Resume(ApiView):
    """Opens entry again."""

    scope = "operate"

    @describe(
        "automations_resume",
        "Resume; held runs continue, skip what they wait for, or are anchored anew",
        request=ResumeIn,
        answer=InFlightOut,
        codes=["wrong_state", "choice_required", "unknown_key"],
    )
    def post(self, request: Request, automation: str) -> Response:
        number = parse_id("auto", automation)
        values = parse(request, ResumeIn)
        return in_flight_response(resume_automation(actor=actor_of(request), automation_id=number, **values))


class TriggerIn(StrictSerializer):
    """What the run is about, and its trigger data."""

    customer = ReferenceField("cus", email=True, required=False)
    invoice = ReferenceField("inv", required=False)
    subscription = ReferenceField("sub", required=False)
    payload = serializers.DictField(required=False)


class Trigger(ApiView):
    """Starts a run by hand (TRG-03)."""

    scope = "operate"

    @describe(
        "automations_trigger",
        "Start a run of an ACTIVE automation with a manual trigger",
        request=TriggerIn,
        answer=StartedOut,
        status=201,
        codes=[
            "trigger_not_manual",
            "wrong_state",
            "not_entered",
            "unknown_reference",
            "customer_conflict",
            "unknown_key",
        ],
    )
    def post(self, request: Request, automation: str) -> Response:
        actor = actor_of(request)
        found = find_automation(actor, parse_id("auto", automation))
        values = parse(request, TriggerIn)
        payload = values.pop("payload", {})
        subjects = resolve_subjects(actor.workspace_id, {name: _plain_ref(ref) for name, ref in values.items()})
        run = trigger_manually(actor, found, subjects, payload, request.headers.get("Idempotency-Key"))
        run = find_run(actor, run.pk)
        steps = steps_json(run, steps_of(run), {})
        return Response({"execution": execution_json(run, steps, None)}, status=201)


def _plain_ref(ref: Reference) -> Any:
    if ref.number is not None:
        return ref.number
    named = {"externalId": ref.external_id, "email": ref.email}
    return {key: value for key, value in named.items() if value}


class Trial(ApiView):
    """Walks an automation without doing anything (VER-10)."""

    scope = "read"

    @describe(
        "automations_test",
        "Walk the draft on sample data, a payload, an event or a customer; writes, sends and calls nothing",
        request=TrialIn,
        answer=TrialOut,
        codes=["invalid_definition", "unknown_key"],
    )
    def post(self, request: Request, automation: str) -> Response:
        auto = parse_id("auto", automation)
        values = parse(request, TrialIn)
        number = values.pop("version", None)
        given = _trial_input(values)
        return Response(
            trial_json(try_automation(actor=actor_of(request), automation_id=auto, given=given, number=number))
        )


def _trial_input(values: dict[str, Any]) -> TrialInput:
    given = [name for name in ("payload", "event", "customer") if name in values]
    if len(given) > 1:
        message = f"Give one of payload, event and customer, not {' and '.join(given)}."
        raise Refusal("invalid", message, {"fields": {given[1]: [message]}})
    return TrialInput(
        payload=values.get("payload"),
        event_id=parse_id("evt", values["event"]) if "event" in values else None,
        customer_id=parse_id("cus", values["customer"]) if "customer" in values else None,
        at=values.get("at"),
        outcomes=values.get("outcomes", {}),
        events=[_pretend(event) for event in values.get("events", ())],
    )


def _pretend(event: dict[str, Any]) -> PretendEvent:
    try:
        parse_duration(event["after"])
    except ValueError as error:
        raise Refusal("invalid", f"events.after: {error}", {"fields": {"events.after": [str(error)]}}) from error
    return PretendEvent(event["after"], event["name"], event.get("payload", {}))


def trial_json(result: TrialResult) -> dict[str, Any]:
    """The answer of a test: the log of the simulated run, with what would have gone out at each step."""
    run = result.simulation.run
    return {
        "status": SHOWN[run.status],
        "runStatus": run.status,
        "endReason": run.end_reason,
        "currentStepId": run.step,
        "startedAt": stamp(run.started_at),
        "endedAt": stamp(run.ended_at),
        "steps": _steps(result, result.definition),
        "warnings": result.warnings,
    }


def _steps(result: TrialResult, definition: Definition) -> list[dict[str, Any]]:
    names = {node.id: {"name": node.name} for node in definition.nodes}
    return [
        {**plain(step_json(row, names.get(row.step, {}), None)), "rendered": result.rendered.get(row.seq, [])}
        for row in result.simulation.rows
    ]
