"""Billing objects as plain data, read in bulk: what variables, snapshots and the API show (CONTRACTS 5, Fields).

Keys are camelCase, money is Decimal, an open invoice's status has its synonyms (C-14), ids are public ones. Each function takes ids
and answers with the records that exist, in a fixed number of queries however many ids there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Case, Q, Value, When

from accounts.clock import OnwardNow
from accounts.ids import optional_id
from accounts.models import Customer
from automations.engine.values import as_date, invoice_status
from billing.models import Invoice, InvoiceLine, Payment, Subscription, SubscriptionItem
from billing.money import to_decimal

Record = dict[str, Any]
Ids = Collection[int]

#: Subscriptions that will be invoiced again when their period ends, unless `cancel_at` is set.
RENEWING = frozenset({"trialing", "active", "past_due", "unpaid"})


def load_customers(ids: Ids) -> dict[int, Record]:
    """The customers of other records: their own columns, without tags and stages. One query."""
    return {row.pk: _customer(row) for row in Customer.objects.filter(pk__in=ids).select_related("owner")}


def _customer(row: Customer) -> Record:
    return {
        "id": f"cus_{row.pk}",
        "externalId": row.external_id or None,
        "name": row.name,
        "email": row.email,
        "segment": row.segment or None,
        "plan": row.plan or None,
        "country": row.country or None,
        "timeZone": row.time_zone or None,
        "createdAt": row.created_at,
        "owner": row.owner.email if row.owner else None,
        "metadata": row.metadata,
    }


def load_subscriptions(ids: Ids) -> dict[int, Record]:
    """Subscriptions with the products and the interval of their items. Two queries."""
    items: dict[int, list[SubscriptionItem]] = defaultdict(list)
    for item in SubscriptionItem.objects.filter(subscription_id__in=ids).select_related("price").order_by("id"):
        items[item.subscription_id].append(item)
    return {row.pk: subscription_record(row, items[row.pk]) for row in Subscription.objects.filter(pk__in=ids)}


def subscription_record(row: Subscription, items: Collection[SubscriptionItem]) -> Record:
    """One subscription; `interval` is that of its recurring prices, which agree (BIL-09)."""
    recurring = [item.price.interval for item in items if item.price.interval != "one_time"]
    return {
        "id": row.public_id,
        "status": row.status,
        "interval": recurring[0] if recurring else None,
        "products": list(dict.fromkeys(f"prod_{item.price.product_id}" for item in items)),
        "currentPeriodEnd": row.current_period_end,
        "trialEnd": row.trial_end,
        "cancelAt": row.cancel_at,
        "willRenew": row.cancel_at is None and row.status in RENEWING and bool(recurring),
        "metadata": row.metadata,
        "changedByRun": row.changed_by_run,
    }


def load_invoices(ids: Ids) -> dict[int, Record]:
    """Invoices with lines, customer and subscription. Five queries."""
    late = Case(When(Q(status="open", due_at__lte=OnwardNow()), then=Value(True)), default=Value(False))
    rows = list(Invoice.objects.filter(pk__in=ids).select_related("workspace").annotate(late=late))
    lines: dict[int, list[InvoiceLine]] = defaultdict(list)
    for line in InvoiceLine.objects.filter(invoice_id__in=ids).order_by("invoice_id", "position"):
        lines[line.invoice_id].append(line)
    customers = load_customers({row.customer_id for row in rows})
    subscriptions = load_subscriptions({row.subscription_id for row in rows if row.subscription_id})
    return {
        row.pk: {
            **_invoice(row),
            "lines": [_line(line, row.currency) for line in lines[row.pk]],
            "customer": customers.get(row.customer_id),
            "subscription": subscriptions.get(row.subscription_id or 0),
        }
        for row in rows
    }


def _invoice(row: Any) -> Record:
    total = to_decimal(row.total, row.currency)
    return {
        "id": row.public_id,
        "number": row.number or None,
        "status": invoice_status(row.status, row.late),
        "total": total,
        "amount": total,
        "amountPaid": to_decimal(row.amount_paid, row.currency),
        "amountDue": to_decimal(row.amount_due, row.currency),
        "currency": row.currency,
        "dueDate": due_date(row.due_at, row.workspace.time_zone),
        "isOverdue": row.late,
        "collectionMethod": row.collection_method,
        "autoAdvance": row.auto_advance,
        "attemptCount": row.attempt_count,
        "failedCount": row.failed_count,
        "nextPaymentAttempt": row.next_payment_attempt,
        "metadata": row.metadata,
        "changedByRun": row.changed_by_run,
    }


def due_date(due_at: datetime | None, zone: str) -> Any:
    """The calendar day of a due time in the workspace's zone."""
    return None if due_at is None else as_date(due_at, ZoneInfo(zone))


def _line(line: InvoiceLine, currency: str) -> Record:
    return {
        "description": line.description,
        "quantity": line.quantity,
        "amount": to_decimal(line.amount, currency),
        "productId": optional_id("prod", line.product_id),
    }


def load_payments(ids: Ids) -> dict[int, Record]:
    """Payments; `failureCount` is how often collecting this invoice has failed by now (VAR-12). One query."""
    rows = Payment.objects.filter(pk__in=ids).select_related("invoice")
    return {
        row.pk: {
            "id": row.public_id,
            "amount": to_decimal(row.amount, row.currency),
            "currency": row.currency,
            "status": row.status,
            "failureReason": row.failure_reason or None,
            "failureCode": row.failure_code or None,
            "failureCount": row.invoice.failed_count,
            "attempt": row.attempt,
        }
        for row in rows
    }


def without(record: Mapping[str, Any], *names: str) -> Record:
    """A copy that lacks these keys."""
    return {key: value for key, value in record.items() if key not in names}
