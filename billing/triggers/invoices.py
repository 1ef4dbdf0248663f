"""Triggers about invoices: TRG-04 to TRG-06, and the exclusive "Invoice is overdue" (TRG-28 to TRG-32)."""

from __future__ import annotations

from typing import Any

from automations.engine.kinds import End, EventFacts, Trigger
from billing.triggers.data import InvoiceData
from billing.triggers.samples import invoice_sample

#: What ends the runs of Stripe's triggers by itself (C-11). Marking uncollectible takes the invoice off automatic collection
#: too; that, and turning it off, do not count when the run itself did it (C-12).
COLLECTION_ENDS = (
    End("invoice.paid", "invoice_paid", 'invoice.status == "paid"'),
    End("invoice.voided", "invoice_voided", 'invoice.status == "void"'),
    End("invoice.updated", "auto_advance_off", "invoice.autoAdvance == false", own_effects=False),
    End("invoice.marked_uncollectible", "auto_advance_off", "invoice.autoAdvance == false", own_effects=False),
)


class InvoiceTrigger(Trigger):
    """Base: about an invoice, so billing continues when the customer unsubscribes from mail (C-15)."""

    group = "Invoices"
    subject = "invoice"
    provides = frozenset({"customer", "invoice", "subscription"})
    reentry_subject = "invoice"
    transactional = True
    Data = InvoiceData


class InvoiceIssued(InvoiceTrigger):
    """TRG-04."""

    key = "invoice.issued"
    label = "Invoice issued"
    hint = "A draft was finalised: the invoice has its number and can be paid."
    listens = ("invoice.issued",)
    sample = invoice_sample()


class InvoicePaid(InvoiceTrigger):
    """TRG-05."""

    key = "invoice.paid"
    label = "Invoice paid"
    hint = "Nothing is due any more. A receipt, a thank-you, an activation."
    listens = ("invoice.paid",)
    holds = 'invoice.status == "paid"'
    sample = invoice_sample(status="paid", amountPaid="129.00", amountDue="0.00", attemptCount=1, autoAdvance=False)


class InvoiceOverdue(InvoiceTrigger):
    """TRG-06. For all invoices; the exclusive trigger below only for those that are sent."""

    key = "invoice.overdue"
    label = "Invoice overdue"
    hint = "The due date has passed and the invoice is still open."
    listens = ("invoice.overdue",)
    holds = "invoice.isOverdue == true"
    sample = invoice_sample(isOverdue=True, dueDate="2026-11-19", collectionMethod="send_invoice")


class InvoiceVoided(InvoiceTrigger):
    """An issued invoice was cancelled for good."""

    key = "invoice.voided"
    label = "Invoice voided"
    hint = "The invoice was cancelled and is not to be paid."
    listens = ("invoice.voided",)
    holds = 'invoice.status == "void"'
    sample = invoice_sample(status="void", autoAdvance=False)


class InvoiceMarkedUncollectible(InvoiceTrigger):
    """An open invoice was written off."""

    key = "invoice.marked_uncollectible"
    label = "Invoice marked uncollectible"
    hint = "The invoice was written off; it may still be paid."
    listens = ("invoice.marked_uncollectible",)
    holds = 'invoice.status == "uncollectible"'
    sample = invoice_sample(status="uncollectible", autoAdvance=False)


class InvoiceUpdated(InvoiceTrigger):
    """Metadata, due date or automatic collection changed."""

    key = "invoice.updated"
    label = "Invoice updated"
    hint = "Its metadata, due date or automatic collection changed."
    listens = ("invoice.updated",)
    sample = invoice_sample(metadata={"po": "4711"})


class InvoiceIsOverdue(InvoiceTrigger):
    """Stripe's trigger: one automation by priority and filter, else the default settings (C-04)."""

    key = "billing.invoice_overdue"
    group = "Billing"
    label = "Invoice is overdue"
    hint = "For invoices that are sent to the customer. The first matching automation runs, else the default settings."
    listens = ("invoice.overdue",)
    dispatch = "exclusive"
    ends = COLLECTION_ENDS
    sample = invoice_sample(isOverdue=True, dueDate="2026-11-19", collectionMethod="send_invoice")

    def applies(self, event: EventFacts, parameters: Any) -> bool:
        """Only invoices that are sent (TRG-29)."""
        found = event.trigger.get("collectionMethod") or _invoice(event).get("collectionMethod")
        return bool(found == "send_invoice")


def _invoice(event: EventFacts) -> Any:
    return event.trigger.get("invoice") or {}


issued = InvoiceIssued()
paid = InvoicePaid()
overdue = InvoiceOverdue()
voided = InvoiceVoided()
uncollectible = InvoiceMarkedUncollectible()
updated = InvoiceUpdated()
is_overdue = InvoiceIsOverdue()
