"""start_automation: starts another automation for the same customer (TRG-03). The chain of causes bounds loops (DESIGN 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from automations.engine.kinds import Config, LocalAction, Need, Request, TemplateData
from automations.engine.outcomes import Done, Failed, Outcome
from automations.engine.scope import Scope
from automations.models import Automation, AutomationState
from automations.services.events import NewEvent, record_events


class StartAutomationConfig(Config):
    """`payload` is the trigger data of the run that is started."""

    automation: str = Field(
        title="Automation", min_length=1, max_length=100, json_schema_extra={"x-widget": "automation"}
    )
    payload: TemplateData = Field(default_factory=dict, title="Trigger data", json_schema_extra={"x-widget": "data"})


class StartAutomationOutput(Config):
    """The event that was recorded; the run appears when it is routed."""

    event: str = Field("", title="Event")
    automation: str = Field("", title="Automation")


class StartAutomation(LocalAction):
    """Records one event addressed to the other automation, under a key of run and visit, so that it exists once."""

    key = "start_automation"
    label = "Start automation"
    help = "Starts another automation for the same customer."
    group = "Workflow"
    icon = "play"
    Config = StartAutomationConfig
    Output = StartAutomationOutput

    def summary(self, config: StartAutomationConfig) -> str:
        return f"Start {config.automation}"

    def sample(self) -> StartAutomationConfig:
        return StartAutomationConfig(automation="win-back", payload={"reason": "no-reply"})

    def needs(self, config: StartAutomationConfig) -> tuple[Need, ...]:
        return (Need("automation", config.automation),)

    def prepare(self, config: StartAutomationConfig, scope: Scope) -> Request | Outcome:
        payload = scope.tree(config.payload)
        if not isinstance(payload, Mapping):
            return Failed("invalid", "The trigger data must be an object of names and values.")
        shown = {"automation": config.automation, "payload": payload}
        return Request(subjects=dict(scope.subjects), input=shown, data=shown)

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        targets = _targets(requests)
        outcomes: list[Outcome | None] = [_refused(request, targets) for request in requests]
        going = [index for index, outcome in enumerate(outcomes) if outcome is None]
        recorded = record_events([_event(requests[index], targets) for index in going])
        for index, event in zip(going, recorded, strict=True):
            outcomes[index] = Done(
                {"event": f"evt_{event.id}", "automation": f"auto_{_target(requests[index], targets).pk}"}
            )
        return [outcome for outcome in outcomes if outcome is not None]


Targets = Mapping[tuple[int, str], Automation]


def _targets(requests: Sequence[Request]) -> Targets:
    """Automations by workspace and key, in one query."""
    rows = Automation.objects.filter(
        workspace_id__in={request.workspace_id for request in requests},
        key__in={request.data["automation"] for request in requests},
    )
    return {(row.workspace_id, row.key): row for row in rows}


def _target(request: Request, targets: Targets) -> Automation:
    return targets[request.workspace_id, request.data["automation"]]


def _refused(request: Request, targets: Targets) -> Outcome | None:
    name = request.data["automation"]
    target = targets.get((request.workspace_id, name))
    if target is None:
        return Failed("unknown_automation", f"There is no automation “{name}”; give the key of one of this workspace.")
    if target.pk == request.automation_id:
        return Failed("self_caused", f"“{name}” is the automation of this very run, which must not start itself.")
    if target.state != AutomationState.ACTIVE:
        return Failed("wrong_state", f"“{name}” is {target.state}; only an ACTIVE automation starts runs.")
    return None


def _event(request: Request, targets: Targets) -> NewEvent:
    payload: Mapping[str, Any] = request.data["payload"]
    return NewEvent(
        workspace_id=request.workspace_id,
        name="manual",
        source="manual",
        key=f"exec_{request.run_id}.{request.visit}",
        subjects=request.subjects,
        payload=payload,
        cause_run=request.run_id,
        only_automation=_target(request, targets).pk,
    )


action = StartAutomation()
