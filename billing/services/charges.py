"""Charges that we make through a gateway (ACT-05, DESIGN 5.3).

Before the gateway is asked, the charge is written down as a pending payment under the delivery's key. While it is pending or
unknown no other charge of the invoice begins and nobody settles the invoice in another way: a rule of the database. When the
outcome is known, the payment is decided, once, and its events are emitted; a charge that was not made leaves no payment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from accounts.clock import evaluation_now
from automations.engine.outcomes import Done, Failed, Outcome, Refused, Unknown
from automations.models import OPEN_STATES, Delivery
from billing.models import OPEN_PAYMENTS, UNPAID_INVOICES, Invoice, Payment, PaymentMethod, PaymentStatus
from billing.money import to_text
from billing.services.locking import hold_invoices
from billing.services.open_charges import open_charges
from billing.services.payments import Result, decide


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """What a step decided to charge: everything that was due of an invoice at that moment, in minor units."""

    workspace_id: int
    invoice_id: int
    amount: int
    currency: str
    run_id: int | None = None

    @property
    def invoice(self) -> str:
        """`inv_8`."""
        return f"inv_{self.invoice_id}"


@transaction.atomic
def begin_charge(order: ChargeOrder, key: str) -> Payment | Failed | Refused:
    """Re-read the invoice and write down the charge; the same key again finds the same payment, with the same method.
    `Refused` when the invoice is not what the step saw; `Failed` when there is nothing to charge."""
    invoice = hold_invoices([order.invoice_id]).get(order.invoice_id)
    known = Payment.objects.filter(workspace_id=order.workspace_id, key=key).select_related("method").first()
    if known is not None:
        return known
    refused = _settled(key) or _changed(order, invoice)
    if refused is not None or invoice is None:
        return refused or Refused("not_found", f"There is no invoice {order.invoice} any more.")
    method = _method(invoice)
    if method is None:
        return Failed(
            "no_payment_method", f"cus_{invoice.customer_id} has no payment method on file; add one, then try again."
        )
    now = evaluation_now()
    return Payment.objects.create(
        workspace_id=order.workspace_id,
        invoice=invoice,
        method=method,
        amount=invoice.amount_due,
        currency=invoice.currency,
        status=PaymentStatus.PENDING,
        key=key,
        created_at=now,
        updated_at=now,
    )


def _settled(key: str) -> Refused | None:
    """A worker that slept while another took its delivery over and settled it must not begin what was decided without it. Settling
    holds the invoice, which is held here."""
    if Delivery.objects.filter(key=key).exclude(state__in=OPEN_STATES).exists():
        return Refused("taken_over", "Another worker has settled this charge.")
    return None


def _changed(order: ChargeOrder, invoice: Invoice | None) -> Refused | None:
    """Why the invoice must not be charged as the step decided, None when it may."""
    if invoice is None or invoice.workspace_id != order.workspace_id:
        return Refused("not_found", f"There is no invoice {order.invoice} in this workspace.")
    if invoice.status not in UNPAID_INVOICES:
        return Refused("not_unpaid", f"{order.invoice} is {invoice.status}; it was not charged.")
    if invoice.amount_due != order.amount or invoice.currency != order.currency:
        due = f"{to_text(invoice.amount_due, invoice.currency)} {invoice.currency}"
        return Refused("amount_changed", f"{due} of {order.invoice} are due by now; it was not charged.")
    other = open_charges([invoice.pk]).get(invoice.pk)
    if other is not None:
        return Refused("charge_open", f"{other.public_id}, a charge of {order.invoice}, is not decided yet.")
    return None


def _method(invoice: Invoice) -> PaymentMethod | None:
    """The customer's default payment method."""
    return PaymentMethod.objects.filter(customer_id=invoice.customer_id, default=True).first()


@transaction.atomic
def settle_charge(order: ChargeOrder, outcome: Outcome, at: datetime) -> Outcome:
    """Write what became of a charge, once however often it is told; answers the outcome that the run sees."""
    hold_invoices([order.invoice_id])
    key = str(outcome.output.get("key", "")) if isinstance(outcome, Done) else ""
    payment = _payment(order, key)
    if payment is None:
        return outcome
    if isinstance(outcome, Done):
        if payment.status in OPEN_PAYMENTS:
            _decide(payment, order, outcome.output, at)
        return Done(_output(payment))
    if payment.status not in OPEN_PAYMENTS:
        return outcome
    if isinstance(outcome, Unknown):
        Payment.objects.filter(pk=payment.pk).update(status=PaymentStatus.UNKNOWN, updated_at=at)
    else:
        payment.delete()
    return outcome


def _payment(order: ChargeOrder, key: str) -> Payment | None:
    """The payment of this key; without one, the undecided charge that this run made of the invoice."""
    payments = Payment.objects.filter(workspace_id=order.workspace_id, invoice_id=order.invoice_id)
    if key:
        return payments.filter(key=key).first()
    mine = f".exec_{order.run_id}."
    return payments.filter(status__in=OPEN_PAYMENTS, key__contains=mine).first()


def _decide(payment: Payment, order: ChargeOrder, output: Any, at: datetime) -> None:
    invoice = hold_invoices([order.invoice_id])[order.invoice_id]
    paid = output.get("result") == "paid"
    result = Result(
        paid,
        "" if paid else str(output.get("failureCode") or "declined")[:100],
        "" if paid else str(output.get("failureReason") or "Declined")[:500],
        str(output.get("reference") or "")[:200],
    )
    decide(payment, invoice, result, order.run_id, at)


def _output(payment: Payment) -> dict[str, Any]:
    """What later steps read (CONTRACTS 9)."""
    return {
        "result": "paid" if payment.status == PaymentStatus.SUCCEEDED else "declined",
        "payment": payment.public_id,
        "failureReason": payment.failure_reason or None,
        "failureCode": payment.failure_code or None,
        "reference": payment.gateway_reference or None,
    }
