"""Deliveries as people see them, and what a person decides where nobody could tell (DESIGN 5.3, REVIEW)."""

from __future__ import annotations

from dataclasses import replace

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts.actor import Actor
from accounts.audit import record
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from automations.actions.send_email import send_email
from automations.engine.expressions import ExpressionError
from automations.engine.outcomes import Done, Failed, Outcome
from automations.engine.registry import registry
from automations.models import Delivery
from automations.worker.answers import encode, error_of
from automations.worker.bell import ring
from automations.worker.envelopes import from_json
from automations.worker.jobs import Job
from automations.worker.policy import Rules, Verdict, settled_state
from automations.worker.settle_runs import Settled, lock_runs, tell_runs


def deliveries(actor: Actor) -> QuerySet[Delivery]:
    """All of the workspace."""
    return Delivery.objects.filter(workspace_id=actor.workspace_id)


def find_delivery(actor: Actor, delivery_id: int) -> Delivery:
    """One of the workspace, else `not_found`."""
    found = deliveries(actor).filter(pk=delivery_id).first()
    if found is None:
        raise not_found("delivery", public_id("dlv", delivery_id))
    return found


def shown_body(delivery: Delivery) -> str | None:
    """The body of a mail as its recipient reads it, also before it is sent (EML-01); None for other kinds, for what was
    emptied, and for a text that cannot be rendered."""
    if delivery.action != send_email.key or not delivery.envelope.get("body"):
        return None
    (envelope,) = send_email.complete([(delivery.workspace_id, _job(delivery).envelope)])
    try:
        return send_email.html(envelope)
    except (ExpressionError, LookupError):
        return None


@transaction.atomic
def resolve_review(*, actor: Actor, delivery_id: int, happened: bool, note: str = "") -> Delivery:
    """A person has found out whether it took place. Its run, if it still waits, goes on with that; nothing is done
    again."""
    actor.require("operate")
    seen = find_delivery(actor, delivery_id)
    outcome: Outcome = (
        Done(_job(seen).envelope.output)
        if happened
        else Failed("not_delivered", note or "A person found that it did not take place.")
    )
    with connection.cursor() as cursor:
        runs = lock_runs(cursor, {seen.run_id})
        found = deliveries(actor).select_for_update(no_key=True).get(pk=delivery_id)
        if found.state != "REVIEW":
            raise Refusal(
                "wrong_state", f"dlv_{delivery_id} is {found.state}; only one in REVIEW is decided by a person."
            )
        job = _job(found)
        action = registry.actions.get(found.action)
        if action is not None and hasattr(action, "settle"):
            outcome = action.settle(job.envelope, outcome, found.created_at)
        found.state, found.outcome, found.error = settled_state(outcome), encode(outcome), error_of(outcome)
        found.save(update_fields=["state", "outcome", "error"])
        tell_runs(cursor, [Settled(job, Verdict(found.state, "", answer=outcome), found.error)], runs)
    record(actor, "delivery.resolve", public_id("dlv", delivery_id), {"state": "REVIEW"}, {"state": found.state})
    ring()
    return found


def _job(row: Delivery) -> Job:
    kept = {"kind": row.kind, "to": row.to, "subject": row.subject}
    flags = {"customer_mail": row.customer_mail, "waits": row.waits, "money": row.money}
    envelope = from_json(row.envelope, **kept, **flags)  # type: ignore[arg-type]  # texts and flags, each as it is named
    return Job(
        id=row.pk,
        workspace_id=row.workspace_id,
        run_id=row.run_id,
        visit=row.visit,
        key=row.key,
        step=row.step,
        action_key=row.action,
        state=row.state,
        fence=row.fence,
        attempts=row.attempts,
        customer_id=row.customer_id,
        envelope=replace(envelope),
        rules=Rules(row.retries, row.retry_delay, row.backoff, row.exact_waits, row.money),
        request_sha256=row.request_sha256,
        first_attempt_at=row.first_attempt_at,
        unknown_since=row.unknown_since,
        now=row.created_at,
        real=row.created_at,
    )
