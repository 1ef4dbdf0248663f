"""A charge whose delivery was given up frees its invoice; one left to people is decided by them (DESIGN 5.3)."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.errors import Refusal
from accounts.models import Customer
from automations.models import Delivery, Run
from billing.models import Invoice, Payment
from billing.services.payments import pay_invoice, record_payment
from tests.billing.helpers import make_buyer, make_card, make_invoice, names_of, payments_of, reload
from tests.factories import actor_of

pytestmark = pytest.mark.django_db

KEY = "test.exec_9.4.0"


def open_charge(buyer: Customer, status: str, delivery: str | None) -> Invoice:
    """An open invoice with an undecided charge, and the delivery behind it in this state."""
    now = evaluation_now()
    invoice = make_invoice(buyer)
    Payment.objects.create(
        workspace=buyer.workspace,
        invoice=invoice,
        method=make_card(buyer),
        amount=invoice.amount_due,
        currency="EUR",
        status=status,
        key=KEY,
        created_at=now,
        updated_at=now,
    )
    if delivery is not None:
        run = Run.objects.create(
            id=9,
            workspace=buyer.workspace,
            automation_id=1,
            version_id=1,
            event_id=1,
            customer=buyer,
            subject_kind="invoice",
            subject_id=invoice.pk,
            status="CANCELLED",
            end_reason="cancelled",
            started_at=now,
            ended_at=now,
        )
        fields: dict[str, Any] = {"lease_until": now, "fence": 1} if delivery == "SENDING" else {}
        Delivery.objects.create(
            workspace=buyer.workspace,
            run=run,
            visit=4,
            key=KEY,
            automation_id=1,
            step="again",
            action="retry_payment",
            kind="charge",
            state=delivery,
            envelope={},
            created_at=now,
            **fields,
        )
    return invoice


@pytest.mark.parametrize("state", ["CANCELLED", "FAILED", "SUPPRESSED", "SKIPPED", "REFUSED"])
def test_a_pending_charge_whose_delivery_was_given_up_frees_the_invoice(state: str) -> None:
    buyer = make_buyer()
    invoice = open_charge(buyer, "pending", state)
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    assert reload(invoice).status == "paid"
    assert [row.status for row in payments_of(invoice)] == ["succeeded"]


@pytest.mark.parametrize("state", ["QUEUED", "SENDING", "UNKNOWN", "SENT", None])
def test_a_pending_charge_that_may_still_come_true_holds_it(state: str | None) -> None:
    buyer = make_buyer()
    invoice = open_charge(buyer, "pending", state)
    with pytest.raises(Refusal, match="not decided yet"):
        pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    assert reload(invoice).status == "open"


def test_an_unknown_charge_is_not_forgotten_when_its_delivery_was_given_up() -> None:
    buyer = make_buyer()
    invoice = open_charge(buyer, "unknown", "FAILED")
    with pytest.raises(Refusal, match="not decided yet"):
        pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)


@pytest.mark.parametrize(("status", "after"), [("succeeded", "paid"), ("failed", "open")])
def test_a_charge_left_to_people_is_decided_by_what_they_record(status: str, after: str) -> None:
    buyer = make_buyer()
    invoice = open_charge(buyer, "unknown", "REVIEW")
    payment = record_payment(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, status=status)
    assert (payment.status, payment.key) == (status, KEY)  # the charge itself, and no second payment
    assert len(payments_of(invoice)) == 1
    assert reload(invoice).status == after
    assert names_of(buyer.workspace).count(f"payment.{status}") == 1


def test_a_run_does_not_decide_what_was_left_to_people() -> None:
    buyer = make_buyer()
    invoice = open_charge(buyer, "unknown", "REVIEW")
    with pytest.raises(Refusal, match="not decided yet"):
        pay_invoice(actor=system_actor(buyer.workspace_id, run_id=3), invoice_id=invoice.pk)
