"""Every rule of money has a constraint, and each refuses the row that breaks it (DESIGN 6, CONTRACTS 3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F

from accounts.clock import evaluation_now
from billing.models import (
    Invoice,
    InvoiceCounter,
    InvoiceLine,
    Payment,
    PaymentMethod,
    Price,
    Product,
    Subscription,
    SubscriptionItem,
)
from billing.models import TestCharge as Booked
from billing.services.payments import record_payment
from tests.billing.helpers import (
    make_buyer,
    make_card,
    make_invoice,
    make_price,
    make_subscription,
    payments_of,
    reload,
)
from tests.factories import actor_of, make_workspace

pytestmark = pytest.mark.django_db

PAST = datetime(2020, 1, 1, tzinfo=UTC)


def make(kind: str) -> models.Model:
    """A good row of a kind."""
    buyer = make_buyer()
    status = {"draft": "draft", "open": "open", "paid": "paid", "void": "void", "uncollectible": "uncollectible"}
    if kind in status:
        return make_invoice(buyer, status=status[kind])
    makers: dict[str, Callable[[], models.Model]] = {
        "product": lambda: make_price(buyer.workspace).product,
        "price": lambda: make_price(buyer.workspace),
        "card": lambda: make_card(buyer),
        "subscription": lambda: make_subscription(buyer),
        "canceled": lambda: make_subscription(buyer),
        "trial": lambda: make_subscription(buyer, trial_end=evaluation_now() + timedelta(days=3)),
        "item": lambda: make_subscription(buyer).items.get(),
        "line": lambda: make_invoice(buyer).lines.get(),
        "failed": lambda: record_payment(
            actor=actor_of(buyer.workspace), invoice_id=make_invoice(buyer).pk, status="failed", failure_code="declined"
        ),
        "succeeded": lambda: payments_of(make_invoice(buyer, status="paid"))[0],
    }
    return makers[kind]()


#: A good row, what is changed about it, and the name of the constraint that must refuse.
BREACHES: list[tuple[str, dict[str, Any], str]] = [
    ("product", {"name": ""}, "product_has_name"),
    ("price", {"amount": -1}, "price_not_negative"),
    ("price", {"currency": "EURO"[:3].lower()}, "price_currency_is_iso"),
    ("price", {"interval": "hourly"}, "price_interval_known"),
    ("subscription", {"status": "gone"}, "subscription_status_known"),
    ("subscription", {"collection_method": "pigeon"}, "subscription_collection_known"),
    ("subscription", {"current_period_end": F("current_period_start")}, "subscription_period_order"),
    ("subscription", {"current_period_end": PAST}, "subscription_period_order"),
    ("subscription", {"status": "canceled"}, "subscription_canceled_has_time"),
    ("subscription", {"canceled_at": PAST}, "subscription_canceled_has_time"),
    ("subscription", {"status": "trialing"}, "subscription_trial_has_end"),
    ("trial", {"trial_end": None}, "subscription_trial_has_end"),
    ("item", {"quantity": 0}, "subscription_item_has_quantity"),
    ("open", {"currency": "E1R"}, "invoice_currency_is_iso"),
    ("open", {"status": "late"}, "invoice_final_is_not_collected"),
    ("open", {"collection_method": "pigeon"}, "invoice_collection_known"),
    ("open", {"amount_paid": -1}, "invoice_paid_within_total"),
    ("open", {"amount_paid": F("total") + 1}, "invoice_paid_within_total"),
    ("open", {"amount_paid": F("total")}, "invoice_status_agrees_with_paid"),
    ("draft", {"amount_paid": 1}, "invoice_status_agrees_with_paid"),
    ("paid", {"amount_paid": 1}, "invoice_status_agrees_with_paid"),
    ("uncollectible", {"amount_paid": F("total")}, "invoice_status_agrees_with_paid"),
    ("draft", {"number": "INV-1"}, "invoice_issued_has_number_and_time"),
    ("draft", {"finalized_at": PAST}, "invoice_issued_has_number_and_time"),
    ("open", {"number": ""}, "invoice_issued_has_number_and_time"),
    ("open", {"finalized_at": None}, "invoice_issued_has_number_and_time"),
    ("open", {"paid_at": PAST}, "invoice_paid_has_time"),
    ("paid", {"paid_at": None}, "invoice_paid_has_time"),
    ("open", {"voided_at": PAST}, "invoice_void_has_time"),
    ("void", {"voided_at": None}, "invoice_void_has_time"),
    ("open", {"marked_uncollectible_at": PAST}, "invoice_uncollectible_has_time"),
    ("uncollectible", {"marked_uncollectible_at": None}, "invoice_uncollectible_has_time"),
    ("paid", {"auto_advance": True}, "invoice_final_is_not_collected"),
    ("void", {"auto_advance": True}, "invoice_final_is_not_collected"),
    ("uncollectible", {"auto_advance": True}, "invoice_final_is_not_collected"),
    ("paid", {"next_payment_attempt": PAST}, "invoice_final_is_not_collected"),
    ("open", {"overdue_at": PAST}, "invoice_overdue_after_due"),
    ("open", {"overdue_at": PAST, "due_at": PAST + timedelta(days=1)}, "invoice_overdue_after_due"),
    ("draft", {"overdue_at": PAST, "due_at": PAST}, "invoice_overdue_after_due"),
    ("open", {"failed_count": 1}, "invoice_failures_are_attempts"),
    ("failed", {"amount": 0}, "payment_amount_positive"),
    ("failed", {"status": "lost"}, "payment_decided_has_attempt_and_time"),
    ("failed", {"currency": "eur"}, "payment_currency_is_iso"),
    ("failed", {"attempt": None}, "payment_decided_has_attempt_and_time"),
    ("failed", {"decided_at": None}, "payment_decided_has_attempt_and_time"),
    ("failed", {"settles": True}, "payment_settles_only_if_succeeded"),
    ("succeeded", {"failure_code": "declined"}, "payment_reason_only_if_failed"),
    ("succeeded", {"failure_reason": "Declined"}, "payment_reason_only_if_failed"),
    ("succeeded", {"status": "unknown"}, "payment_decided_has_attempt_and_time"),
    ("succeeded", {"status": "pending"}, "payment_decided_has_attempt_and_time"),
]


@pytest.mark.parametrize(("kind", "change", "constraint"), BREACHES)
def test_a_row_that_breaks_a_rule_is_refused(kind: str, change: dict[str, Any], constraint: str) -> None:
    row = make(kind)
    with pytest.raises(IntegrityError, match=r"violates check constraint") as refused, transaction.atomic():
        type(row)._default_manager.filter(pk=row.pk).update(**change)
    named = refused.value.__cause__.diag.constraint_name  # type: ignore[union-attr]  # psycopg's own error
    assert named == constraint


def _checks_of(model: type[models.Model]) -> set[str]:
    return {rule.name for rule in model._meta.constraints if isinstance(rule, models.CheckConstraint)}


def test_every_check_constraint_is_broken_by_some_test() -> None:
    """A constraint that was never seen to refuse proves nothing (INVARIANTS)."""
    every = set().union(
        *(_checks_of(model) for model in (Product, Price, PaymentMethod, Subscription, SubscriptionItem))
    )
    every |= _checks_of(Invoice) | _checks_of(InvoiceLine) | _checks_of(Payment)
    # An unknown status breaks other rules too, and PostgreSQL names the first one in the alphabet.
    overtaken = {"invoice_status_known", "payment_status_known"}
    assert every - overtaken == {name for _, _, name in BREACHES}


def _copy(row: models.Model, **changes: Any) -> models.Model:
    """The same row once more, under a new key."""
    fresh = type(row)._default_manager.get(pk=row.pk)
    fresh.pk = None
    for name, value in changes.items():
        setattr(fresh, name, value)
    return fresh


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("card", {}),  # one default a customer
        ("item", {}),  # each price once
        ("line", {}),  # each position once
        ("open", {}),  # the number
        ("failed", {}),  # the attempt
        ("succeeded", {"attempt": 2}),  # one settles
    ],
)
def test_unique_rules_refuse_the_second_row(kind: str, changes: dict[str, Any]) -> None:
    row = make(kind)
    with pytest.raises(IntegrityError, match="unique"), transaction.atomic():
        _copy(row, **changes).save(force_insert=True)


@pytest.mark.parametrize("kind", ["product", "price", "subscription", "draft", "failed"])
def test_an_external_id_is_unique_in_its_workspace(kind: str) -> None:
    row = make(kind)
    type(row)._default_manager.filter(pk=row.pk).update(external_id="A-17")
    changes = {"attempt": 2} if kind == "failed" else {}
    with pytest.raises(IntegrityError, match="external_id_unique"), transaction.atomic():
        _copy(row, **changes).save(force_insert=True)
    _copy(row, external_id="B-18", **changes).save(force_insert=True)


def test_no_external_id_at_all_may_be_had_by_many() -> None:
    first = make("product")
    _copy(first).save(force_insert=True)
    assert Product.objects.filter(external_id="").count() == 2


def test_one_undecided_charge_an_invoice() -> None:
    invoice = make("open")
    assert isinstance(invoice, Invoice)
    now = evaluation_now()
    fields: dict[str, Any] = {
        "workspace_id": invoice.workspace_id,
        "invoice": invoice,
        "amount": 1,
        "currency": "EUR",
        "created_at": now,
        "updated_at": now,
    }
    Payment.objects.create(**fields, status="pending", key="k1")
    with pytest.raises(IntegrityError, match="payment_one_open"), transaction.atomic():
        Payment.objects.create(**fields, status="unknown", key="k2")


def test_a_key_is_used_once_in_a_workspace() -> None:
    first, second = make("failed"), make("failed")
    assert isinstance(first, Payment)
    assert isinstance(second, Payment)
    Payment.objects.filter(pk=first.pk).update(key="k1")
    Payment.objects.filter(pk=second.pk).update(key="k1")  # another workspace
    with pytest.raises(IntegrityError, match="payment_key_once"), transaction.atomic():
        _copy(reload(first), attempt=2).save(force_insert=True)


def test_the_test_gateways_books_have_each_key_once() -> None:
    Booked.objects.create(key="k1", reference="card_ok", invoice=1, amount=1, currency="EUR", result={})
    with pytest.raises(IntegrityError, match="unique"), transaction.atomic():
        Booked.objects.create(key="k1", reference="card_ok", invoice=1, amount=1, currency="EUR", result={})


def test_a_counter_is_kept_per_workspace() -> None:
    for _ in range(2):
        buyer = make_buyer()
        for _ in range(2):
            make_invoice(buyer)
    assert list(InvoiceCounter.objects.values_list("last", flat=True)) == [2, 2]


@pytest.mark.parametrize("kind", ["product", "price", "subscription", "open"])
def test_what_others_refer_to_cannot_be_deleted(kind: str) -> None:
    buyer = make_buyer()
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, subscription=subscription, status="paid")
    price = subscription.items.get().price
    rows: dict[str, models.Model] = {
        "product": price.product,
        "price": price,
        "subscription": subscription,
        "open": invoice,
    }
    with pytest.raises(models.ProtectedError):
        rows[kind].delete()


def test_a_card_that_goes_leaves_its_payments() -> None:
    buyer = make_buyer()
    card = make_card(buyer)
    payment = payments_of(make_invoice(buyer, status="paid"))[0]
    Payment.objects.filter(pk=payment.pk).update(method=card)
    card.delete()
    assert reload(payment).method is None


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("product", "prod"),
        ("price", "price"),
        ("card", "pm"),
        ("subscription", "sub"),
        ("open", "inv"),
        ("failed", "pay"),
    ],
)
def test_public_ids_have_the_prefix_of_the_contract(kind: str, prefix: str) -> None:  # CONTRACTS 1
    row = make(kind)
    assert str(row) == row.public_id == f"{prefix}_{row.pk}"  # type: ignore[attr-defined]  # a billing object


def test_rows_without_an_id_of_their_own_still_have_a_name() -> None:
    item, line = make("item"), make("line")
    counter = InvoiceCounter.objects.get(workspace_id=line.workspace_id)  # type: ignore[attr-defined]  # a line
    assert str(line) == "Team plan"
    assert str(item).endswith(f"1 of {item.price_id}")  # type: ignore[attr-defined]  # an item
    assert str(counter).endswith(": 1")


def _plan(sql: str, *values: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("set local enable_seqscan = off")
        cursor.execute("set local enable_bitmapscan = off")
        cursor.execute(f"explain {sql}", values)
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize("name", ["invoice_list", "subscription_list", "payment_list"])
def test_lists_have_an_index_by_workspace_newest_first(name: str) -> None:
    """By definition and not by plan: on an empty table the planner may as well walk the primary key."""
    with connection.cursor() as cursor:
        cursor.execute("select indexdef from pg_indexes where indexname = %s", [name])
        assert cursor.fetchone()[0].endswith("(workspace_id, id DESC)")


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (
            "select id from billing_invoice where status = 'open' and overdue_at is null and due_at <= now() order by due_at",
            "invoice_due",
        ),
        ("select id from billing_payment where workspace_id = 1 and key = 'k' and key <> ''", "payment_key_once"),
        ("select id from billing_payment where invoice_id = 1 and status in ('pending', 'unknown')", "payment_"),
        ("select count(*) from billing_test_charge where reference = 'x' and invoice = 1", "test_charge_of_card"),
    ],
)
def test_hot_queries_have_an_index(sql: str, index: str) -> None:
    assert index in _plan(sql)


def test_a_workspace_with_money_is_not_deleted() -> None:
    workspace = make_workspace()
    make_price(workspace)
    with pytest.raises(models.ProtectedError):
        workspace.delete()
