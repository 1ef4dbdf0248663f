"""What billing tells about a customer: `subscriptionStatus` among the customer's facts (CND-23, BIL-13)."""

from __future__ import annotations

from collections.abc import Collection

from accounts.services.customers import merge_facts
from billing.models import Subscription

#: With several subscriptions the customer has the best of their statuses.
BEST_FIRST = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete", "canceled", "incomplete_expired")


def refresh_subscription_status(customer_ids: Collection[int]) -> None:
    """Keep the fact of these customers equal to their subscriptions: one query, and one statement per workspace."""
    best: dict[int, dict[int, str]] = {}
    rows = Subscription.objects.filter(customer_id__in=customer_ids).order_by("customer_id")
    for workspace, customer, status in rows.values_list("workspace_id", "customer_id", "status"):
        known = best.setdefault(workspace, {})
        known[customer] = min(known.get(customer, status), status, key=BEST_FIRST.index)
    for workspace, statuses in best.items():
        facts = {customer: {"subscriptionStatus": status} for customer, status in sorted(statuses.items())}
        merge_facts(workspace_id=workspace, facts=facts)
