"""Finding automations and versions of an actor's workspace; unknown and foreign ones look alike (DESIGN 3)."""

from __future__ import annotations

from django.db.models import QuerySet

from accounts.actor import Actor
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from automations.models import Automation, AutomationState, Version, VersionState


def automations_of(actor: Actor) -> QuerySet[Automation]:
    """All automations of the workspace, with what a page or the API shows of each."""
    return Automation.objects.filter(workspace_id=actor.workspace_id)


def find_automation(actor: Actor, automation_id: int) -> Automation:
    """The automation, or `not_found`."""
    found = automations_of(actor).select_related("active_version").filter(pk=automation_id).first()
    if found is None:
        raise not_found("automation", public_id("auto", automation_id))
    return found


def locked_automation(actor: Actor, automation_id: int) -> Automation:
    """The automation with its row locked until the transaction ends, so that two people's changes follow one another."""
    found = automations_of(actor).select_for_update(no_key=True).filter(pk=automation_id).first()
    if found is None:
        raise not_found("automation", public_id("auto", automation_id))
    return found


def find_version(automation: Automation, number: int) -> Version:
    """The version with that number, or `not_found`."""
    found = Version.objects.select_related("author").filter(automation=automation, number=number).first()
    if found is None:
        raise not_found("version", f"{automation.public_id} {number}")
    return found


def draft_of(automation: Automation) -> Version | None:
    """The draft, if there is one."""
    return Version.objects.filter(automation=automation, state=VersionState.DRAFT).first()


def need_draft(automation: Automation) -> Version:
    """The draft, or `not_found` with what to do instead."""
    draft = draft_of(automation)
    if draft is None:
        raise Refusal(
            "not_found",
            f"“{automation.name}” has no draft; save one, or restore a version as a draft.",
            {"automation": automation.public_id},
        )
    return draft


def need_state(automation: Automation, *states: AutomationState) -> None:
    """Refuse with `wrong_state` unless the automation is in one of these states."""
    if automation.state not in states:
        wanted = " or ".join(str(state.value) for state in states)
        raise Refusal(
            "wrong_state",
            f"“{automation.name}” is {automation.state}; this needs {wanted}.",
            {"state": automation.state, "needs": [str(state.value) for state in states]},
        )
