"""Payments: what came in or failed changes the invoice, and the change emits the events, all in one transaction (ACT-05, BIL-03).

A payment recorded by a person or program happened elsewhere. A charge that we make ourselves goes through `charges`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from accounts import audit
from accounts.actor import Actor
from accounts.clock import evaluation_now
from accounts.errors import invalid, not_found
from billing.models import UNPAID_INVOICES, Invoice, InvoiceStatus, Payment, PaymentStatus, Subscription
from billing.money import read_amount, to_text
from billing.services.checks import changed_metadata, clean_external_id, insert, wrong_state
from billing.services.emit import Happening, emit, of_payment, of_subscription
from billing.services.facts import refresh_subscription_status
from billing.services.invoices import mark_paid, touch
from billing.services.locking import hold_invoices
from billing.services.open_charges import charge_open, left_to_people, open_charges
from billing.services.subscriptions import activation, change_status


@dataclass(frozen=True, slots=True)
class Result:
    """How a try ended: `failure_code` and `failure_reason` only when it failed."""

    succeeded: bool
    failure_code: str = ""
    failure_reason: str = ""
    gateway_reference: str = ""


@transaction.atomic
def record_payment(
    *,
    actor: Actor,
    invoice_id: int,
    status: str,
    amount: str | Decimal | int | None = None,
    failure_code: str = "",
    failure_reason: str = "",
    external_id: str = "",
    metadata: Any = None,
) -> Payment:
    """Record a payment made, or tried, elsewhere. Without an amount it is all that is due; less is a partial payment.
    Emits `payment.succeeded` or `payment.failed`, and `invoice.paid` when nothing is due any more. Refusal `wrong_state` unless
    the invoice is open or uncollectible, and while a charge of ours is under way; one that was left to a person is decided by
    what that person records."""
    actor.require("billing")
    if status not in (PaymentStatus.SUCCEEDED, PaymentStatus.FAILED):
        raise invalid("status", "write succeeded or failed.")
    invoice = hold_payable(actor.workspace_id, invoice_id)
    now = evaluation_now()
    payment = _reviewed(invoice, actor) or Payment(invoice=invoice, workspace_id=actor.workspace_id, created_at=now)
    payment.amount = _amount(invoice, amount)
    payment.currency = invoice.currency
    payment.external_id = clean_external_id(external_id)
    payment.metadata = changed_metadata({}, metadata)
    failed = status == PaymentStatus.FAILED
    result = Result(not failed, _short(failure_code, 100, failed), _short(failure_reason, 500, failed))
    decide(payment, invoice, result, actor.run_id, now)
    audit.record(actor, "payment.record", payment.public_id, after={"invoice": invoice.public_id, "status": status})
    return payment


def pay_invoice(*, actor: Actor, invoice_id: int, amount: str | Decimal | int | None = None) -> Payment:
    """Money came in by another way: `record_payment` of a success."""
    return record_payment(actor=actor, invoice_id=invoice_id, status="succeeded", amount=amount)


def hold_payable(workspace_id: int, invoice_id: int) -> Invoice:
    """The invoice, locked with its customer and subscription. Refusal unless it can be paid."""
    invoice = hold_invoices([invoice_id]).get(invoice_id)
    if invoice is None or invoice.workspace_id != workspace_id:
        raise not_found("invoice", f"inv_{invoice_id}")
    if invoice.status not in UNPAID_INVOICES:
        help = "finalise it first" if invoice.status == "draft" else "nothing is to be paid"
        raise wrong_state(f"{invoice.public_id} is {invoice.status}: {help}.", status=invoice.status)
    return invoice


def _reviewed(invoice: Invoice, actor: Actor) -> Payment | None:
    """A charge of ours that was left to people: what a person records decides it. Refusal while another is under way."""
    payment = open_charges([invoice.pk]).get(invoice.pk)
    if payment is None:
        return None
    if actor.run_id is not None or not left_to_people(payment):
        raise charge_open(invoice, payment)
    return payment


def _amount(invoice: Invoice, amount: str | Decimal | int | None) -> int:
    if amount is None:
        return invoice.amount_due
    minor = read_amount(amount, invoice.currency)
    if not 0 < minor <= invoice.amount_due:
        due = to_text(invoice.amount_due, invoice.currency)
        raise invalid("amount", f"{due} {invoice.currency} are due; record more than zero and no more than that.")
    return minor


def _short(text: str, longest: int, failed: bool) -> str:
    if text and not failed:
        raise invalid("failureCode", "a payment that succeeded has no reason to have failed.")
    if len(text) > longest or "\0" in text:
        raise invalid("failureCode", f"write at most {longest} characters.")
    return text


def decide(payment: Payment, invoice: Invoice, result: Result, cause: int | None, now: datetime) -> None:
    """Write the result of a try: the payment with the number of its attempt, the counters of its locked invoice and what is paid
    of it, the subscription that follows, and their events."""
    invoice.attempt_count += 1
    payment.attempt = invoice.attempt_count
    payment.status = PaymentStatus.SUCCEEDED if result.succeeded else PaymentStatus.FAILED
    payment.failure_code, payment.failure_reason = result.failure_code, result.failure_reason
    payment.gateway_reference = result.gateway_reference
    payment.decided_at = payment.updated_at = now
    paid = _count(payment, invoice, cause, now)
    followed = _follow(invoice, cause, now)
    if payment.pk is None:
        insert(payment)
    else:
        payment.save()
    invoice.save()
    emit([of_payment(payment, invoice, cause), *paid, *followed], now)


def _count(payment: Payment, invoice: Invoice, cause: int | None, now: datetime) -> list[Happening]:
    """Add the try to its invoice; `invoice.paid` when nothing is due any more."""
    if payment.status == PaymentStatus.FAILED:
        invoice.failed_count += 1
        touch(invoice, now)
        return []
    invoice.amount_paid += payment.amount
    if invoice.amount_due:
        touch(invoice, now)
        return []
    payment.settles = True
    return [mark_paid(invoice, cause, now)]


def _follow(invoice: Invoice, cause: int | None, now: datetime) -> list[Happening]:
    """The subscription follows its invoice (REQUIREMENTS 4.2): a failed payment makes an active one past due, payment of
    the last one in arrears makes it active."""
    if invoice.subscription is None:
        return []
    before = invoice.subscription.status
    after = _status_after(invoice, invoice.subscription)
    return follow_to(invoice.subscription, after, cause, now) if after != before else []


def _status_after(invoice: Invoice, subscription: Subscription) -> str:
    if invoice.status == InvoiceStatus.PAID and subscription.status in ("past_due", "unpaid", "incomplete"):
        return subscription.status if _other_arrears(invoice) else "active"
    if invoice.status == InvoiceStatus.OPEN and invoice.failed_count and subscription.status == "active":
        return "past_due"
    return str(subscription.status)


def _other_arrears(invoice: Invoice) -> bool:
    """Whether another invoice of the subscription is unpaid after a failed payment or its due date."""
    others = Invoice.objects.filter(subscription=invoice.subscription, status__in=UNPAID_INVOICES)
    late = Q(failed_count__gt=0) | Q(overdue_at__isnull=False)
    return others.exclude(pk=invoice.pk).filter(late).exists()


def follow_to(subscription: Subscription, status: str, cause: int | None, now: datetime) -> list[Happening]:
    """Set the status of a locked subscription, save it and its customer's fact; answers its event."""
    transition = activation(subscription.status) if status == "active" else "updated"
    change_status(subscription, status, cause, now)
    subscription.save()
    refresh_subscription_status({subscription.customer_id})
    return [of_subscription(subscription, transition, cause)]
