"""The root `subscription` and the query `subscriptions` (BIL-09, STP-24)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from automations.engine.kinds import Query, Root
from billing.models import Subscription
from billing.records import load_subscriptions
from billing.roots.fields import SubscriptionFields
from billing.roots.finding import Ref, resolve

SUBJECTS = {"subscription": "id", "customer": "customer_id"}


class SubscriptionRoot(Root):
    """A subscription as it is at the moment of use."""

    name = "subscription"
    label = "Subscription"
    prefix = "sub"
    subject = "subscription"
    Fields = SubscriptionFields

    def load(self, ids: Collection[int]) -> Mapping[int, Mapping[str, Any]]:
        """Two queries."""
        return load_subscriptions(ids)

    def resolve(self, workspace_id: int, refs: Sequence[Ref]) -> Sequence[Mapping[str, int] | None]:
        """A subscription brings its customer."""
        return resolve(Subscription, workspace_id, refs, SUBJECTS)


class Subscriptions(Query):
    """All subscriptions of a workspace."""

    name = "subscriptions"
    root = "subscription"

    def page(self, workspace_id: int, after: int, limit: int) -> Sequence[Mapping[str, int]]:
        """By the index `subscription_list`."""
        rows = Subscription.objects.filter(workspace_id=workspace_id, pk__gt=after).order_by("pk")
        return [{"subscription": pk, "customer": owner} for pk, owner in rows.values_list("id", "customer_id")[:limit]]


subscription = SubscriptionRoot()
subscriptions = Subscriptions()
