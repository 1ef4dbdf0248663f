"""Billing's objects as the API shows them: the fields of the variables (CONTRACTS 5), with what a program needs beside them.

The serializers describe them in the OpenAPI document; the functions write a page at a time, in a fixed number of queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from accounts.api.serializers import stamp
from accounts.ids import optional_id
from automations.engine.registry import registry
from automations.engine.values import plain
from billing.models import (
    COLLECTION_METHODS,
    INTERVALS,
    BillingObject,
    Invoice,
    InvoiceStatus,
    Payment,
    PaymentMethod,
    PaymentStatus,
    Price,
    Product,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from billing.money import to_text
from billing.records import load_customers, load_invoices, load_payments, load_subscriptions, without

Shown = dict[str, Any]


class ObjectOut(serializers.Serializer[Any]):
    """What all of them have."""

    id = serializers.CharField()
    externalId = serializers.CharField(allow_null=True)
    metadata = serializers.DictField(child=serializers.CharField())
    createdAt = serializers.CharField()
    updatedAt = serializers.CharField()


class BuyerOut(serializers.Serializer[Any]):
    """The customer that an invoice or subscription belongs to."""

    id = serializers.CharField()
    externalId = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    email = serializers.CharField()
    segment = serializers.CharField(allow_null=True)
    plan = serializers.CharField(allow_null=True)
    country = serializers.CharField(allow_null=True)
    timeZone = serializers.CharField(allow_null=True)
    createdAt = serializers.CharField()
    owner = serializers.CharField(allow_null=True)
    metadata = serializers.DictField(child=serializers.CharField())


class ProductOut(ObjectOut):
    """A product."""

    name = serializers.CharField()


class PriceOut(ObjectOut):
    """A price."""

    product = serializers.CharField()
    amount = serializers.CharField()
    currency = serializers.CharField()
    interval = serializers.ChoiceField(choices=INTERVALS)


class PaymentMethodOut(ObjectOut):
    """A payment method on file. `test` is true for one of the test gateway: no money moves."""

    customer = serializers.CharField()
    gateway = serializers.CharField()
    card = serializers.CharField()
    default = serializers.BooleanField()
    test = serializers.BooleanField()


class SubscriptionFactsOut(serializers.Serializer[Any]):
    """What variables read of a subscription."""

    id = serializers.CharField()
    status = serializers.ChoiceField(choices=SubscriptionStatus.values)
    interval = serializers.CharField(allow_null=True)
    products = serializers.ListField(child=serializers.CharField())
    currentPeriodEnd = serializers.CharField()
    trialEnd = serializers.CharField(allow_null=True)
    cancelAt = serializers.CharField(allow_null=True)
    willRenew = serializers.BooleanField()
    metadata = serializers.DictField(child=serializers.CharField())


class ItemOut(serializers.Serializer[Any]):
    """A price of a subscription."""

    price = serializers.CharField()
    product = serializers.CharField()
    quantity = serializers.IntegerField()


class SubscriptionOut(ObjectOut, SubscriptionFactsOut):
    """A subscription."""

    customer = BuyerOut()
    items = ItemOut(many=True)
    collectionMethod = serializers.ChoiceField(choices=COLLECTION_METHODS)
    currentPeriodStart = serializers.CharField()
    canceledAt = serializers.CharField(allow_null=True)


class LineOut(serializers.Serializer[Any]):
    """A line; `amount` is that of the whole line."""

    description = serializers.CharField()
    quantity = serializers.IntegerField()
    amount = serializers.CharField()
    productId = serializers.CharField(allow_null=True)


class InvoiceOut(ObjectOut):
    """An invoice. `dueDate` is the day where the workspace is, `dueAt` the moment."""

    number = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=InvoiceStatus.values)
    total = serializers.CharField()
    amount = serializers.CharField()
    amountPaid = serializers.CharField()
    amountDue = serializers.CharField()
    currency = serializers.CharField()
    dueDate = serializers.CharField(allow_null=True)
    dueAt = serializers.CharField(allow_null=True)
    isOverdue = serializers.BooleanField()
    collectionMethod = serializers.ChoiceField(choices=COLLECTION_METHODS)
    autoAdvance = serializers.BooleanField()
    attemptCount = serializers.IntegerField()
    failedCount = serializers.IntegerField()
    nextPaymentAttempt = serializers.CharField(allow_null=True)
    lines = LineOut(many=True)
    customer = BuyerOut()
    subscription = SubscriptionFactsOut(allow_null=True)
    finalizedAt = serializers.CharField(allow_null=True)
    paidAt = serializers.CharField(allow_null=True)
    voidedAt = serializers.CharField(allow_null=True)
    markedUncollectibleAt = serializers.CharField(allow_null=True)
    overdueAt = serializers.CharField(allow_null=True)


class PaymentOut(ObjectOut):
    """A payment: a try to collect money."""

    invoice = serializers.CharField()
    paymentMethod = serializers.CharField(allow_null=True)
    amount = serializers.CharField()
    currency = serializers.CharField()
    status = serializers.ChoiceField(choices=PaymentStatus.values)
    failureReason = serializers.CharField(allow_null=True)
    failureCode = serializers.CharField(allow_null=True)
    failureCount = serializers.IntegerField()
    attempt = serializers.IntegerField(allow_null=True)


def _object(row: BillingObject) -> Shown:
    return {
        "id": row.public_id,
        "externalId": row.external_id or None,
        "metadata": row.metadata,
        "createdAt": stamp(row.created_at),
        "updatedAt": stamp(row.updated_at),
    }


def products(rows: Sequence[Product]) -> list[Shown]:
    """A page of products, no further query."""
    return [{**_object(row), "name": row.name} for row in rows]


def prices(rows: Sequence[Price]) -> list[Shown]:
    """A page of prices, no further query."""
    return [
        {
            **_object(row),
            "product": f"prod_{row.product_id}",
            "amount": to_text(row.amount, row.currency),
            "currency": row.currency,
            "interval": row.interval,
        }
        for row in rows
    ]


def payment_methods(rows: Sequence[PaymentMethod]) -> list[Shown]:
    """A page of payment methods, no further query."""
    return [
        {
            **_object(row),
            "customer": f"cus_{row.customer_id}",
            "gateway": row.gateway,
            "card": row.reference,
            "default": row.default,
            "test": bool(getattr(registry.gateways.get(row.gateway), "test", False)),
        }
        for row in rows
    ]


def subscriptions(rows: Sequence[Subscription]) -> list[Shown]:
    """A page of subscriptions; four further queries."""
    facts = load_subscriptions([row.pk for row in rows])
    customers = load_customers({row.customer_id for row in rows})
    items: dict[int, list[Shown]] = {row.pk: [] for row in rows}
    for item in SubscriptionItem.objects.filter(subscription_id__in=items).select_related("price").order_by("pk"):
        items[item.subscription_id].append(
            {"price": f"price_{item.price_id}", "product": f"prod_{item.price.product_id}", "quantity": item.quantity}
        )
    return [
        {
            **plain(without(facts[row.pk], "changedByRun")),
            **_object(row),
            "customer": plain(customers[row.customer_id]),
            "items": items[row.pk],
            "collectionMethod": row.collection_method,
            "currentPeriodStart": stamp(row.current_period_start),
            "canceledAt": stamp(row.canceled_at),
        }
        for row in rows
    ]


def invoices(rows: Sequence[Invoice]) -> list[Shown]:
    """A page of invoices; five further queries."""
    records = load_invoices([row.pk for row in rows])
    return [_invoice(row, records[row.pk]) for row in rows]


def _invoice(row: Invoice, record: Shown) -> Shown:
    shown: Shown = plain(without(record, "changedByRun"))
    if shown["subscription"] is not None:
        shown["subscription"] = without(shown["subscription"], "changedByRun")
    return {
        **shown,
        **_object(row),
        "dueAt": stamp(row.due_at),
        "finalizedAt": stamp(row.finalized_at),
        "paidAt": stamp(row.paid_at),
        "voidedAt": stamp(row.voided_at),
        "markedUncollectibleAt": stamp(row.marked_uncollectible_at),
        "overdueAt": stamp(row.overdue_at),
    }


def payments(rows: Sequence[Payment]) -> list[Shown]:
    """A page of payments; one further query."""
    records = load_payments([row.pk for row in rows])
    return [
        {
            **plain(records[row.pk]),
            **_object(row),
            "invoice": f"inv_{row.invoice_id}",
            "paymentMethod": optional_id("pm", row.method_id),
        }
        for row in rows
    ]
