"""Subscriptions: making, activating and cancelling them (BIL-09, TRG-09, TRG-10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from django.db import transaction

from accounts import audit
from accounts.actor import Actor
from accounts.clock import evaluation_now
from accounts.errors import invalid, not_found
from automations.engine.durations import parse_duration
from billing.models import (
    CHARGE_AUTOMATICALLY,
    COLLECTION_METHODS,
    ENDED_SUBSCRIPTIONS,
    Invoice,
    Price,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from billing.services.checks import changed_metadata, clean_external_id, find_all, hold_customer, insert, wrong_state
from billing.services.emit import Happening, emit, of_invoice, of_subscription
from billing.services.facts import refresh_subscription_status
from billing.services.locking import hold_subscriptions

#: Length of a period; months and years are calendar ones, counted in UTC.
PERIODS = {"daily": "1d", "weekly": "1w", "monthly": "1mo", "yearly": "12mo"}
#: Statuses that a subscription may begin with.
FIRST_STATUSES = ("incomplete", "trialing", "active", "past_due", "unpaid", "paused")
#: Coming from these, an active subscription has *become* active (TRG-09); from others it has recovered.
NOT_YET_ACTIVE = ("incomplete", "trialing", "paused")


@dataclass(frozen=True, slots=True)
class NewItem:
    """A price and how many of it."""

    price_id: int
    quantity: int = 1


@transaction.atomic
def create_subscription(
    *,
    actor: Actor,
    customer_id: int,
    items: Sequence[NewItem],
    status: str | None = None,
    trial_end: datetime | None = None,
    collection_method: str = CHARGE_AUTOMATICALLY,
    external_id: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Subscription:
    """A subscription from now on: trialing when `trial_end` is given, else active, or as `status` says. Emits
    `subscription.created`, and `subscription.activated` when it begins active."""
    actor.require("billing")
    prices = _prices(actor, items)
    now = evaluation_now()
    status = _first_status(status, trial_end, now)
    if collection_method not in COLLECTION_METHODS:
        raise invalid("collectionMethod", f"choose {' or '.join(COLLECTION_METHODS)}.")
    customer = hold_customer(actor, customer_id)
    subscription = Subscription(
        workspace_id=actor.workspace_id,
        customer_id=customer.pk,
        status=status,
        collection_method=collection_method,
        current_period_start=now,
        current_period_end=trial_end or period_end(prices, now),
        trial_end=trial_end,
        external_id=clean_external_id(external_id),
        metadata=changed_metadata({}, metadata),
        changed_by_run=actor.run_id,
        created_at=now,
        updated_at=now,
    )
    insert(subscription)
    SubscriptionItem.objects.bulk_create(
        SubscriptionItem(
            workspace_id=actor.workspace_id, subscription=subscription, price_id=item.price_id, quantity=item.quantity
        )
        for item in items
    )
    _tell(actor, subscription, ("created", "activated") if status == "active" else ("created",), now)
    audit.record(actor, "subscription.create", subscription.public_id, after={"status": status})
    return subscription


def _prices(actor: Actor, items: Sequence[NewItem]) -> list[Price]:
    """The prices of the items: known, each once, of one currency and one interval."""
    if not items:
        raise invalid("items", "name at least one price.")
    if any(not 1 <= item.quantity <= 1_000_000 for item in items):
        raise invalid("items", "a quantity is a whole number from 1 to 1000000.")
    prices = list(find_all(Price, actor, [item.price_id for item in items], "price", "price").values())
    if len(prices) != len(items):
        raise invalid("items", "name each price once, with its quantity.")
    if len({price.currency for price in prices}) > 1:
        raise invalid("items", "all prices of a subscription have one currency.")
    if len(_intervals(prices)) > 1:
        raise invalid("items", "all recurring prices of a subscription have one interval.")
    return prices


def _intervals(prices: Sequence[Price]) -> set[str]:
    return {price.interval for price in prices} - {"one_time"}


def period_end(prices: Sequence[Price], start: datetime) -> datetime:
    """The end of a period; it lasts a month where only one-time prices are subscribed to."""
    length = parse_duration(PERIODS[next(iter(_intervals(prices)), "monthly")])
    return length.after(start, ZoneInfo("UTC"))


def _first_status(status: str | None, trial_end: datetime | None, now: datetime) -> str:
    if trial_end is not None and trial_end <= now:
        raise invalid("trialEnd", "a trial ends in the future.")
    chosen = status or ("trialing" if trial_end else "active")
    if chosen not in FIRST_STATUSES:
        raise invalid("status", f"a new subscription is one of {', '.join(FIRST_STATUSES)}.")
    if chosen == "trialing" and trial_end is None:
        raise invalid("trialEnd", "say when the trial ends.")
    return chosen


def _tell(actor: Actor, subscription: Subscription, transitions: Sequence[str], now: datetime) -> None:
    refresh_subscription_status({subscription.customer_id})
    emit([of_subscription(subscription, transition, actor.run_id) for transition in transitions], now)


@transaction.atomic
def activate_subscription(*, actor: Actor, subscription_id: int) -> Subscription:
    """Make it active, ending a trial at once. Emits `subscription.activated` (TRG-09), or `subscription.updated` when it
    recovers from `past_due` or `unpaid`. Refusal `wrong_state` when it is active already or has ended."""
    actor.require("billing")
    subscription = _held(actor, subscription_id)
    before = subscription.status
    if before == "active" or before in ENDED_SUBSCRIPTIONS:
        raise wrong_state(f"{subscription.public_id} is {before} and cannot be activated.", status=before)
    now = evaluation_now()
    if before == "trialing":
        subscription.trial_end = now
        _start_period(subscription, now)
    change_status(subscription, "active", actor.run_id, now)
    subscription.save()
    _tell(actor, subscription, (activation(before),), now)
    audit.record(
        actor, "subscription.activate", subscription.public_id, before={"status": before}, after={"status": "active"}
    )
    return subscription


def _start_period(subscription: Subscription, now: datetime) -> None:
    prices = [item.price for item in subscription.items.select_related("price")]
    subscription.current_period_start = now
    subscription.current_period_end = period_end(prices, now)


def activation(before: str) -> str:
    """The transition that leads to `active` from this status."""
    return "activated" if before in NOT_YET_ACTIVE else "updated"


def change_status(subscription: Subscription, status: str, cause: int | None, now: datetime) -> None:
    """Set the status of a locked subscription and remember which run did it (C-12). The caller saves and emits."""
    subscription.status = SubscriptionStatus(status)
    subscription.changed_by_run = cause
    subscription.revision += 1
    subscription.updated_at = now


@transaction.atomic
def cancel_subscription(
    *, actor: Actor, subscription_id: int, at: Literal["now", "period_end"] = "now"
) -> Subscription:
    """End it now, or with its period. Now: emits `subscription.canceled` and turns automatic collection off on its unpaid
    invoices, each of which emits `invoice.updated`. With the period: sets `cancelAt` and emits `subscription.updated`
    (TRG-10). Refusal `wrong_state` when it has ended."""
    actor.require("billing")
    if at not in ("now", "period_end"):
        raise invalid("at", "choose now or period_end.")
    subscription = _held(actor, subscription_id)
    before = subscription.status
    if before in ENDED_SUBSCRIPTIONS:
        raise wrong_state(f"{subscription.public_id} is {before} already.", status=before)
    now = evaluation_now()
    cancel = _cancel_now if at == "now" else _cancel_later
    happenings = cancel(subscription, actor.run_id, now)
    refresh_subscription_status({subscription.customer_id})
    emit(happenings, now)
    audit.record(actor, "subscription.cancel", subscription.public_id, before={"status": before}, after={"at": at})
    return subscription


def _cancel_now(subscription: Subscription, cause: int | None, now: datetime) -> list[Happening]:
    invoices = cancel_many([subscription], cause, now)
    return [
        of_subscription(subscription, "canceled", cause),
        *(of_invoice(invoice, "updated", cause, again=True) for invoice in invoices),
    ]


def cancel_many(subscriptions: Sequence[Subscription], cause: int | None, now: datetime) -> list[Invoice]:
    """End locked subscriptions and turn automatic collection off on their unpaid invoices (REQUIREMENTS 4.2), in a fixed number
    of statements; answers those invoices. The caller emits."""
    for subscription in subscriptions:
        change_status(subscription, "canceled", cause, now)
        subscription.canceled_at = now
    fields = ["status", "canceled_at", "changed_by_run", "revision", "updated_at"]
    Subscription.objects.bulk_update(subscriptions, fields)
    return _stop_collecting(subscriptions, cause, now)


def _stop_collecting(subscriptions: Sequence[Subscription], cause: int | None, now: datetime) -> list[Invoice]:
    unpaid = Invoice.objects.filter(
        subscription__in=[row.pk for row in subscriptions], status__in=["draft", "open"], auto_advance=True
    )
    invoices = list(unpaid.order_by("pk").select_for_update(no_key=True, of=("self",)))
    for invoice in invoices:
        invoice.auto_advance = False
        invoice.next_payment_attempt = None
        invoice.changed_by_run = cause
        invoice.revision += 1
        invoice.updated_at = now
    fields = ["auto_advance", "next_payment_attempt", "changed_by_run", "revision", "updated_at"]
    Invoice.objects.bulk_update(invoices, fields)
    return invoices


def _cancel_later(subscription: Subscription, cause: int | None, now: datetime) -> list[Happening]:
    if subscription.cancel_at is not None:
        raise wrong_state(
            f"{subscription.public_id} ends on {subscription.cancel_at:%Y-%m-%d} already; cancel it now to end it sooner."
        )
    # A period that is over by now has not been renewed: it ends with the next moment.
    subscription.cancel_at = max(subscription.current_period_end, now + timedelta(seconds=1))
    subscription.changed_by_run = cause
    subscription.revision += 1
    subscription.updated_at = now
    subscription.save()
    return [of_subscription(subscription, "updated", cause)]


def _held(actor: Actor, subscription_id: int) -> Subscription:
    found = hold_subscriptions([subscription_id]).get(subscription_id)
    if found is None or found.workspace_id != actor.workspace_id:
        raise not_found("subscription", f"sub_{subscription_id}")
    return found
