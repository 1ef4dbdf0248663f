"""Services against each other: one winner, nothing doubled, no deadlock (DESIGN 5.2 lock order, RELIABILITY)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.errors import Refusal
from accounts.models import Customer
from automations.engine.outcomes import Done, Refused
from automations.models import Event
from billing.actions.retry_payment import action, order_of
from billing.models import Invoice, PaymentMethod
from billing.models import TestCharge as Booked
from billing.services.catalog import create_payment_method
from billing.services.charges import begin_charge
from billing.services.drafts import NewLine, create_invoice
from billing.services.invoices import InvoiceRequest, finalize_invoice, update_invoice, void_invoice, void_invoices
from billing.services.overdue import sweep_overdue
from billing.services.payments import pay_invoice, record_payment
from billing.services.subscriptions import activate_subscription, cancel_subscription
from tests.billing.acting import act, key_of, prepared
from tests.billing.helpers import make_buyer, make_card, make_invoice, make_subscription, payments_of, reload
from tests.factories import make_customer

pytestmark = pytest.mark.django_db(transaction=True)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Call all at once, each on a connection of its own; answers what each returned or raised, in order."""
    start = threading.Barrier(len(calls))
    answers: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            start.wait()
            answers[index] = call()
        except Exception as error:  # the test looks at whatever it was
            answers[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    return answers


def unexpected(answers: list[Any]) -> list[Any]:
    """Errors that are no refusals: a deadlock would be among them."""
    return [answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, Refusal)]


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


def test_four_payments_in_full_at_once_pay_once(buyer: Customer) -> None:
    actor = system_actor(buyer.workspace_id)
    for _ in range(5):
        invoice = make_invoice(buyer)
        answers = together(*[partial(pay_invoice, actor=actor, invoice_id=invoice.pk) for _ in range(4)])
        assert unexpected(answers) == []
        assert sum(not isinstance(answer, Refusal) for answer in answers) == 1
        assert Event.objects.filter(name="invoice.paid", subjects__invoice=invoice.pk).count() == 1
        assert reload(invoice).amount_paid == invoice.total


def test_failures_at_once_are_all_counted(buyer: Customer) -> None:  # CONTRACTS 7, failureCount
    actor = system_actor(buyer.workspace_id)
    invoice = make_invoice(buyer, subscription=make_subscription(buyer))
    answers = together(*[lambda: record_payment(actor=actor, invoice_id=invoice.pk, status="failed") for _ in range(6)])
    assert unexpected(answers) == []
    assert (reload(invoice).failed_count, reload(invoice).attempt_count) == (6, 6)
    assert sorted(row.attempt or 0 for row in payments_of(invoice)) == [1, 2, 3, 4, 5, 6]
    assert Event.objects.filter(name="payment.failed").count() == 6


def test_payment_against_voiding_has_one_winner(buyer: Customer) -> None:
    actor = system_actor(buyer.workspace_id)
    outcomes: Counter[str] = Counter()
    for _ in range(10):
        invoice = make_invoice(buyer)
        answers = together(
            partial(pay_invoice, actor=actor, invoice_id=invoice.pk),
            partial(void_invoice, actor=actor, invoice_id=invoice.pk),
        )
        assert unexpected(answers) == []
        assert sum(isinstance(answer, Refusal) for answer in answers) == 1
        outcomes[reload(invoice).status] += 1
    assert set(outcomes) <= {"paid", "void"}


def test_two_runs_charging_one_invoice_at_once_charge_it_once(buyer: Customer) -> None:
    make_card(buyer)
    for _ in range(5):
        invoice = make_invoice(buyer)
        envelopes = [prepared(action, invoice) for _ in range(3)]
        answers = together(*[partial(act, action, envelope, key_of(envelope)) for envelope in envelopes])
        assert unexpected(answers) == []
        assert Counter(type(answer) for answer in answers) == {Done: 1, Refused: 2}
        assert Booked.objects.filter(invoice=invoice.pk).count() == 1
        assert reload(invoice).status == "paid"


