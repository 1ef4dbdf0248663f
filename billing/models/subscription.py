"""Subscriptions and what they consist of (BIL-09)."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from billing.models.base import (
    CHARGE_AUTOMATICALLY,
    COLLECTION_METHODS,
    BillingObject,
    external_id_unique,
    newest_first,
)
from billing.models.catalog import Price


class SubscriptionStatus(models.TextChoices):
    """The statuses of Stripe. `canceled` and `incomplete_expired` are final."""

    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    CANCELED = "canceled"
    UNPAID = "unpaid"
    PAUSED = "paused"


#: Nothing leads out of these.
ENDED_SUBSCRIPTIONS = ("canceled", "incomplete_expired")


class Subscription(BillingObject):
    """A customer's standing order. `changed_by_run`: the run that last changed its status (C-12), null: somebody."""

    id_prefix = "sub"

    customer = models.ForeignKey("accounts.Customer", models.PROTECT, related_name="subscriptions", db_index=False)
    status = models.CharField(max_length=18, choices=SubscriptionStatus)
    collection_method = models.CharField(max_length=20, default=CHARGE_AUTOMATICALLY)
    current_period_start = models.DateTimeField()
    current_period_end = models.DateTimeField()
    trial_end = models.DateTimeField(null=True)
    cancel_at = models.DateTimeField(null=True)  # set: ends then and does not renew
    canceled_at = models.DateTimeField(null=True)
    changed_by_run = models.BigIntegerField(null=True)
    revision = models.PositiveIntegerField(default=0)  # transitions so far; part of the keys of its events

    class Meta:
        constraints = [
            external_id_unique("subscription"),
            models.CheckConstraint(condition=Q(status__in=SubscriptionStatus.values), name="subscription_status_known"),
            models.CheckConstraint(
                condition=Q(collection_method__in=COLLECTION_METHODS), name="subscription_collection_known"
            ),
            models.CheckConstraint(
                condition=Q(current_period_end__gt=F("current_period_start")), name="subscription_period_order"
            ),
            models.CheckConstraint(
                condition=Q(status="canceled", canceled_at__isnull=False)
                | (~Q(status="canceled") & Q(canceled_at__isnull=True)),
                name="subscription_canceled_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(status="trialing") | Q(trial_end__isnull=False), name="subscription_trial_has_end"
            ),
        ]
        indexes = [
            newest_first("subscription"),
            # services/endings.py: what time alone will change
            models.Index(
                fields=["cancel_at", "trial_end"],
                condition=~Q(status__in=ENDED_SUBSCRIPTIONS) & (Q(cancel_at__isnull=False) | Q(status="trialing")),
                name="subscription_turning",
            ),
            # the customer's `subscriptionStatus`, and the customer's page
            models.Index(fields=["customer", "id"], name="subscription_of_customer"),
        ]


class SubscriptionItem(models.Model):
    """One price of a subscription, so many times."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="items", db_index=False)
    price = models.ForeignKey(Price, models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            # also serves the items of a page of subscriptions
            models.UniqueConstraint(fields=["subscription", "price"], name="subscription_item_once"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="subscription_item_has_quantity"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id}: {self.quantity} of {self.price_id}"
