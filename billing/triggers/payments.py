"""Triggers about payments: TRG-07, TRG-08, and the exclusive "Subscription payment fails" (TRG-33 to TRG-36)."""

from __future__ import annotations

from typing import Any

from automations.engine.kinds import EventFacts, Trigger
from billing.triggers.data import PaymentData
from billing.triggers.invoices import COLLECTION_ENDS
from billing.triggers.samples import payment_sample


class PaymentTrigger(Trigger):
    """Base: about a payment of an invoice; runs are told apart by the invoice."""

    group = "Payments"
    subject = "payment"
    provides = frozenset({"customer", "invoice", "subscription", "payment"})
    reentry_subject = "invoice"
    transactional = True
    Data = PaymentData


class PaymentFailed(PaymentTrigger):
    """TRG-07. In a report without a payment `failureCount` is that of the invoice (CONTRACTS 7)."""

    key = "payment.failed"
    label = "Payment failed"
    hint = "A try to collect an invoice failed, whichever it was. trigger.failureCount counts them."
    listens = ("payment.failed",)
    sample = payment_sample()
    derived = {"failureCount": "invoice.failedCount"}


class PaymentSucceeded(PaymentTrigger):
    """TRG-08."""

    key = "payment.succeeded"
    label = "Payment succeeded"
    hint = "Money came in for an invoice, in part or in full."
    listens = ("payment.succeeded",)
    sample = payment_sample(succeeded=True)


class SubscriptionPaymentFails(PaymentTrigger):
    """Stripe's trigger: the first failed attempt on an invoice of a subscription (TRG-33)."""

    key = "billing.subscription_payment_failed"
    group = "Billing"
    label = "Subscription payment fails"
    hint = "The first failed payment of a subscription's invoice. The first matching automation runs, else the default settings."
    listens = ("payment.failed",)
    dispatch = "exclusive"
    ends = COLLECTION_ENDS
    sample = payment_sample()
    derived = {"failureCount": "invoice.failedCount"}

    def applies(self, event: EventFacts, parameters: Any) -> bool:
        """Later attempts and invoices without a subscription start nothing."""
        return "subscription" in event.subjects and attempt_of(event) == 1


def attempt_of(event: EventFacts) -> int | None:
    """Which attempt it was: as the event says, in a report without it by its failure count; None when nothing says so."""
    for name in ("attempt", "failureCount"):
        value = event.trigger.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


failed = PaymentFailed()
succeeded = PaymentSucceeded()
subscription_payment_fails = SubscriptionPaymentFails()