def test_one_delivery_performed_by_two_workers_charges_once(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    key = key_of(envelope)
    answers = together(*[lambda: action.perform(envelope, key, b"") for _ in range(4)])
    assert unexpected(answers) == []
    assert all(answer == answers[0] for answer in answers)
    assert Booked.objects.count() == 1
    assert len(payments_of(invoice)) == 1


def test_voiding_against_a_charge_never_does_both(buyer: Customer) -> None:
    make_card(buyer)
    actor = system_actor(buyer.workspace_id)
    for _ in range(6):
        invoice = make_invoice(buyer)
        envelope = prepared(action, invoice)
        answers = together(
            partial(act, action, envelope, key_of(envelope)), partial(void_invoice, actor=actor, invoice_id=invoice.pk)
        )
        assert unexpected(answers) == []
        charged = Booked.objects.filter(invoice=invoice.pk).exists()
        assert reload(invoice).status == ("paid" if charged else "void")


def test_drafts_finalised_at_once_have_different_numbers(buyer: Customer) -> None:
    drafts = [make_invoice(buyer, status="draft") for _ in range(6)]
    actor = system_actor(buyer.workspace_id)
    answers = together(*[partial(finalize_invoice, actor=actor, invoice_id=row.pk) for row in drafts])
    assert unexpected(answers) == []
    assert sorted(Invoice.objects.values_list("number", flat=True)) == [f"INV-{number:04d}" for number in range(1, 7)]


def test_new_default_cards_at_once_leave_one_default(buyer: Customer) -> None:
    actor = system_actor(buyer.workspace_id)
    cards = ("card_ok", "card_decline_soft", "card_decline_hard", "card_soft_then_ok")
    answers = together(
        *[partial(create_payment_method, actor=actor, customer_id=buyer.pk, card=card, default=True) for card in cards]
    )
    assert unexpected(answers) == []
    assert PaymentMethod.objects.filter(customer=buyer, default=True).count() == 1


def test_an_external_id_taken_by_two_at_once_is_taken_once(buyer: Customer) -> None:
    actor = system_actor(buyer.workspace_id)
    lines = [NewLine("Plan", "1.00")]

    def make() -> Invoice:
        return create_invoice(actor=actor, customer_id=buyer.pk, currency="EUR", lines=lines, external_id="A-17")

    answers = together(make, make, make)
    assert unexpected(answers) == []
    assert Invoice.objects.filter(external_id="A-17").count() == 1
    assert sorted(answer.code for answer in answers if isinstance(answer, Refusal)) == ["conflict", "conflict"]


def test_all_services_against_each_other_never_deadlock(buyer: Customer) -> None:  # DESIGN 5.2
    """Batches in opposite orders, single changes, sweeps and charges of the same few customers, many times over."""
    workspace = buyer.workspace
    actor = system_actor(workspace.pk)
    customers = [buyer, *(make_customer(workspace) for _ in range(3))]
    for customer in customers:
        make_card(customer)
    before = _deadlocks()
    for _ in range(4):
        subscriptions = [make_subscription(customer) for customer in customers]
        due = evaluation_now() - timedelta(hours=1)
        rows = [
            make_invoice(customer, subscription=subscription, due=due, collection_method="send_invoice")
            for customer, subscription in zip(customers, subscriptions, strict=True)
        ]
        requests = [InvoiceRequest(actor, row.pk) for row in rows]
        envelope = prepared(action, rows[3])
        answers = together(
            partial(void_invoices, requests[:2]),
            partial(void_invoices, requests[1::-1]),
            partial(pay_invoice, actor=actor, invoice_id=rows[1].pk),
            partial(record_payment, actor=actor, invoice_id=rows[2].pk, status="failed"),
            partial(cancel_subscription, actor=actor, subscription_id=subscriptions[2].pk),
            partial(activate_subscription, actor=actor, subscription_id=subscriptions[3].pk),
            partial(update_invoice, actor=actor, invoice_id=rows[3].pk, auto_advance=False),
            partial(act, action, envelope, key_of(envelope)),
            sweep_overdue,
        )
        assert unexpected(answers) == []
    assert _deadlocks() == before


def _deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select deadlocks from pg_stat_database where datname = current_database()")
        return int(cursor.fetchone()[0])


def test_a_charge_begun_twice_under_one_key_is_one_payment(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    order = order_of(prepared(action, invoice))
    answers = together(*[lambda: begin_charge(order, "test.exec_1.1.0") for _ in range(4)])
    assert unexpected(answers) == []
    assert len({answer.pk for answer in answers}) == 1
    assert len(payments_of(invoice)) == 1
