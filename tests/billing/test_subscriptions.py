"""Subscriptions: begin, become active, end (BIL-09, TRG-09, TRG-10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from accounts.actor import Actor, system_actor
from accounts.clock import evaluation_now
from accounts.errors import Refusal
from accounts.models import Customer
from billing.models import Subscription
from billing.services.subscriptions import NewItem, activate_subscription, cancel_subscription, create_subscription
from tests.billing.helpers import (
    last_event,
    make_buyer,
    make_invoice,
    make_price,
    make_subscription,
    names_of,
    reload,
    trigger_of,
)
from tests.factories import actor_of, make_workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


@pytest.fixture
def actor(buyer: Customer) -> Actor:
    return actor_of(buyer.workspace)


def test_an_active_beginning_is_created_and_activated(buyer: Customer) -> None:  # TRG-09
    subscription = make_subscription(buyer)
    assert names_of(buyer.workspace) == ["subscription.created", "subscription.activated"]
    assert subscription.current_period_end > subscription.current_period_start + timedelta(days=27)
    assert reload(buyer).facts["subscriptionStatus"] == "active"  # CND-23


def test_a_trial_becomes_active_once(buyer: Customer, actor: Actor) -> None:  # TRG-09
    end = evaluation_now() + timedelta(days=14)
    subscription = make_subscription(buyer, trial_end=end)
    assert (subscription.status, subscription.current_period_end) == ("trialing", end)
    assert names_of(buyer.workspace) == ["subscription.created"]
    activate_subscription(actor=actor, subscription_id=subscription.pk)
    assert names_of(buyer.workspace) == ["subscription.created", "subscription.activated"]
    shown = trigger_of(last_event(buyer.workspace, "subscription.activated"))
    assert (shown["id"], shown["status"], shown["interval"]) == (subscription.public_id, "active", "monthly")
    assert shown["customer"]["id"] == buyer.public_id
    assert reload(subscription).trial_end < end
    with pytest.raises(Refusal, match="cannot be activated"):
        activate_subscription(actor=actor, subscription_id=subscription.pk)
    assert len(names_of(buyer.workspace)) == 2


def test_recovering_is_an_update_and_no_activation(buyer: Customer, actor: Actor) -> None:
    subscription = make_subscription(buyer, status="unpaid")
    activate_subscription(actor=actor, subscription_id=subscription.pk)
    assert names_of(buyer.workspace) == ["subscription.created", "subscription.updated"]


def test_cancelling_now_emits_once_and_stops_collection(buyer: Customer, actor: Actor) -> None:  # TRG-10, 4.2
    subscription = make_subscription(buyer)
    open_one, draft, paid = (
        make_invoice(buyer, subscription=subscription, status=s) for s in ("open", "draft", "paid")
    )
    other = make_invoice(buyer)
    cancel_subscription(actor=actor, subscription_id=subscription.pk)
    subscription = reload(subscription)
    assert (subscription.status, subscription.canceled_at is not None) == ("canceled", True)
    assert [reload(row).auto_advance for row in (open_one, draft, paid, other)] == [False, False, False, True]
    assert reload(open_one).status == "open"
    assert names_of(buyer.workspace).count("subscription.canceled") == 1
    assert names_of(buyer.workspace).count("invoice.updated") == 2
    assert reload(buyer).facts["subscriptionStatus"] == "canceled"
    with pytest.raises(Refusal, match="already"):
        cancel_subscription(actor=actor, subscription_id=subscription.pk)


def test_cancelling_with_the_period_is_no_cancellation_yet(buyer: Customer, actor: Actor) -> None:  # TRG-10
    subscription = make_subscription(buyer)
    cancel_subscription(actor=actor, subscription_id=subscription.pk, at="period_end")
    subscription = reload(subscription)
    assert (subscription.status, subscription.cancel_at) == ("active", subscription.current_period_end)
    assert "subscription.canceled" not in names_of(buyer.workspace)
    assert trigger_of(last_event(buyer.workspace, "subscription.updated"))["willRenew"] is False
    with pytest.raises(Refusal, match="cancel it now"):
        cancel_subscription(actor=actor, subscription_id=subscription.pk, at="period_end")
    cancel_subscription(actor=actor, subscription_id=subscription.pk)
    assert reload(subscription).status == "canceled"


def test_the_run_that_cancels_is_remembered_with_all_it_changed(buyer: Customer) -> None:  # C-12
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, subscription=subscription)
    cancel_subscription(actor=system_actor(buyer.workspace_id, run_id=5), subscription_id=subscription.pk)
    assert (reload(subscription).changed_by_run, reload(invoice).changed_by_run) == (5, 5)
    assert {last_event(buyer.workspace, name).cause_run for name in ("subscription.canceled", "invoice.updated")} == {5}


def test_with_several_subscriptions_the_customer_has_the_best_status(buyer: Customer, actor: Actor) -> None:  # CND-23
    first, second = make_subscription(buyer), make_subscription(buyer, status="past_due")
    assert reload(buyer).facts["subscriptionStatus"] == "active"
    cancel_subscription(actor=actor, subscription_id=first.pk)
    assert reload(buyer).facts["subscriptionStatus"] == "past_due"
    cancel_subscription(actor=actor, subscription_id=second.pk)
    assert reload(buyer).facts["subscriptionStatus"] == "canceled"


def test_a_year_is_a_calendar_year(buyer: Customer) -> None:  # BIL-09
    subscription = make_subscription(buyer, interval="yearly")
    start, end = subscription.current_period_start, subscription.current_period_end
    assert (end.year - start.year, end.month, end.day) == (1, start.month, min(start.day, end.day))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"items": []}, "items"),
        ({"status": "canceled"}, "status"),
        ({"status": "trialing"}, "trialEnd"),
        ({"collection_method": "x"}, "collectionMethod"),
        ({"metadata": {"a": "x" * 501}}, "metadata"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_refused(
    buyer: Customer, actor: Actor, fields: dict[str, Any], field: str
) -> None:
    given = {"items": [NewItem(make_price(buyer.workspace).pk)], **fields}
    with pytest.raises(Refusal) as refused:
        create_subscription(actor=actor, customer_id=buyer.pk, **given)
    assert refused.value.details["fields"].keys() == {field}
    assert not Subscription.objects.exists()


def test_a_trial_in_the_past_is_refused(buyer: Customer) -> None:
    with pytest.raises(Refusal, match="in the future"):
        make_subscription(buyer, trial_end=evaluation_now() - timedelta(seconds=1))


def test_prices_must_fit_together(buyer: Customer, actor: Actor) -> None:
    monthly = make_price(buyer.workspace)
    yearly = make_price(buyer.workspace, interval="yearly")
    foreign = make_price(make_workspace())

    def refused(*prices: int, quantity: int = 1) -> str:
        items = [NewItem(price, quantity) for price in prices]
        with pytest.raises(Refusal) as error:
            create_subscription(actor=actor, customer_id=buyer.pk, items=items)
        return error.value.message

    assert "one interval" in refused(monthly.pk, yearly.pk)
    assert "each price once" in refused(monthly.pk, monthly.pk)
    assert "no price" in refused(foreign.pk)
    assert "quantity" in refused(monthly.pk, quantity=0)


def test_a_foreign_subscription_is_not_found(buyer: Customer) -> None:
    subscription = make_subscription(buyer)
    stranger = actor_of(make_workspace())
    for verb in (activate_subscription, cancel_subscription):
        with pytest.raises(Refusal) as refused:
            verb(actor=stranger, subscription_id=subscription.pk)
        assert refused.value.code == "not_found"


def test_an_unknown_moment_of_cancelling_is_refused(buyer: Customer, actor: Actor) -> None:
    with pytest.raises(Refusal, match="now or period_end"):
        cancel_subscription(actor=actor, subscription_id=make_subscription(buyer).pk, at="later")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "change", [{"status": "canceled"}, {"status": "gone"}, {"status": "trialing"}, {"backwards": True}]
)
def test_the_database_refuses_subscriptions_that_contradict_themselves(buyer: Customer, change: dict[str, Any]) -> None:
    subscription = make_subscription(buyer)
    if change.pop("backwards", False):
        change = {"current_period_end": subscription.current_period_start}
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.filter(pk=subscription.pk).update(**change)
