"""What time alone does to subscriptions: trials end and become active, those set to end with their period are cancelled
(REQUIREMENTS 4.2, TRG-09, TRG-10)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.clock import OnwardNow, evaluation_now
from billing.models import ENDED_SUBSCRIPTIONS, Subscription, SubscriptionItem
from billing.services.emit import Happening, emit, of_invoice, of_subscription
from billing.services.facts import refresh_subscription_status
from billing.services.locking import hold_customers, hold_subscriptions
from billing.services.subscriptions import cancel_many, change_status, period_end

BATCH = 500


def _waiting() -> QuerySet[Subscription]:
    """Subscriptions that time will change, by the index `subscription_turning`."""
    turning = Q(cancel_at__isnull=False) | Q(status="trialing")
    return Subscription.objects.exclude(status__in=ENDED_SUBSCRIPTIONS).filter(turning)


def sweep_subscriptions(limit: int = BATCH) -> int:
    """Up to `limit` of them, in one transaction; answers how many changed. Subscriptions of customers that somebody else is
    changing are left to the next sweep."""
    with transaction.atomic():
        due = _waiting().filter(Q(cancel_at__lte=OnwardNow()) | Q(status="trialing", trial_end__lte=OnwardNow()))
        pairs = list(due.order_by("pk").values_list("pk", "customer_id")[:limit])
        free = hold_customers({customer for _, customer in pairs}, skip_locked=True)
        held = hold_subscriptions([pk for pk, customer in pairs if customer in free])
        now = evaluation_now()
        ending = [row for row in held.values() if _ends(row, now)]
        active = [row for row in held.values() if row not in ending and _trial_is_over(row, now)]
        happenings = [*_end(ending, now), *_activate(active, now)]
        refresh_subscription_status({row.customer_id for row in (*ending, *active)})
        emit(happenings, now)
    return len(ending) + len(active)


def next_turn() -> datetime | None:
    """When the next subscription changes by itself (`work --through`)."""
    waiting = _waiting()
    found = [
        waiting.filter(cancel_at__isnull=False).order_by("cancel_at").values_list("cancel_at", flat=True).first(),
        waiting.filter(status="trialing").order_by("trial_end").values_list("trial_end", flat=True).first(),
    ]
    return min((moment for moment in found if moment is not None), default=None)


def _ends(row: Subscription, now: datetime) -> bool:
    """Judged again under the lock."""
    return row.status not in ENDED_SUBSCRIPTIONS and row.cancel_at is not None and row.cancel_at <= now


def _trial_is_over(row: Subscription, now: datetime) -> bool:
    return row.status == "trialing" and row.trial_end is not None and row.trial_end <= now


def _end(rows: Sequence[Subscription], now: datetime) -> list[Happening]:
    invoices = cancel_many(rows, None, now)
    return [
        *(of_subscription(row, "canceled", None) for row in rows),
        *(of_invoice(invoice, "updated", None, again=True) for invoice in invoices),
    ]


def _activate(rows: Sequence[Subscription], now: datetime) -> list[Happening]:
    """The first paid period begins when the trial ends."""
    items: dict[int, list[SubscriptionItem]] = {row.pk: [] for row in rows}
    for item in SubscriptionItem.objects.filter(subscription_id__in=items).select_related("price"):
        items[item.subscription_id].append(item)
    for row in rows:
        row.current_period_start = row.trial_end or now
        row.current_period_end = period_end([item.price for item in items[row.pk]], row.current_period_start)
        change_status(row, "active", None, now)
    fields = ["status", "current_period_start", "current_period_end", "changed_by_run", "revision", "updated_at"]
    Subscription.objects.bulk_update(rows, fields)
    return [of_subscription(row, "activated", None) for row in rows]
