"""Events of billing's own changes: emitted by guarded transitions only, in their transaction, each under a key of object,
transition and attempt, so that no occurrence is told twice (DESIGN 5.1, CONTRACTS 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from automations.services.events import NewEvent, record_events
from billing.models import Invoice, Payment, Subscription

SOURCE = "billing"


@dataclass(frozen=True, slots=True)
class Happening:
    """One transition of one object, brought about by the run `cause`, if any."""

    name: str
    key: str
    workspace_id: int
    subjects: Mapping[str, int]
    cause: int | None = None


def of_invoice(invoice: Invoice, transition: str, cause: int | None, again: bool = False) -> Happening:
    """`invoice.<transition>`. `again`: it may happen more than once, so the key carries the revision."""
    key = f"{invoice.public_id}:{transition}" + (f":{invoice.revision}" if again else "")
    return Happening(f"invoice.{transition}", key, invoice.workspace_id, invoice_subjects(invoice), cause)


def of_payment(payment: Payment, invoice: Invoice, cause: int | None) -> Happening:
    """`payment.succeeded` or `payment.failed`, keyed by the invoice and the number of its attempt."""
    key = f"{invoice.public_id}:payment_{payment.status}:{payment.attempt}"
    subjects = {**invoice_subjects(invoice), "payment": payment.pk}
    return Happening(f"payment.{payment.status}", key, invoice.workspace_id, subjects, cause)


def of_subscription(subscription: Subscription, transition: str, cause: int | None) -> Happening:
    """`subscription.<transition>`, keyed by the revision."""
    key = f"{subscription.public_id}:{transition}:{subscription.revision}"
    subjects = {"customer": subscription.customer_id, "subscription": subscription.pk}
    return Happening(f"subscription.{transition}", key, subscription.workspace_id, subjects, cause)


def invoice_subjects(invoice: Invoice) -> dict[str, int]:
    """What an event of this invoice is about."""
    subjects = {"customer": invoice.customer_id, "invoice": invoice.pk}
    return subjects | ({"subscription": invoice.subscription_id} if invoice.subscription_id else {})


def emit(happenings: Sequence[Happening], at: datetime) -> None:
    """Record them in order, in the caller's transaction, after all rows are written: the snapshots show the objects as the
    change left them. A fixed number of statements."""
    events = [
        NewEvent(
            workspace_id=happening.workspace_id,
            name=happening.name,
            source=SOURCE,
            key=happening.key,
            subjects=happening.subjects,
            payload={},
            occurred_at=at,
            cause_run=happening.cause,
        )
        for happening in happenings
    ]
    record_events(events)
