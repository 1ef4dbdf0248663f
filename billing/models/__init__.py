"""Tables of billing, the core (CONTRACTS 3)."""

from billing.models.base import CHARGE_AUTOMATICALLY, COLLECTION_METHODS, SEND_INVOICE, BillingObject
from billing.models.catalog import INTERVALS, Price, Product
from billing.models.invoice import (
    NOT_COLLECTED,
    UNPAID_INVOICES,
    Invoice,
    InvoiceCounter,
    InvoiceLine,
    InvoiceStatus,
)
from billing.models.payment import OPEN_PAYMENTS, Payment, PaymentMethod, PaymentStatus, TestCharge
from billing.models.subscription import ENDED_SUBSCRIPTIONS, Subscription, SubscriptionItem, SubscriptionStatus

__all__ = [
    "CHARGE_AUTOMATICALLY",
    "COLLECTION_METHODS",
    "ENDED_SUBSCRIPTIONS",
    "INTERVALS",
    "NOT_COLLECTED",
    "OPEN_PAYMENTS",
    "SEND_INVOICE",
    "UNPAID_INVOICES",
    "BillingObject",
    "Invoice",
    "InvoiceCounter",
    "InvoiceLine",
    "InvoiceStatus",
    "Payment",
    "PaymentMethod",
    "PaymentStatus",
    "Price",
    "Product",
    "Subscription",
    "SubscriptionItem",
    "SubscriptionStatus",
    "TestCharge",
]
