"""Pausing and resuming (C-03, C-29, PAU-01 to 12): pausing closes entry and says what becomes of runs in flight."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max

from accounts.actor import Actor
from accounts.afterwards import afterwards
from accounts.audit import record
from accounts.clock import evaluation_now
from accounts.errors import Refusal, invalid
from automations.models import Automation, AutomationState, Run
from automations.services.find import find_automation, locked_automation, need_state
from automations.services.inflight import follow_all
from automations.worker.bell import ring
from automations.worker.locks import lock_exclusively
from automations.worker.schedules import following_fire

IN_FLIGHT = ("finish", "cancel", "hold")
HELD = ("continue", "skip", "reanchor")


@dataclass(frozen=True, slots=True)
class InFlight:
    """The automation after the change, and its runs: `unfinished` that go on, `cancelled` and `held` by this call. The counts say
    what the marks cover: the rows follow them afterwards, as far as one call goes, and the workers do the rest."""

    automation: Automation
    unfinished: int
    cancelled: int = 0
    held: int = 0


def pause_automation(*, actor: Actor, automation_id: int, in_flight: str = "finish") -> InFlight:
    """Close entry; runs in flight finish, are cancelled, or are held until resume. A DRAFT is `wrong_state`. Pausing a paused
    one again may still cancel or hold its runs; after the commit no run of it appears (DESIGN 5.1)."""
    actor.require("operate")
    if in_flight not in IN_FLIGHT:
        raise invalid("inFlight", f"must be one of {', '.join(IN_FLIGHT)}.")
    covered = _close(actor, automation_id, in_flight)
    afterwards(lambda: follow_all(automation_id))
    automation = find_automation(actor, automation_id)
    cancelled, held = (covered if in_flight == choice else 0 for choice in ("cancel", "hold"))
    return InFlight(automation, unfinished_runs(automation), cancelled, held)


@transaction.atomic
def _close(actor: Actor, automation_id: int, in_flight: str) -> int:
    """The pause itself; answers how many unfinished runs the mark covers."""
    find_automation(actor, automation_id)
    lock_exclusively([automation_id])
    automation = locked_automation(actor, automation_id)
    need_state(automation, AutomationState.ACTIVE, AutomationState.PAUSED)
    before = {"state": automation.state, "inFlight": automation.in_flight}
    covered = unfinished_runs(automation)
    if not (automation.state == AutomationState.PAUSED and in_flight == "finish"):
        _mark(automation, in_flight)
    record(actor, "automation.pause", automation.public_id, before, {"state": "PAUSED", "inFlight": in_flight})
    return covered


def _mark(automation: Automation, in_flight: str) -> None:
    mark = last_run(automation)
    automation.state = AutomationState.PAUSED
    automation.in_flight = in_flight
    automation.paused_at = evaluation_now()
    automation.enrol_after = None  # its records would be refused at the entrance; who wants them enrols them again
    if in_flight == "cancel":
        automation.cancel_mark, automation.cancel_reason, automation.hold_mark = mark, "cancelled_on_pause", None
    elif in_flight == "hold":
        automation.hold_mark = mark
        automation.release_mark, automation.release_how, automation.release_at = None, "", None
    automation.sweep = automation.sweep or in_flight != "finish"
    automation.save()


def resume_automation(*, actor: Actor, automation_id: int, held: str | None = None) -> InFlight:
    """Open entry again, with the same version and priority (PAU-06). After a hold that froze runs, `held` says how they go on:
    `continue` with the time that was left, `skip` what they wait for, or `reanchor` to the time they would have had; without it
    `choice_required`. Nothing that happened during the pause is made up for (PAU-09)."""
    actor.require("operate")
    if held is not None and held not in HELD:
        raise invalid("held", f"must be one of {', '.join(HELD)}.")
    _open(actor, automation_id, held)
    afterwards(lambda: follow_all(automation_id))
    automation = find_automation(actor, automation_id)
    return InFlight(automation, unfinished_runs(automation))


@transaction.atomic
def _open(actor: Actor, automation_id: int, held: str | None) -> None:
    find_automation(actor, automation_id)
    lock_exclusively([automation_id])
    automation = locked_automation(actor, automation_id)
    need_state(automation, AutomationState.PAUSED)
    frozen = unfinished_runs(automation) if automation.hold_mark is not None else 0
    if frozen and held is None:
        raise Refusal(
            "choice_required",
            f"{frozen} runs are held: say whether they continue, skip what they wait for, or reanchor.",
            {"held": frozen, "choices": list(HELD)},
        )
    _release(automation, held or "continue")
    record(actor, "automation.resume", automation.public_id, {"state": "PAUSED"}, {"state": "ACTIVE", "held": held})
    ring()


def _release(automation: Automation, how: str) -> None:
    """A schedule goes on with its next time: what fell into the pause is not made up for (PAU-09)."""
    now = evaluation_now()
    automation.state = AutomationState.ACTIVE
    automation.in_flight = ""
    automation.paused_at = None
    if automation.hold_mark is not None:
        automation.release_mark, automation.release_how, automation.release_at = automation.hold_mark, how, now
        automation.hold_mark, automation.sweep = None, True
    automation.next_fire_at = following_fire(automation, now)
    automation.save()


def last_run(automation: Automation) -> int:
    """The id up to which a mark covers its runs. Under the exclusive lock no router is inserting one."""
    runs = Run.objects.filter(workspace_id=automation.workspace_id, automation_id=automation.pk, ended_at__isnull=True)
    return int(runs.aggregate(last=Max("pk"))["last"] or 0)


def unfinished_runs(automation: Automation) -> int:
    """How many runs have not ended and are not marked to be cancelled: counted over the index of unfinished runs alone."""
    runs = Run.objects.filter(workspace_id=automation.workspace_id, automation_id=automation.pk, ended_at__isnull=True)
    return runs.filter(pk__gt=automation.cancel_mark or 0).count()
