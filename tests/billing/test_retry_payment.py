"""Retry payment: one charge a step, decided once, never on an invoice that has changed (ACT-05, C-24, DESIGN 5.3)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from accounts.errors import Refusal
from accounts.models import Customer
from automations.engine.outcomes import Done, Failed, Refused, Unknown
from billing.actions.retry_payment import action
from billing.models import Invoice, Payment
from billing.models import TestCharge as Booked
from billing.services.invoices import mark_uncollectible, void_invoice
from billing.services.payments import pay_invoice, record_payment
from tests.billing.acting import act, key_of, prepared, scope_of, settle
from tests.billing.helpers import (
    events_of,
    last_event,
    make_buyer,
    make_card,
    make_invoice,
    make_subscription,
    names_of,
    payments_of,
    reload,
    trigger_of,
)
from tests.factories import actor_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


def charged(buyer: Customer, card: str, **fields: Any) -> tuple[Invoice, Any, str]:
    """An open invoice of a buyer with this card, tried once: invoice, outcome, key."""
    make_card(buyer, card)
    invoice = make_invoice(buyer, **fields)
    envelope = prepared(action, invoice, run_id=456)
    return invoice, act(action, envelope, key_of(envelope)), key_of(envelope)


def test_a_card_that_succeeds_pays_the_invoice(buyer: Customer) -> None:  # ACT-05
    invoice, outcome, key = charged(buyer, "card_ok")
    payment = payments_of(invoice)[0]
    assert isinstance(outcome, Done)
    assert outcome.output == {
        "result": "paid",
        "payment": payment.public_id,
        "failureReason": None,
        "failureCode": None,
        "reference": f"test_{key}",
    }
    assert (reload(invoice).status, payment.status, payment.key, payment.attempt) == ("paid", "succeeded", key, 1)
    assert names_of(buyer.workspace) == ["invoice.issued", "payment.succeeded", "invoice.paid"]
    assert {event.cause_run for event in events_of(buyer.workspace)[1:]} == {456}
    assert reload(invoice).changed_by_run == 456


def test_a_decline_is_a_result_and_not_an_error(buyer: Customer) -> None:  # ACT-05, C-24
    invoice, outcome, _ = charged(buyer, "card_decline_soft", subscription=make_subscription(buyer))
    assert isinstance(outcome, Done)
    assert outcome.output["result"] == "declined"
    assert outcome.output["failureCode"] == "insufficient_funds"
    assert outcome.output["failureReason"] == "Insufficient funds"
    assert (reload(invoice).status, reload(invoice).failed_count) == ("open", 1)
    shown = trigger_of(last_event(buyer.workspace, "payment.failed"))
    assert (shown["failureCount"], shown["failureReason"]) == (1, "Insufficient funds")


def test_the_output_fits_its_declaration(buyer: Customer) -> None:
    _, outcome, _ = charged(buyer, "card_decline_hard")
    assert action.Output.model_validate(outcome.output).result == "declined"


def test_settling_twice_decides_once(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    outcome = action.perform(envelope, key_of(envelope), b"")
    assert settle(action, envelope, outcome) == settle(action, envelope, outcome)
    assert names_of(buyer.workspace).count("payment.succeeded") == 1
    assert reload(invoice).attempt_count == 1


def test_the_same_key_performed_again_charges_once(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    first = action.perform(envelope, key_of(envelope), b"")  # the worker dies before it can settle
    assert action.perform(envelope, key_of(envelope), b"") == first
    assert action.find(envelope, key_of(envelope)) == first
    settle(action, envelope, first)
    assert Booked.objects.filter(key=key_of(envelope)).count() == 1
    assert len(payments_of(invoice)) == 1


def test_the_method_chosen_first_stays_with_the_key(buyer: Customer) -> None:
    make_card(buyer, "card_unreachable")
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    assert isinstance(action.perform(envelope, key_of(envelope), b""), Failed)  # to be tried again, not settled
    make_card(buyer, "card_ok", default=True)
    assert isinstance(action.perform(envelope, key_of(envelope), b""), Failed)
    assert not Booked.objects.exists()


@pytest.mark.parametrize(
    ("verb", "code"),
    [(pay_invoice, "not_unpaid"), (void_invoice, "not_unpaid")],
)
def test_an_invoice_settled_since_the_step_decided_is_refused_and_not_charged(
    buyer: Customer, verb: Any, code: str
) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    verb(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    outcome = act(action, envelope, key_of(envelope))
    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert not Booked.objects.exists()


def test_another_amount_due_since_the_step_decided_is_refused(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, amount="29.00")
    outcome = act(action, envelope, key_of(envelope))
    assert isinstance(outcome, Refused)
    assert outcome.code == "amount_changed"
    assert "100.00 EUR" in outcome.message
    assert not Booked.objects.exists()


def test_an_invoice_written_off_can_still_be_charged(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    mark_uncollectible(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    act(action, envelope, key_of(envelope))
    assert reload(invoice).status == "paid"


@pytest.mark.parametrize("status", ["draft", "paid", "void"])
def test_preparing_on_an_invoice_that_is_not_unpaid_is_refused(buyer: Customer, status: str) -> None:
    invoice = make_invoice(buyer, status=status)
    outcome = action.prepare(action.sample(), scope_of(invoice, buyer.workspace_id))
    assert isinstance(outcome, Refused)
    assert invoice.public_id in outcome.message


def test_preparing_without_an_invoice_fails_clearly(buyer: Customer) -> None:
    outcome = action.prepare(action.sample(), scope_of(None, buyer.workspace_id))
    assert isinstance(outcome, Failed)
    assert outcome.code == "subject_missing"


def test_an_invoice_of_another_workspace_is_never_charged(buyer: Customer) -> None:
    make_card(buyer)
    invoice = make_invoice(buyer)
    envelope = action.prepare(action.sample(), scope_of(invoice, make_buyer().workspace_id))
    outcome = act(action, envelope, "test.exec_1.1.0")  # type: ignore[arg-type]  # an envelope, by the records at hand
    assert isinstance(outcome, Refused)
    assert outcome.code == "not_found"
    assert not Booked.objects.exists()


def test_without_a_payment_method_the_step_fails_and_says_so(buyer: Customer) -> None:
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    outcome = act(action, envelope, key_of(envelope))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.temporary) == ("no_payment_method", False)
    assert buyer.public_id in outcome.message


def test_an_unreachable_gateway_is_an_error_and_leaves_no_payment(buyer: Customer) -> None:  # C-24
    invoice, outcome, _ = charged(buyer, "card_unreachable")
    assert isinstance(outcome, Failed)
    assert outcome.temporary
    assert payments_of(invoice) == []
    assert (reload(invoice).attempt_count, reload(invoice).status) == (0, "open")
    assert names_of(buyer.workspace) == ["invoice.issued"]


def test_a_lost_answer_is_unknown_until_it_is_read_back(buyer: Customer) -> None:  # DESIGN 5.3, UNKNOWN
    make_card(buyer, "card_timeout_after_charge")
    invoice = make_invoice(buyer)
    envelope = prepared(action, invoice)
    key = key_of(envelope)
    assert isinstance(act(action, envelope, key), Unknown)
    assert [row.status for row in payments_of(invoice)] == ["unknown"]
    assert reload(invoice).status == "open"
    found = action.find(envelope, key)
    assert found is not None
    outcome = settle(action, envelope, found)
    assert isinstance(outcome, Done)
    assert outcome.output["result"] == "paid"
    assert reload(invoice).status == "paid"
    assert Booked.objects.count() == 1
    assert names_of(buyer.workspace).count("payment.succeeded") == 1


def test_a_key_that_was_never_used_cannot_be_read_back(buyer: Customer) -> None:
    make_card(buyer)
    envelope = prepared(action, make_invoice(buyer))
    assert action.find(envelope, key_of(envelope)) is None


def test_while_a_charge_is_undecided_nothing_else_settles_the_invoice(buyer: Customer) -> None:
    invoice, _, _ = charged(buyer, "card_timeout_after_charge")
    actor = actor_of(buyer.workspace)
    for verb in (
        lambda: pay_invoice(actor=actor, invoice_id=invoice.pk),
        lambda: record_payment(actor=actor, invoice_id=invoice.pk, status="failed"),
        lambda: void_invoice(actor=actor, invoice_id=invoice.pk),
    ):
        with pytest.raises(Refusal, match="not decided yet"):
            verb()
    other = prepared(action, invoice)
    outcome = act(action, other, key_of(other))
    assert isinstance(outcome, Refused)
    assert outcome.code == "charge_open"
    assert Booked.objects.count() == 1


def test_the_database_allows_one_undecided_charge_an_invoice(buyer: Customer) -> None:
    invoice, _, _ = charged(buyer, "card_timeout_after_charge")
    open_one = payments_of(invoice)[0]
    open_one.pk, open_one.key = None, "another"
    with pytest.raises(IntegrityError), transaction.atomic():
        open_one.save()


def test_two_tries_count_two_attempts_and_the_second_pays(buyer: Customer) -> None:
    make_card(buyer, "card_soft_then_ok")
    invoice = make_invoice(buyer)
    results = []
    for visit in (1, 2):
        envelope = prepared(action, reload(invoice))
        outcome = act(action, envelope, key_of(envelope, visit))
        results.append(outcome.output["result"] if isinstance(outcome, Done) else outcome)
    assert results == ["declined", "paid"]
    assert [row.attempt for row in payments_of(invoice)] == [1, 2]
    assert (reload(invoice).attempt_count, reload(invoice).failed_count) == (2, 1)


def test_what_it_logs_is_the_invoice_and_the_amount(buyer: Customer) -> None:  # CONTRACTS 9
    envelope = prepared(action, make_invoice(buyer))
    assert envelope.input["invoice"].startswith("inv_")
    assert envelope.input["amount"] == "129.00"
    assert (envelope.kind, envelope.money, envelope.retries, envelope.waits) == ("charge", True, 0, True)


def test_an_undecided_charge_counts_as_no_attempt_yet(buyer: Customer) -> None:
    invoice, _, _ = charged(buyer, "card_timeout_after_charge")
    assert reload(invoice).attempt_count == 0
    assert Payment.objects.get(invoice=invoice).attempt is None
