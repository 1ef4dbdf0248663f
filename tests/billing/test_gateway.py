"""The test gateway behaves like a provider outside: own books, same key same answer, read back (DESIGN 5.3)."""

from __future__ import annotations

import threading
import uuid

import pytest
from django.db import connection, connections, transaction

from automations.engine.kinds import Charge
from automations.engine.outcomes import Done, Failed, Unknown
from automations.engine.registry import registry
from billing.gateways.test import CARDS, gateway
from billing.models import TestCharge as Booked

pytestmark = pytest.mark.django_db(transaction=True)


def charge(card: str, invoice: int = 8, amount: int = 12900) -> Charge:
    return Charge(amount=amount, currency="EUR", reference=card, invoice=invoice)


def new_key() -> str:
    return f"onward.exec_1.{uuid.uuid4().hex}.0"


def test_it_is_registered_and_plainly_marked() -> None:
    assert registry.gateways["test"] is gateway
    assert gateway.test
    assert "Test" in gateway.label


@pytest.mark.parametrize(
    ("card", "results"),
    [
        ("card_ok", ["paid", "paid"]),
        ("card_decline_soft", ["declined", "declined"]),
        ("card_decline_hard", ["declined", "declined"]),
        ("card_soft_then_ok", ["declined", "paid"]),
    ],
)
def test_each_card_does_what_it_says(card: str, results: list[str]) -> None:
    found = [gateway.charge(charge(card), new_key()) for _ in results]
    assert [outcome.output["result"] for outcome in found if isinstance(outcome, Done)] == results


def test_a_decline_says_why() -> None:
    soft, hard = (gateway.charge(charge(card), new_key()) for card in ("card_decline_soft", "card_decline_hard"))
    assert isinstance(soft, Done)
    assert isinstance(hard, Done)
    assert (soft.output["failureCode"], hard.output["failureCode"]) == ("insufficient_funds", "stolen_card")
    assert soft.output["failureReason"]


def test_the_same_key_is_answered_the_same_and_booked_once() -> None:
    key = new_key()
    first = gateway.charge(charge("card_soft_then_ok"), key)
    assert gateway.charge(charge("card_soft_then_ok"), key) == first == gateway.find(key)
    assert Booked.objects.filter(key=key).count() == 1


def test_soft_then_ok_counts_each_invoice_for_itself() -> None:
    gateway.charge(charge("card_soft_then_ok", invoice=1), new_key())
    other = gateway.charge(charge("card_soft_then_ok", invoice=2), new_key())
    assert isinstance(other, Done)
    assert other.output["result"] == "declined"


def test_an_unreachable_gateway_charges_nothing() -> None:  # C-24: that is an error, a decline is none
    key = new_key()
    outcome = gateway.charge(charge("card_unreachable"), key)
    assert isinstance(outcome, Failed)
    assert outcome.temporary
    assert gateway.find(key) is None


def test_a_timeout_after_charging_is_unknown_and_read_back_as_paid() -> None:
    key = new_key()
    assert isinstance(gateway.charge(charge("card_timeout_after_charge"), key), Unknown)
    found = gateway.find(key)
    assert isinstance(found, Done)
    assert found.output["result"] == "paid"
    assert gateway.charge(charge("card_timeout_after_charge"), key) == found
    assert Booked.objects.filter(key=key).count() == 1


def test_an_unknown_card_is_a_permanent_failure() -> None:
    outcome = gateway.charge(charge("card_gold"), new_key())
    assert isinstance(outcome, Failed)
    assert not outcome.temporary


def test_its_books_stand_although_our_transaction_is_rolled_back() -> None:
    key = new_key()
    with transaction.atomic():
        gateway.charge(charge("card_ok"), key)
        transaction.set_rollback(True)
    assert gateway.find(key) is not None


def test_one_key_charged_by_eight_at_once_is_booked_once() -> None:
    key = new_key()
    outcomes: list[object] = []
    start = threading.Barrier(8)

    def run() -> None:
        try:
            start.wait()
            outcomes.append(gateway.charge(charge("card_ok"), key))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(outcomes) == 8
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert Booked.objects.filter(key=key).count() == 1


def test_every_card_is_described() -> None:
    assert all(CARDS.values())
    assert gateway.cards is CARDS


def test_books_that_cannot_be_opened_charge_nothing_and_may_be_tried_again() -> None:
    key = new_key()
    place = connection.settings_dict
    kept = place["PORT"]
    place["PORT"] = "1"  # nobody listens there; the connection that is open already stays
    try:
        outcome = gateway.charge(charge("card_ok"), key)
    finally:
        place["PORT"] = kept
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.temporary) == ("gateway_unreachable", True)
    assert gateway.find(key) is None
