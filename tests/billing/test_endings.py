"""Time alone ends trials and cancels what was set to end with its period (REQUIREMENTS 4.2, TRG-09, TRG-10)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from accounts.models import Customer
from automations.services import sweeps
from billing.models import Subscription
from billing.services.endings import next_turn, sweep_subscriptions
from billing.services.subscriptions import cancel_subscription
from tests.billing.helpers import (
    last_event,
    make_buyer,
    make_invoice,
    make_subscription,
    move_clock,
    names_of,
    reload,
)
from tests.factories import actor_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


def test_a_trial_that_is_over_becomes_active_once(buyer: Customer) -> None:  # TRG-09
    end = evaluation_now() + timedelta(days=14)
    subscription = make_subscription(buyer, trial_end=end)
    assert (next_turn(), sweep_subscriptions()) == (end, 0)
    move_clock("14 days 1 minute")
    assert [sweep_subscriptions(), sweep_subscriptions()] == [1, 0]
    subscription = reload(subscription)
    assert (subscription.status, subscription.current_period_start) == ("active", end)
    assert subscription.current_period_end > end + timedelta(days=27)
    assert names_of(buyer.workspace).count("subscription.activated") == 1
    assert reload(buyer).facts["subscriptionStatus"] == "active"
    assert next_turn() is None


def test_what_was_set_to_end_with_its_period_ends_then(buyer: Customer) -> None:  # TRG-10
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, subscription=subscription)
    cancel_subscription(actor=actor_of(buyer.workspace), subscription_id=subscription.pk, at="period_end")
    assert sweep_subscriptions() == 0
    move_clock("32 days")
    assert [sweep_subscriptions(), sweep_subscriptions()] == [1, 0]
    assert reload(subscription).status == "canceled"
    assert reload(invoice).auto_advance is False
    assert last_event(buyer.workspace, "subscription.canceled").cause_run is None
    assert reload(buyer).facts["subscriptionStatus"] == "canceled"


def test_a_trial_set_to_end_is_cancelled_and_never_activated(buyer: Customer) -> None:
    subscription = make_subscription(buyer, trial_end=evaluation_now() + timedelta(days=3))
    cancel_subscription(actor=actor_of(buyer.workspace), subscription_id=subscription.pk, at="period_end")
    move_clock("4 days")
    assert sweep_subscriptions() == 1
    assert reload(subscription).status == "canceled"
    assert "subscription.activated" not in names_of(buyer.workspace)


def test_a_period_that_ends_changes_nothing_by_itself(buyer: Customer) -> None:
    subscription = make_subscription(buyer)
    move_clock("400 days")
    assert sweep_subscriptions() == 0
    assert reload(subscription).status == "active"


def test_the_sweep_is_bounded(buyer: Customer) -> None:
    for _ in range(3):
        make_subscription(buyer, trial_end=evaluation_now() + timedelta(days=1))
    move_clock("2 days")
    assert [sweep_subscriptions(2), sweep_subscriptions(2), sweep_subscriptions(2)] == [2, 1, 0]


def test_sweeping_many_costs_no_more_statements_than_sweeping_few(buyer: Customer) -> None:
    def statements(count: int) -> int:
        for _ in range(count):
            other = make_buyer(buyer.workspace)
            trial = make_subscription(other, trial_end=evaluation_now() + timedelta(days=1))
            ending = make_subscription(other)
            make_invoice(other, subscription=ending)
            actor = actor_of(buyer.workspace)
            cancel_subscription(actor=actor, subscription_id=ending.pk, at="period_end")
            assert trial.status == "trialing"
        move_clock("40 days")
        with CaptureQueriesContext(connection) as captured:
            assert sweep_subscriptions() == 2 * count
        return len(captured)

    assert statements(1) == statements(8)


def test_the_worker_knows_the_next_moment(buyer: Customer) -> None:
    end = evaluation_now() + timedelta(days=14)
    make_subscription(buyer, trial_end=end)
    assert sweeps.next_due() == end
    move_clock("15 days")
    assert sweeps.run_sweeps() == 1


def test_a_trial_that_is_over_before_its_end_date_becomes_active_first(buyer: Customer) -> None:
    now = evaluation_now()
    subscription = make_subscription(buyer, trial_end=now + timedelta(days=3))
    Subscription.objects.filter(pk=subscription.pk).update(cancel_at=now + timedelta(days=30))
    move_clock("4 days")
    assert sweep_subscriptions() == 1
    assert reload(subscription).status == "active"
    move_clock("30 days")
    assert sweep_subscriptions() == 1
    assert reload(subscription).status == "canceled"
