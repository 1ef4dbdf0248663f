"""The overdue sweep: each invoice becomes overdue once, whoever sweeps (BIL-04, TRG-06, TRG-28, TRG-29)."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from accounts.models import Customer
from automations.models import Event
from automations.services import sweeps
from billing.models import Invoice
from billing.services.invoices import update_invoice
from billing.services.locking import hold_customers
from billing.services.overdue import next_overdue, sweep_overdue
from billing.services.payments import pay_invoice
from tests.billing.helpers import (
    events_of,
    last_event,
    make_buyer,
    make_invoice,
    make_subscription,
    move_clock,
    names_of,
    reload,
    trigger_of,
)
from tests.factories import actor_of


def late_invoice(buyer: Customer, **fields: Any) -> Invoice:
    return make_invoice(buyer, due=evaluation_now() - timedelta(minutes=1), **fields)


@pytest.mark.django_db
def test_an_open_invoice_becomes_overdue_when_its_due_date_passes_and_only_once() -> None:  # TRG-06, BIL-04
    buyer = make_buyer()
    invoice = make_invoice(buyer, due=evaluation_now() + timedelta(days=3))
    assert sweep_overdue() == 0
    move_clock("3 days 1 minute")
    assert sweep_overdue() == 1
    assert sweep_overdue() == 0
    assert reload(invoice).overdue_at is not None
    assert reload(invoice).status == "open"  # a dated fact, no status (C-14)
    event = last_event(buyer.workspace, "invoice.overdue")
    assert names_of(buyer.workspace).count("invoice.overdue") == 1
    assert trigger_of(event)["isOverdue"] is True
    assert trigger_of(event)["invoice"]["status"] == "unpaid"  # how it reads
    assert "overdue" in trigger_of(event)["invoice"]["status"].also


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["draft", "paid", "void", "uncollectible"])
def test_only_open_invoices_become_overdue(status: str) -> None:
    late_invoice(make_buyer(), status=status)
    assert sweep_overdue() == 0


@pytest.mark.django_db
def test_an_invoice_without_due_date_never_does() -> None:
    make_invoice(make_buyer())
    move_clock("1000 days")
    assert sweep_overdue() == 0


@pytest.mark.django_db
def test_after_a_new_due_date_it_can_become_overdue_again() -> None:
    buyer = make_buyer()
    invoice = late_invoice(buyer)
    sweep_overdue()
    later = evaluation_now() + timedelta(days=2)
    update_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, due_at=later)
    assert sweep_overdue() == 0
    move_clock("3 days")
    assert sweep_overdue() == 1
    keys = [event.key for event in events_of(buyer.workspace) if event.name == "invoice.overdue"]
    assert len(set(keys)) == 2


@pytest.mark.django_db
def test_the_subscription_of_a_sent_invoice_becomes_past_due_with_it() -> None:  # REQUIREMENTS 4.2
    buyer = make_buyer()
    sent, charged = make_subscription(buyer), make_subscription(buyer)
    late_invoice(buyer, subscription=sent, collection_method="send_invoice")
    late_invoice(buyer, subscription=charged)
    sweep_overdue()
    assert (reload(sent).status, reload(charged).status) == ("past_due", "active")
    assert names_of(buyer.workspace).count("subscription.updated") == 1


@pytest.mark.django_db
def test_two_late_invoices_of_one_subscription_change_it_once() -> None:
    buyer = make_buyer()
    subscription = make_subscription(buyer)
    for _ in range(2):
        late_invoice(buyer, subscription=subscription, collection_method="send_invoice")
    assert sweep_overdue() == 2
    assert names_of(buyer.workspace).count("subscription.updated") == 1


@pytest.mark.django_db
def test_a_sweep_is_bounded_and_goes_on_where_it_stopped() -> None:
    buyer = make_buyer()
    for _ in range(5):
        late_invoice(buyer)
    assert [sweep_overdue(2) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.django_db
def test_sweeping_many_costs_no_more_statements_than_sweeping_few() -> None:
    def statements(count: int) -> int:
        workspace = make_buyer().workspace
        for _ in range(count):
            late_invoice(make_buyer(workspace), collection_method="send_invoice")
        with CaptureQueriesContext(connection) as captured:
            assert sweep_overdue() == count
        return len(captured)

    assert statements(2) == statements(15)


@pytest.mark.django_db
def test_the_worker_sweeps_through_the_registry_and_knows_the_next_moment() -> None:
    invoice = late_invoice(make_buyer())
    assert next_overdue() == invoice.due_at
    assert sweeps.next_due() is not None
    assert sweeps.run_sweeps() >= 1
    assert next_overdue() is None


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_mark_every_invoice_once() -> None:  # BIL-04
    workspace = make_buyer().workspace
    for _ in range(20):
        late_invoice(make_buyer(workspace))
    counts: list[int] = []
    start = threading.Barrier(2)

    def sweep() -> None:
        try:
            start.wait()
            while Invoice.objects.filter(overdue_at=None).exists():
                counts.append(sweep_overdue(7))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sum(counts) == 20
    assert Event.objects.filter(name="invoice.overdue").count() == 20


@pytest.mark.django_db(transaction=True)
def test_a_sweep_waits_for_nobody() -> None:
    buyer, other = make_buyer(), make_buyer()
    busy, free = late_invoice(buyer), late_invoice(other)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                hold_customers([buyer.pk])
                held.set()
                done.wait(timeout=30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(timeout=30)
    assert sweep_overdue() == 1
    done.set()
    thread.join(timeout=30)
    assert reload(free).overdue_at is not None
    assert reload(busy).overdue_at is None
    assert sweep_overdue() == 1


@pytest.mark.django_db(transaction=True)
def test_payment_against_the_sweep_ends_in_one_order_or_the_other() -> None:
    buyer = make_buyer()
    actor = actor_of(buyer.workspace)
    for _ in range(10):
        invoice = late_invoice(buyer)
        start = threading.Barrier(2)

        def sweep(start: threading.Barrier = start) -> None:
            try:
                start.wait()
                sweep_overdue()
            finally:
                connections.close_all()

        thread = threading.Thread(target=sweep)
        thread.start()
        start.wait()
        pay_invoice(actor=actor, invoice_id=invoice.pk)
        thread.join(timeout=30)
        invoice = reload(invoice)
        assert invoice.status == "paid"
        overdue = Event.objects.filter(name="invoice.overdue", subjects__invoice=invoice.pk).count()
        assert overdue == (1 if invoice.overdue_at else 0)
