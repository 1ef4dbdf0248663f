"""Declared fields of `trigger.*` for billing's triggers (CONTRACTS 7, Snapshot)."""

from __future__ import annotations

from pydantic import Field

from automations.roots.customer import CustomerFields
from billing.roots.fields import InvoiceFields, PaymentFields, SubscriptionFields


class InvoiceData(InvoiceFields):
    """The invoice's fields on top, the objects as they were below."""

    invoice: InvoiceFields = Field(title="Invoice")
    account_owner: str | None = Field(None, title="Account owner's e-mail")


class PaymentData(PaymentFields):
    """The payment's fields on top."""

    customer: CustomerFields = Field(title="Customer")
    invoice: InvoiceFields = Field(title="Invoice")
    subscription: SubscriptionFields | None = Field(None, title="Subscription")
    payment: PaymentFields | None = Field(None, title="Payment")
    account_owner: str | None = Field(None, title="Account owner's e-mail")


class SubscriptionData(SubscriptionFields):
    """The subscription's fields on top."""

    customer: CustomerFields = Field(title="Customer")
    subscription: SubscriptionFields = Field(title="Subscription")
    account_owner: str | None = Field(None, title="Account owner's e-mail")
