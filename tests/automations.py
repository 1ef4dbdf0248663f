"""Definitions and runs of automations for tests of services, REST, commands and the admin."""

from __future__ import annotations

from typing import Any

from accounts.actor import Actor
from accounts.models import Customer, Workspace
from automations.models import Automation, Delivery, Run, Version
from automations.services.drafts import create_automation
from automations.services.publish import activate
from tests.factories import actor_of, make_customer, unique
from tests.worker.living import happen, settle

WAITING = "steps: [{id: pause, type: delay, duration: 3d}, {id: after, type: action, action: add_tag, tag: done}]"
LISTENING = (
    "steps: [{id: wait, type: wait_until, event: reply, timeout: 7d}, {type: action, action: add_tag, tag: done}]"
)
TAGGING = "steps: [{id: tag, type: action, action: add_tag, tag: done}]"


def text(
    body: str = TAGGING, *, name: str | None = None, trigger: str = "{type: event, event: sign}", more: str = ""
) -> str:
    """A definition in YAML."""
    lines = [f"name: {name or unique('Automation')}", f"trigger: {trigger}", more, body]
    return "\n".join(line for line in lines if line) + "\n"


def made(workspace: Workspace, body: str = TAGGING, **parts: Any) -> Automation:
    """An automation in state DRAFT."""
    return create_automation(actor=actor_of(workspace), body=text(body, **parts), fmt="yaml").automation


def published(workspace: Workspace, body: str = TAGGING, **parts: Any) -> Automation:
    """An ACTIVE automation."""
    return activate(actor=actor_of(workspace), automation_id=made(workspace, body, **parts).pk)


def started(automation: Automation, count: int = 1, event: str = "sign") -> list[Run]:
    """Runs of new customers, walked as far as they go now, oldest first."""
    before = set(Run.objects.filter(automation=automation).values_list("pk", flat=True))
    for _number in range(count):
        happen(make_customer(automation.workspace), event)
    settle()
    return list(Run.objects.filter(automation=automation).exclude(pk__in=before).order_by("pk"))


def fresh(thing: Any) -> Any:
    """The row as it is now."""
    return type(thing).objects.get(pk=thing.pk)


def versions(automation: Automation) -> dict[int, str]:
    """Number -> state."""
    return dict(Version.objects.filter(automation=automation).order_by("number").values_list("number", "state"))


def queue(run: Run, state: str = "QUEUED", visit: int = 1) -> Delivery:
    """A delivery of a run, due now."""
    from accounts.clock import evaluation_now
    from automations.worker.store import delivery_key

    now = evaluation_now()
    return Delivery.objects.create(
        workspace_id=run.workspace_id,
        run=run,
        visit=visit,
        key=delivery_key(run.pk, visit, 0),
        automation_id=run.automation_id,
        step="mail",
        action="send_email",
        kind="email",
        state=state,
        customer_id=run.customer_id,
        envelope={},
        due_at=now if state == "QUEUED" else None,
        created_at=now,
    )


def editor(workspace: Workspace) -> Actor:
    """An owner."""
    return actor_of(workspace)


__all__ = ["Customer", "editor", "fresh", "made", "published", "queue", "started", "text", "versions"]
