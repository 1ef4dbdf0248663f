"""Automations, runs and events that really live, for tests of the worker: everything through the services, time by the clock."""

from __future__ import annotations

from typing import Any

from accounts.actor import system_actor
from accounts.clock import set_clock
from accounts.models import Customer, Workspace
from automations.models import Automation, Run, StepLog
from automations.services.drafts import create_automation
from automations.services.events import NewEvent, record_events
from automations.services.publish import activate
from automations.worker.loop import drain
from tests.factories import unique


def live(workspace: Workspace, text: str) -> Automation:
    """An ACTIVE automation of a YAML text; `name` and `trigger` are added where it has none."""
    if "trigger:" not in text:
        text = "trigger: {type: event, event: sign}\n" + text
    if not text.lstrip().startswith("name:"):
        text = f"name: {unique('Automation')}\n" + text
    actor = system_actor(workspace.pk)
    draft = create_automation(actor=actor, body=text, fmt="yaml")
    return activate(actor=actor, automation_id=draft.automation.pk)


def happen(customer: Customer, name: str = "sign", payload: dict[str, Any] | None = None, **parts: Any) -> int:
    """Record an event of a customer; answers its id."""
    event = NewEvent(
        customer.workspace_id,
        name,
        "api",
        parts.pop("key", unique("event")),
        {"customer": customer.pk},
        payload or {},
        **parts,
    )
    return record_events([event])[0].id


def settle(deliver: bool = False) -> int:
    """Work until nothing is due."""
    return drain(deliver=deliver)


def pass_time(step: str, deliver: bool = False) -> None:
    """Move the clock by a step such as `+3d` and work until nothing is due."""
    set_clock(step)
    settle(deliver)


def the_run(automation: Automation) -> Run:
    """The only run of an automation."""
    return Run.objects.get(automation=automation)


def log_of(run: Run) -> list[StepLog]:
    """Its log, oldest first."""
    return list(StepLog.objects.filter(run_id=run.pk).order_by("seq", "attempt"))


def steps_of(run: Run) -> list[str]:
    """Ids of the steps that were walked."""
    return [row.step for row in log_of(run)]
