"""Charges as services: written down before the act, decided once, and nothing left behind that was not made (DESIGN 5.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.clock import evaluation_now
from accounts.models import Customer
from automations.engine.outcomes import Done, Failed, Outcome, Refused, Skipped, Suppressed, Unknown
from automations.models import Delivery
from billing.models import Invoice, Payment
from billing.services.charges import ChargeOrder, begin_charge, settle_charge
from billing.services.invoices import mark_uncollectible, void_invoice
from billing.services.payments import pay_invoice, record_payment
from tests.billing.helpers import (
    last_event,
    make_buyer,
    make_card,
    make_invoice,
    make_subscription,
    names_of,
    payments_of,
    reload,
)
from tests.factories import actor_of
from tests.worker.deliveries import World
from tests.worker.provider import charge

pytestmark = pytest.mark.django_db

KEY = "test.exec_456.4.0"
PAID = Done({"result": "paid", "reference": "ref_1", "key": KEY})
DECLINED = Done(
    {
        "result": "declined",
        "reference": "ref_1",
        "key": KEY,
        "failureCode": "insufficient_funds",
        "failureReason": "Insufficient funds",
    }
)


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


def order_for(invoice: Invoice, run_id: int | None = 456) -> ChargeOrder:
    return ChargeOrder(invoice.workspace_id, invoice.pk, invoice.amount_due, invoice.currency, run_id)


def test_what_was_settled_without_it_is_not_begun(buyer: Customer) -> None:
    """A worker slept before it had written the charge down; meanwhile another found no card, and the run went another way."""
    make_card(buyer)
    invoice = make_invoice(buyer)
    delivery = World(workspace=buyer.workspace).delivery(charge(), "retry_payment", state="FAILED", due_at=None)
    answer = begin_charge(order_for(invoice), delivery.key)
    assert isinstance(answer, Refused)
    assert answer.code == "taken_over"
    Delivery.objects.filter(pk=delivery.pk).update(
        state="SENDING", fence=1, lease_until=evaluation_now(), due_at=evaluation_now()
    )
    assert isinstance(begin_charge(order_for(invoice), delivery.key), Payment)


def begun(buyer: Customer, **fields: Any) -> tuple[ChargeOrder, Invoice, Payment]:
    """An open invoice with its charge written down."""
    make_card(buyer)
    invoice = make_invoice(buyer, **fields)
    payment = begin_charge(order_for(invoice), KEY)
    assert isinstance(payment, Payment)
    return order_for(invoice), invoice, payment


def settle(order: ChargeOrder, outcome: Outcome) -> Outcome:
    return settle_charge(order, outcome, evaluation_now())


def test_a_charge_is_written_down_before_the_act(buyer: Customer) -> None:
    _, invoice, payment = begun(buyer)
    assert (payment.status, payment.key, payment.attempt, payment.amount) == ("pending", KEY, None, invoice.total)
    assert payment.method is not None
    assert payment.method.reference == "card_ok"
    assert reload(invoice).attempt_count == 0


def test_only_what_is_still_due_is_charged(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, amount="29.00")
    payment = begin_charge(order_for(reload(invoice)), KEY)
    assert isinstance(payment, Payment)
    assert payment.amount == 10000


@pytest.mark.parametrize("outcome", [PAID, DECLINED])
def test_a_result_decides_the_payment_once(buyer: Customer, outcome: Done) -> None:
    order, invoice, payment = begun(buyer)
    first = settle(order, outcome)
    assert settle(order, outcome) == first
    assert isinstance(first, Done)
    assert first.output["payment"] == payment.public_id
    assert first.output["result"] == outcome.output["result"]
    assert (reload(invoice).attempt_count, reload(payment).attempt) == (1, 1)
    name = "payment.succeeded" if outcome is PAID else "payment.failed"
    assert names_of(buyer.workspace).count(name) == 1
    assert last_event(buyer.workspace, name).cause_run == 456


def test_a_later_contradiction_changes_nothing(buyer: Customer) -> None:
    order, invoice, payment = begun(buyer)
    settle(order, PAID)
    for outcome in (DECLINED, Unknown("?"), Failed("x", "y"), Refused("x", "y")):
        settle(order, outcome)
    assert (reload(payment).status, reload(invoice).status) == ("succeeded", "paid")
    assert "payment.failed" not in names_of(buyer.workspace)


def test_unknown_keeps_the_charge_open_and_a_result_decides_it(buyer: Customer) -> None:
    order, invoice, payment = begun(buyer)
    assert settle(order, Unknown("lost")) == Unknown("lost")
    assert reload(payment).status == "unknown"
    assert isinstance(settle(order, DECLINED), Done)
    assert (reload(payment).status, reload(invoice).failed_count) == ("failed", 1)


@pytest.mark.parametrize(
    "outcome",
    [Failed("gateway_unreachable", "away", temporary=True), Refused("x", "y"), Suppressed("z"), Skipped("plan")],
)
def test_a_charge_that_was_not_made_leaves_no_payment(buyer: Customer, outcome: Outcome) -> None:
    order, invoice, _ = begun(buyer)
    assert settle(order, outcome) == outcome
    assert payments_of(invoice) == []
    assert names_of(buyer.workspace) == ["invoice.issued"]
    assert isinstance(begin_charge(order, "test.exec_456.5.0"), Payment)  # the next visit may charge


def test_another_runs_failure_does_not_remove_this_charge(buyer: Customer) -> None:
    order, invoice, payment = begun(buyer)
    settle(replace(order, run_id=45), Failed("gateway_unreachable", "away"))
    settle(replace(order, run_id=4567), Unknown("?"))
    assert reload(payment).status == "pending"
    assert len(payments_of(invoice)) == 1


def test_a_result_for_a_key_never_begun_changes_nothing(buyer: Customer) -> None:
    invoice = make_invoice(buyer)
    assert settle(order_for(invoice), PAID) == PAID
    assert payments_of(invoice) == []
    assert reload(invoice).status == "open"


def test_a_decline_without_a_reason_gets_one(buyer: Customer) -> None:
    order, _, payment = begun(buyer)
    settle(order, Done({"result": "declined", "key": KEY}))
    assert (reload(payment).failure_code, reload(payment).failure_reason) == ("declined", "Declined")


def test_what_a_gateway_says_at_length_is_cut(buyer: Customer) -> None:
    order, _, payment = begun(buyer)
    wordy = {"failureCode": "x" * 300, "failureReason": "y" * 900, "reference": "z" * 400}
    settle(order, Done({"result": "declined", "key": KEY, **wordy}))
    payment = reload(payment)
    assert (len(payment.failure_code), len(payment.failure_reason), len(payment.gateway_reference)) == (100, 500, 200)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda order, actor: void_invoice(actor=actor, invoice_id=order.invoice_id), "not_unpaid"),
        (lambda order, actor: pay_invoice(actor=actor, invoice_id=order.invoice_id), "not_unpaid"),
        (lambda order, actor: pay_invoice(actor=actor, invoice_id=order.invoice_id, amount="1.00"), "amount_changed"),
    ],
)
def test_an_invoice_that_changed_is_refused(buyer: Customer, change: Any, code: str) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    order = order_for(invoice)
    change(order, actor_of(buyer.workspace))
    refused = begin_charge(order, KEY)
    assert isinstance(refused, Refused)
    assert refused.code == code
    assert invoice.public_id in refused.message
    assert not Payment.objects.filter(key=KEY).exists()


def test_failures_recorded_meanwhile_do_not_change_what_is_due(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    order = order_for(invoice)
    record_payment(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, status="failed")
    mark_uncollectible(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    assert isinstance(begin_charge(order, KEY), Payment)


@pytest.mark.parametrize("changed", [{"currency": "USD"}, {"amount": 1}])
def test_what_the_step_saw_must_be_what_is_there(buyer: Customer, changed: dict[str, Any]) -> None:
    make_card(buyer)
    refused = begin_charge(replace(order_for(make_invoice(buyer)), **changed), KEY)
    assert isinstance(refused, Refused)
    assert refused.code == "amount_changed"


def test_unknown_and_foreign_invoices_are_refused(buyer: Customer) -> None:
    make_card(buyer)
    order = order_for(make_invoice(buyer))
    for wrong in (replace(order, invoice_id=999_999), replace(order, workspace_id=make_buyer().workspace_id)):
        refused = begin_charge(wrong, KEY)
        assert isinstance(refused, Refused)
        assert refused.code == "not_found"


def test_a_second_charge_is_refused_while_one_is_undecided(buyer: Customer) -> None:
    order, _, payment = begun(buyer)
    refused = begin_charge(order, "test.exec_7.1.0")
    assert isinstance(refused, Refused)
    assert refused.code == "charge_open"
    assert payment.public_id in refused.message


def test_without_a_default_card_there_is_nothing_to_charge(buyer: Customer) -> None:
    card = make_card(buyer)
    card.default = False
    card.save()
    failed = begin_charge(order_for(make_invoice(buyer)), KEY)
    assert isinstance(failed, Failed)
    assert failed.code == "no_payment_method"


def test_another_customers_card_is_never_used(buyer: Customer) -> None:
    make_card(make_buyer(buyer.workspace))
    assert isinstance(begin_charge(order_for(make_invoice(buyer)), KEY), Failed)


def test_a_decided_charge_pays_and_recovers_the_subscription(buyer: Customer) -> None:
    subscription = make_subscription(buyer, status="past_due")
    order, invoice, _ = begun(buyer, subscription=subscription)
    settle(order, PAID)
    assert (reload(invoice).changed_by_run, reload(subscription).changed_by_run) == (456, 456)
    assert reload(subscription).status == "active"


def test_the_books_of_two_workspaces_do_not_meet() -> None:
    mine, yours = make_buyer(), make_buyer()
    for buyer in (mine, yours):
        make_card(buyer)
        order = order_for(make_invoice(buyer))
        assert isinstance(begin_charge(order, KEY), Payment)
        settle(order, PAID)
    assert Payment.objects.filter(key=KEY, status="succeeded").count() == 2


def test_an_order_without_a_run_has_no_cause(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    order = order_for(invoice, run_id=None)
    begin_charge(order, KEY)
    settle(order, PAID)
    assert last_event(buyer.workspace, "invoice.paid").cause_run is None
    assert reload(invoice).changed_by_run is None
