"""Retry payment: charge what is due of an unpaid invoice, once (ACT-05, C-24, DESIGN 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from accounts.ids import read_id
from automations.engine.kinds import Charge, Config, Envelope, Gateway, OutsideAction
from automations.engine.outcomes import Done, Failed, Outcome, Refused
from automations.engine.registry import registry
from automations.engine.scope import Scope
from automations.engine.values import StatusText
from billing.models import UNPAID_INVOICES, Payment
from billing.money import to_minor, to_text
from billing.services.charges import ChargeOrder, begin_charge, settle_charge


class RetryPaymentOutput(Config):
    """A declined card is a result, not an error; `refused` means that the invoice was not charged because it had changed."""

    result: Literal["paid", "declined", "refused"] = Field(title="Result")
    payment: str | None = Field(None, title="Payment id")
    failure_reason: str | None = Field(None, alias="failureReason", title="Why it was declined")
    failure_code: str | None = Field(None, alias="failureCode", title="Failure code")
    reference: str | None = Field(None, title="Reference at the gateway")


class RetryPayment(OutsideAction):
    """Charges the default payment method of the invoice's customer. Never repeated by itself: the built-in policy for money is
    no retry, and an explicit one keeps the key."""

    key = "retry_payment"
    label = "Retry payment"
    help = "Charges what is due of the invoice to the customer's default payment method, once."
    group = "Billing"
    icon = "card"
    Output = RetryPaymentOutput
    subjects = frozenset({"invoice"})
    money = True

    def prepare(self, config: Any, scope: Scope) -> Envelope | Outcome:
        """What is due now. A paid or void invoice is `refused`; it is looked at again when the charge is made."""
        invoice_id = scope.subjects.get("invoice")
        invoice = scope.read(("invoice",))
        if invoice_id is None or not isinstance(invoice, Mapping):
            return Failed("subject_missing", "This run is about no invoice, so there is nothing to charge.")
        status = invoice["status"]
        stored = status.stored if isinstance(status, StatusText) else status
        if stored not in UNPAID_INVOICES:
            return Refused("not_unpaid", f"{invoice['id']} is {stored}; there is nothing to charge.")
        currency = invoice["currency"]
        amount = to_minor(invoice["amountDue"], currency, "amountDue")
        return Envelope(
            kind="charge",
            body={
                "workspace": scope.workspace_id,
                "invoice": invoice_id,
                "amount": amount,
                "currency": currency,
                "run": read_id("exec", str(scope.run.get("id", ""))),
            },
            input={"invoice": invoice["id"], "amount": to_text(amount, currency), "currency": currency},
            subjects=dict(scope.subjects),
            money=True,
        )

    def perform(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        """Write the charge down under the key, then ask the gateway."""
        payment = begin_charge(order_of(envelope), key)
        if not isinstance(payment, Payment):
            return payment
        gateway = gateway_of(payment)
        if gateway is None or payment.method is None:
            message = f"The gateway behind {payment.public_id} is not installed any more."
            return Failed("gateway_missing", message, temporary=True)  # which says nothing about an earlier try
        charge = Charge(
            amount=payment.amount,
            currency=payment.currency,
            reference=payment.method.reference,
            invoice=payment.invoice_id,
            metadata={"key": key},
        )
        return _keyed(gateway.charge(charge, key), key)

    def find(self, envelope: Envelope, key: str) -> Outcome | None:
        """What the gateway knows of the key; None also when it was never asked."""
        order = order_of(envelope)
        payment = Payment.objects.filter(workspace_id=order.workspace_id, key=key).select_related("method").first()
        gateway = gateway_of(payment) if payment is not None else None
        return _keyed(gateway.find(key), key) if gateway is not None else None

    def settle(self, envelope: Envelope, outcome: Outcome, at: datetime) -> Outcome:
        """Decide the payment, in the settling transaction."""
        return settle_charge(order_of(envelope), outcome, at)


def order_of(envelope: Envelope) -> ChargeOrder:
    """What the step decided to charge."""
    body = envelope.body
    return ChargeOrder(body["workspace"], body["invoice"], body["amount"], body["currency"], body["run"])


def gateway_of(payment: Payment) -> Gateway | None:
    """The gateway of a payment's method."""
    return registry.gateways.get(payment.method.gateway) if payment.method is not None else None


def _keyed(outcome: Any, key: str) -> Any:
    """Add the key to a result, so that settling finds the payment it belongs to."""
    return Done({**outcome.output, "key": key}) if isinstance(outcome, Done) else outcome


action = RetryPayment()
