"""Payments change their invoice, and the change emits the events, in one transaction (ACT-05, TRG-05, TRG-07, TRG-08)."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from accounts.actor import Actor
from accounts.errors import Refusal
from accounts.models import Customer
from automations.engine.registry import registry
from billing.models import Payment
from billing.services.payments import pay_invoice, record_payment
from tests.billing.helpers import (
    events_of,
    last_event,
    make_buyer,
    make_invoice,
    make_subscription,
    names_of,
    payments_of,
    reload,
    trigger_of,
)
from tests.factories import actor_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


@pytest.fixture
def actor(buyer: Customer) -> Actor:
    return actor_of(buyer.workspace)


def test_payment_in_full_pays_the_invoice(buyer: Customer, actor: Actor) -> None:  # TRG-05, TRG-08
    invoice = make_invoice(buyer)
    payment = pay_invoice(actor=actor, invoice_id=invoice.pk)
    invoice = reload(invoice)
    assert (invoice.status, invoice.amount_paid, invoice.amount_due) == ("paid", 12900, 0)
    assert invoice.paid_at is not None
    assert (payment.status, payment.attempt, payment.settles) == ("succeeded", 1, True)
    assert names_of(buyer.workspace) == ["invoice.issued", "payment.succeeded", "invoice.paid"]
    assert [event.key for event in events_of(buyer.workspace)][1:] == [
        f"{invoice.public_id}:payment_succeeded:1",
        f"{invoice.public_id}:paid",
    ]


def test_partial_payments_add_up(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer)
    pay_invoice(actor=actor, invoice_id=invoice.pk, amount="100.00")
    assert (reload(invoice).status, reload(invoice).amount_due) == ("open", 2900)
    with pytest.raises(Refusal, match=r"29\.00 EUR are due"):
        pay_invoice(actor=actor, invoice_id=invoice.pk, amount="29.01")
    pay_invoice(actor=actor, invoice_id=invoice.pk, amount="29.00")
    assert reload(invoice).status == "paid"
    assert [row.settles for row in payments_of(invoice)] == [False, True]
    assert names_of(buyer.workspace).count("invoice.paid") == 1


@pytest.mark.parametrize("amount", ["0", "-1.00", "129.01", "1.005"])
def test_an_amount_that_cannot_have_come_in_is_refused(buyer: Customer, actor: Actor, amount: str) -> None:
    invoice = make_invoice(buyer)
    with pytest.raises(Refusal) as refused:
        pay_invoice(actor=actor, invoice_id=invoice.pk, amount=amount)
    assert refused.value.details["fields"].keys() == {"amount"}
    assert payments_of(invoice) == []


def test_failures_are_counted_with_the_failed_payment(buyer: Customer, actor: Actor) -> None:  # VAR-12, VAR-18, TRG-07
    invoice = make_invoice(buyer)
    for expected in (1, 2):
        record_payment(
            actor=actor,
            invoice_id=invoice.pk,
            status="failed",
            failure_code="insufficient_funds",
            failure_reason="Insufficient funds",
        )
        assert (reload(invoice).attempt_count, reload(invoice).failed_count) == (expected, expected)
        shown = trigger_of(last_event(buyer.workspace, "payment.failed"))
        assert (shown["failureCount"], shown["attempt"]) == (expected, expected)
        assert shown["invoice"]["failedCount"] == expected
    assert [event.key for event in events_of(buyer.workspace) if event.name == "payment.failed"] == [
        f"{invoice.public_id}:payment_failed:1",
        f"{invoice.public_id}:payment_failed:2",
    ]


def test_attempts_count_all_tries_and_failures_only_the_failed(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer)
    record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
    pay_invoice(actor=actor, invoice_id=invoice.pk, amount="9.00")
    record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
    shown = trigger_of(last_event(buyer.workspace, "payment.failed"))
    assert (shown["attempt"], shown["failureCount"]) == (3, 2)


def test_the_snapshot_has_the_shape_of_the_contract(buyer: Customer, actor: Actor) -> None:  # CONTRACTS 7, sample
    invoice = make_invoice(buyer, subscription=make_subscription(buyer))
    record_payment(
        actor=actor,
        invoice_id=invoice.pk,
        status="failed",
        failure_code="insufficient_funds",
        failure_reason="No funds",
    )
    shown = trigger_of(last_event(buyer.workspace, "payment.failed"))
    sample = registry.triggers["payment.failed"].sample
    assert sample.keys() <= shown.keys()
    for part in ("customer", "invoice", "subscription"):
        assert sample[part].keys() <= shown[part].keys()
    assert (shown["amount"], shown["currency"], shown["status"]) == ("129.00", "EUR", "failed")
    assert (shown["failureCode"], shown["failureReason"]) == ("insufficient_funds", "No funds")
    assert shown["subscription"]["status"] == "past_due"


def test_a_failed_payment_makes_the_subscription_past_due_and_payment_makes_it_active(
    buyer: Customer, actor: Actor
) -> None:  # REQUIREMENTS 4.2
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, subscription=subscription)
    record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
    assert reload(subscription).status == "past_due"
    assert reload(buyer).facts["subscriptionStatus"] == "past_due"
    pay_invoice(actor=actor, invoice_id=invoice.pk)
    assert reload(subscription).status == "active"
    assert reload(buyer).facts["subscriptionStatus"] == "active"
    assert names_of(buyer.workspace).count("subscription.updated") == 2
    assert names_of(buyer.workspace).count("subscription.activated") == 1  # only when it began


def test_a_subscription_stays_past_due_while_another_invoice_is_in_arrears(buyer: Customer, actor: Actor) -> None:
    subscription = make_subscription(buyer)
    first, second = (make_invoice(buyer, subscription=subscription) for _ in range(2))
    for invoice in (first, second):
        record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
    pay_invoice(actor=actor, invoice_id=first.pk)
    assert reload(subscription).status == "past_due"
    pay_invoice(actor=actor, invoice_id=second.pk)
    assert reload(subscription).status == "active"


def test_the_first_payment_activates_an_incomplete_subscription(buyer: Customer, actor: Actor) -> None:  # TRG-09
    subscription = make_subscription(buyer, status="incomplete")
    invoice = make_invoice(buyer, subscription=subscription)
    record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
    assert reload(subscription).status == "incomplete"
    pay_invoice(actor=actor, invoice_id=invoice.pk)
    assert reload(subscription).status == "active"
    assert names_of(buyer.workspace).count("subscription.activated") == 1


def test_a_failed_try_leaves_what_was_written_off_alone(buyer: Customer, actor: Actor) -> None:
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, subscription=subscription, status="uncollectible")
    record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
    assert reload(subscription).status == "active"


@pytest.mark.parametrize("status", ["pending", "unknown", "", "PAID"])
def test_only_results_can_be_recorded(buyer: Customer, actor: Actor, status: str) -> None:
    invoice = make_invoice(buyer)
    with pytest.raises(Refusal, match="succeeded or failed"):
        record_payment(actor=actor, invoice_id=invoice.pk, status=status)


def test_a_success_has_no_reason_to_have_failed(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer)
    with pytest.raises(Refusal, match="no reason"):
        record_payment(actor=actor, invoice_id=invoice.pk, status="succeeded", failure_code="x")


def test_an_external_id_is_recorded_once_and_nothing_is_half_written(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer)
    record_payment(actor=actor, invoice_id=invoice.pk, status="failed", external_id="ch_1")
    with pytest.raises(Refusal) as refused:
        record_payment(actor=actor, invoice_id=invoice.pk, status="failed", external_id="ch_1")
    assert refused.value.code == "conflict"
    assert reload(invoice).failed_count == 1
    assert names_of(buyer.workspace).count("payment.failed") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": None},
        {"status": "pending"},
        {"amount": 0},
        {"settles": True},
        {"status": "succeeded"},
        {"decided_at": None},
    ],
)
def test_the_database_refuses_payments_that_contradict_themselves(buyer: Customer, actor: Actor, change: dict) -> None:
    invoice = make_invoice(buyer)
    payment = record_payment(actor=actor, invoice_id=invoice.pk, status="failed", failure_code="declined")
    with pytest.raises(IntegrityError), transaction.atomic():
        Payment.objects.filter(pk=payment.pk).update(**change)


def test_one_payment_settles_an_invoice(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer)
    pay_invoice(actor=actor, invoice_id=invoice.pk)
    again = payments_of(invoice)[0]
    again.pk, again.attempt = None, 2
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save()
