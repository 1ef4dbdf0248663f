"""The triggers of billing and what ends their runs (TRG-04 to TRG-10, TRG-28 to TRG-36, TRG-48, TRG-49, C-12, C-15)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from automations.engine.expressions import Environment, Names, compile_expression
from automations.engine.kinds import Content, EventFacts, Trigger
from automations.engine.registry import registry
from automations.engine.values import plain
from automations.services import defaults
from billing.records import load_invoices
from tests.billing.helpers import make_buyer, make_invoice

NOW = datetime(2026, 11, 20, tzinfo=UTC)
PARALLEL = {
    *("invoice.issued", "invoice.paid", "invoice.overdue", "invoice.voided", "invoice.updated"),
    *("invoice.marked_uncollectible", "payment.failed", "payment.succeeded", "subscription.created"),
    *("subscription.activated", "subscription.canceled", "subscription.updated"),
}
EXCLUSIVE = {"billing.invoice_overdue", "billing.subscription_payment_failed"}


def billing() -> list[Trigger]:
    return [registry.triggers[key] for key in sorted(PARALLEL | EXCLUSIVE)]


def facts(name: str, trigger: dict[str, Any], **subjects: int) -> EventFacts:
    return EventFacts(1, name, {"customer": 7, **subjects}, Content.of(trigger, {}), NOW)


@pytest.mark.parametrize("key", sorted(PARALLEL | EXCLUSIVE))
def test_each_trigger_has_its_six_attributes(key: str) -> None:  # TRG-48
    trigger = registry.triggers[key]
    assert trigger.group
    assert trigger.label
    assert trigger.hint
    assert trigger.subject in ("invoice", "payment", "subscription")
    assert trigger.dispatch == ("exclusive" if key in EXCLUSIVE else "parallel")
    assert trigger.provides >= {"customer", trigger.subject}
    assert trigger.Parameters.model_json_schema()["type"] == "object"


@pytest.mark.parametrize("key", sorted(PARALLEL | EXCLUSIVE))
def test_samples_fit_the_declared_data(key: str) -> None:
    trigger = registry.triggers[key]
    assert trigger.Data is not None
    trigger.Data.model_validate(dict(trigger.sample))
    assert trigger.sample["accountOwner"]
    assert trigger.sample["customer"]["email"]


def test_the_sample_of_payment_failed_is_that_of_the_contract() -> None:  # CONTRACTS 7
    sample = registry.triggers["payment.failed"].sample
    contract = {
        "id": "pay_31",
        "amount": "129.00",
        "currency": "EUR",
        "status": "failed",
        "failureCount": 1,
        "attempt": 1,
        "failureCode": "insufficient_funds",
        "failureReason": "Insufficient funds",
        "accountOwner": "mara@northwind.example",
    }
    assert {key: sample[key] for key in contract} == contract
    assert sample["customer"]["id"] == "cus_7"
    assert (sample["invoice"]["id"], sample["invoice"]["dueDate"]) == ("inv_8", "2026-11-30")
    assert sample["subscription"]["status"] == "past_due"


def test_one_occurrence_serves_several_triggers() -> None:  # TRG-49, C-05
    heard = {name: {t.key for t in billing() if name in t.listens} for name in ("payment.failed", "invoice.overdue")}
    assert heard == {
        "payment.failed": {"payment.failed", "billing.subscription_payment_failed"},
        "invoice.overdue": {"invoice.overdue", "billing.invoice_overdue"},
    }


def test_money_goes_on_when_the_reader_unsubscribes() -> None:  # C-15
    assert {t.key for t in billing() if not t.transactional} == {
        key for key in PARALLEL if key.startswith("subscription.")
    }


def test_runs_are_told_apart_by_invoice_or_subscription() -> None:  # DESIGN 5.1, Re-entry
    for trigger in billing():
        expected = "subscription" if trigger.key.startswith("subscription.") else "invoice"
        assert trigger.reentry_subject == expected


@pytest.mark.parametrize(
    ("method", "expected"), [("send_invoice", True), ("charge_automatically", False), (None, False)]
)
def test_invoice_is_overdue_is_for_invoices_that_are_sent(method: str | None, expected: bool) -> None:  # TRG-29
    trigger = registry.triggers["billing.invoice_overdue"]
    own = facts("invoice.overdue", {"collectionMethod": method}, invoice=8)
    report = facts("invoice.overdue", {"invoice": {"collectionMethod": method}}, invoice=8)
    assert trigger.applies(own, None) is expected
    assert trigger.applies(report, None) is expected


@pytest.mark.parametrize(
    ("trigger", "subjects", "expected"),
    [
        ({"attempt": 1, "failureCount": 1}, {"subscription": 3}, True),
        ({"attempt": 2, "failureCount": 2}, {"subscription": 3}, False),
        ({"attempt": 2, "failureCount": 1}, {"subscription": 3}, False),
        ({"attempt": 1, "failureCount": 1}, {}, False),
        ({"failureCount": 1}, {"subscription": 3}, True),
        ({"failureCount": 2}, {"subscription": 3}, False),
        ({}, {"subscription": 3}, False),
        ({"attempt": True}, {"subscription": 3}, False),
    ],
)
def test_subscription_payment_fails_is_for_the_first_attempt_of_a_subscription(
    trigger: dict[str, Any], subjects: dict[str, int], expected: bool
) -> None:  # TRG-33
    found = registry.triggers["billing.subscription_payment_failed"]
    assert found.applies(facts("payment.failed", trigger, invoice=8, **subjects), None) is expected


@pytest.mark.parametrize("key", sorted(EXCLUSIVE))
def test_what_ends_the_exclusive_ones(key: str) -> None:  # TRG-30 to 32, TRG-34 to 36
    ends = {(end.event, end.reason, end.own_effects) for end in registry.triggers[key].ends}
    assert ends == {
        ("invoice.paid", "invoice_paid", True),
        ("invoice.voided", "invoice_voided", True),
        ("invoice.updated", "auto_advance_off", False),
        ("invoice.marked_uncollectible", "auto_advance_off", False),
    }


def holding(source: str, invoice: Any) -> bool:
    env = Environment({"invoice": invoice}, NOW, ZoneInfo("UTC"))
    return compile_expression(source, Names(frozenset({"invoice", "subscription"}), ())).test(env)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        ("open", set()),
        ("paid", {"invoice_paid", "auto_advance_off"}),
        ("void", {"invoice_voided", "auto_advance_off"}),
        ("uncollectible", {"auto_advance_off"}),
    ],
)
def test_the_predicates_of_the_ends_hold_on_the_live_invoice(status: str, reasons: set[str]) -> None:  # C-11
    invoice = make_invoice(make_buyer(), status=status)
    record = load_invoices([invoice.pk])[invoice.pk]
    ends = registry.triggers["billing.invoice_overdue"].ends
    found = [end.reason for end in ends if holding(end.predicate, record)]
    assert set(found) == reasons
    assert (
        found[:1] == sorted(reasons, key=lambda reason: reason == "auto_advance_off")[:1]
    )  # the plainer reason is first


@pytest.mark.django_db
def test_facts_hold_while_they_are_true_of_the_live_invoice() -> None:
    buyer = make_buyer()
    for key, status in (
        ("invoice.paid", "paid"),
        ("invoice.voided", "void"),
        ("invoice.marked_uncollectible", "uncollectible"),
    ):
        for other in ("open", "paid", "void", "uncollectible"):
            invoice = make_invoice(buyer, status=other)
            record = load_invoices([invoice.pk])[invoice.pk]
            assert holding(registry.triggers[key].holds, record) is (status == other)


def test_default_settings_act_on_the_exclusive_ones_only() -> None:  # PRI-11, PRI-13
    event = facts("payment.failed", {"attempt": 1}, subscription=3, invoice=8)
    assert {key: defaults.apply_default(key, 1, event) for key in sorted(EXCLUSIVE)} == dict.fromkeys(
        EXCLUSIVE, "applied"
    )
    assert defaults.apply_default("payment.failed", 1, event) is None


def test_samples_are_plain_data() -> None:
    for trigger in billing():
        assert plain(trigger.sample) == dict(trigger.sample)
