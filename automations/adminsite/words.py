"""States and reasons as people say them. Pure: nothing here asks the database or the clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.look import id_link, lasting, moment, pill, state_pill
from accounts.adminsite.record import Notice
from automations.engine.registry import registry
from automations.models import Delivery, Run

States = Mapping[str, tuple[str, str, str]]

AUTOMATIONS: States = {
    "DRAFT": ("Draft", "draft", "pencil"),
    "ACTIVE": ("Active", "ok", "play"),
    "PAUSED": ("Paused", "idle", "pause"),
}
VERSIONS: States = {
    "draft": ("Draft", "draft", "pencil"),
    "active": ("Active", "ok", "play"),
    "inactive": ("Replaced", "idle", "clock"),
}
ENDS: States = {
    "COMPLETED": ("Completed", "ok", "tick"),
    "CANCELLED": ("Cancelled", "idle", "bar"),
    "FAILED": ("Failed", "bad", "fail"),
}
STANDS: States = {
    "timer": ("Waiting", "wait", "hourglass"),
    "event": ("Waiting for an event", "wait", "hourglass"),
    "delivery": ("Acting outside", "run", "outside"),
    "approval": ("Waiting for approval", "warn", "person"),
    "hold": ("On hold", "wait", "snow"),
}
DELIVERIES: States = {
    "QUEUED": ("Queued", "run", "clock"),
    "SENDING": ("Sending", "run", "open"),
    "SENT": ("Sent", "ok", "tick"),
    "REFUSED": ("Refused", "warn", "bar"),
    "FAILED": ("Failed", "bad", "fail"),
    "SUPPRESSED": ("Suppressed", "idle", "bar"),
    "SKIPPED": ("Skipped", "idle", "skip"),
    "CANCELLED": ("Cancelled", "idle", "bar"),
    "UNKNOWN": ("Unknown", "warn", "question"),
    "REVIEW": ("To be looked at", "warn", "person"),
}
STEPS: States = {
    "succeeded": ("Done", "ok", "tick"),
    "failed": ("Failed", "bad", "fail"),
    "skipped": ("Skipped", "idle", "skip"),
}
#: Why a run ended, where its status does not say it all (CONTRACTS 9).
REASONS: Mapping[str, str] = {
    "completed": "It walked to the end of its path.",
    "stopped": "A stop step ended it.",
    "invoice_paid": "It ended early: the invoice was paid.",
    "invoice_voided": "It ended early: the invoice was voided.",
    "auto_advance_off": "It ended early: the invoice is no longer collected by itself.",
    "subscription_cancelled": "It ended early: the subscription was cancelled.",
    "unsubscribed": "It ended early: the customer unsubscribed.",
    "profile_deleted": "It ended early: the customer was erased.",
    "cancelled_on_pause": "It was cancelled when the automation was paused.",
    "cancelled_on_publish": "It was cancelled when another version became active.",
    "cancelled": "Somebody cancelled it.",
    "goal_reached": "It ended early: its goal was reached.",
    "poison": "It was given up after three workers died while they held it.",
    "step_limit": "It was ended because it logged more steps than a run may.",
    "max_age": "It was ended because it had grown older than its automation allows.",
}
#: What a delivery's state means for the money or the mail.
MEANINGS: Mapping[str, str] = {
    "UNKNOWN": "Nobody can tell yet whether the other side acted. It is asked again; nothing is done twice meanwhile.",
    "REVIEW": "Nobody could tell whether the other side acted. A person has to look; there is a task for it.",
    "REFUSED": "It was not made: what it is about changed before it could be.",
    "SUPPRESSED": "It was not sent: the address may not be mailed.",
    "SKIPPED": "It was not needed any more when its turn came.",
    "CANCELLED": "It was cancelled before it was made.",
}


def run_pill(run: Run) -> SafeString:
    """Where the run stands, in a word or two."""
    if run.status in ENDS:
        return state_pill(ENDS, run.status)
    return state_pill(STANDS, run.parked_on) if run.parked_on else pill("Running", "run", "open")


def delivery_kind(delivery: Delivery) -> str:
    """`Send email`; the key of an action that is no more."""
    action = registry.actions.get(delivery.action)
    return action.label if action else delivery.action


def standing(run: Run, step: str, open_delivery: Delivery | None, now: datetime) -> Notice:
    """How the run stands and why, in a sentence or two. `step` is the label of the step it stands on."""
    if run.status == "FAILED":
        return Notice("bad", _failure(run, step), "fail")
    if run.status in ENDS:
        return Notice(*_ended(run))
    if run.parked_on == "hold":
        return Notice("wait", _held(run, step), "snow")
    if run.parked_on == "event":
        return Notice("wait", _listens(run, step, now), "hourglass")
    if run.parked_on == "delivery":
        return _acting(step, open_delivery)
    if run.parked_on == "approval":
        return Notice("warn", format_html("Waits in “{}” until somebody approves.", step), "person")
    return _due(run, step, now)


def _failure(run: Run, step: str) -> SafeString:
    error = run.error or {}
    reason = error.get("message") or REASONS.get(run.end_reason or "", "It failed.")
    at = format_html(" in “{}”", step) if step else ""
    return format_html("Failed{} on {}: {} {}", at, moment(run.ended_at), reason, _code(error))


def _code(error: Mapping[str, Any]) -> SafeString:
    return format_html("<code>{}</code>", error["code"]) if error.get("code") else SafeString("")


def _ended(run: Run) -> tuple[str, SafeString, str]:
    name, tone, sign = ENDS[run.status]
    reason = run.end_reason or ""
    why = REASONS.get(reason) or f"The reason: {reason.replace('_', ' ')}."
    return tone, format_html("{} on {}. {}", name, moment(run.ended_at), why), sign


def _held(run: Run, step: str) -> SafeString:
    held = run.held or {}
    by = "its automation is paused" if held.get("by") == "pause" else "somebody holds it"
    text = format_html("Stands still in “{}” because {}; its clocks are stopped.", step, by)
    left = held.get("remaining")
    if not left:
        return text
    return format_html(
        "{} {} of its wait are left and begin to run at the resume.", text, lasting(timedelta(seconds=left))
    )


def _listens(run: Run, step: str, now: datetime) -> SafeString:
    whom = SafeString("")
    if run.wait_key and ":" in run.wait_key:
        kind, _, number = run.wait_key.partition(":")
        whom = format_html(" of {}", subject_link(kind, number))
    until = (
        format_html(", at the latest until {}", _ahead(run.due_at, now)) if run.due_at else ", however long that takes"
    )
    return format_html("Waits in “{}” for the event <code>{}</code>{}{}.", step, run.wait_name, whom, until)


def subject_link(kind: str, number: Any) -> SafeString:
    """The link of `customer`, 7."""
    root = registry.roots.get(kind)
    return id_link(f"{root.prefix if root else kind}_{number}")


def _acting(step: str, delivery: Delivery | None) -> Notice:
    if delivery is None:
        return Notice("run", format_html("Waits in “{}” for the outcome of what it does outside.", step), "outside")
    name, tone, sign = DELIVERIES[delivery.state]
    text = format_html("Waits in “{}” for {}, which is {}.", step, id_link(f"dlv_{delivery.pk}"), name.lower())
    meaning = MEANINGS.get(delivery.state, "")
    if delivery.due_at is not None:
        meaning = format_html("{} {} is due {}.", meaning, _next_of(delivery), moment(delivery.due_at))
    return Notice(tone, format_html("{} {}", text, meaning), sign)


def _next_of(delivery: Delivery) -> str:
    if delivery.state == "UNKNOWN":
        return "The next look"
    if not (delivery.attempts and delivery.error):
        return "The next try"
    return f"{delivery.attempts} {'try' if delivery.attempts == 1 else 'tries'} failed; the next"


def _due(run: Run, step: str, now: datetime) -> Notice:
    if run.due_at is None or run.due_at <= now:
        at = format_html(" and stands before “{}”", step) if step else ""
        return Notice(
            "run", format_html("Due since {}{}. The next free worker takes it.", moment(run.due_at), at), "open"
        )
    if run.attempt:
        text = format_html("Try {} of “{}” failed; the next is due {}.", run.attempt, step, _ahead(run.due_at, now))
        return Notice("wait", text, "hourglass")
    return Notice("wait", format_html("Waits in “{}” until {}.", step, _ahead(run.due_at, now)), "hourglass")


def _ahead(at: datetime | None, now: datetime) -> SafeString:
    if at is None:
        return SafeString("")
    if at <= now:
        return moment(at)
    return format_html("{} (in {})", moment(at), lasting(at - now))
