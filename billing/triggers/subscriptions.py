"""Triggers about subscriptions: TRG-09, TRG-10."""

from __future__ import annotations

from automations.engine.kinds import Trigger
from billing.triggers.data import SubscriptionData
from billing.triggers.samples import subscription_sample


class SubscriptionTrigger(Trigger):
    """Base: about a subscription, so a run of it is a message or a journey: an unsubscribe cancels it (C-15)."""

    group = "Subscriptions"
    subject = "subscription"
    provides = frozenset({"customer", "subscription"})
    reentry_subject = "subscription"
    Data = SubscriptionData


class SubscriptionCreated(SubscriptionTrigger):
    """It exists, whatever its status."""

    key = "subscription.created"
    label = "Subscription created"
    hint = "A customer subscribed, on trial or at once."
    listens = ("subscription.created",)
    sample = subscription_sample()


class SubscriptionActivated(SubscriptionTrigger):
    """TRG-09."""

    key = "subscription.activated"
    label = "Subscription activated"
    hint = "It became active: after a trial, a first payment or a pause, or from the start."
    listens = ("subscription.activated",)
    holds = 'subscription.status == "active"'
    sample = subscription_sample()


class SubscriptionCanceled(SubscriptionTrigger):
    """TRG-10: at the moment its status becomes cancelled."""

    key = "subscription.canceled"
    label = "Subscription cancelled"
    hint = "It has ended. Setting it to end with its period does not count."
    listens = ("subscription.canceled",)
    holds = 'subscription.status == "canceled"'
    sample = subscription_sample(status="canceled", willRenew=False)


class SubscriptionUpdated(SubscriptionTrigger):
    """Another change of status, or of when it ends."""

    key = "subscription.updated"
    label = "Subscription updated"
    hint = "Its status changed otherwise (past due, recovered), or it was set to end."
    listens = ("subscription.updated",)
    sample = subscription_sample(status="past_due")


created = SubscriptionCreated()
activated = SubscriptionActivated()
canceled = SubscriptionCanceled()
updated = SubscriptionUpdated()
