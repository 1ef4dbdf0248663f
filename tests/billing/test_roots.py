"""Variables of billing (VAR-01 to VAR-12, C-14, CONTRACTS 5): fields, types, bulk reading, references, queries."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from accounts.models import Customer
from automations.engine.expressions import Environment, Names, compile_expression, compile_template
from automations.engine.registry import registry
from billing.models import Invoice
from billing.services.drafts import NewLine
from billing.services.payments import record_payment
from tests.billing.helpers import make_buyer, make_invoice, make_subscription, move_clock, payments_of
from tests.factories import actor_of, make_workspace

pytestmark = pytest.mark.django_db

#: CONTRACTS 5, Fields, without what the Billing issue adds.
INVOICE = (
    "id number status total amount amountPaid amountDue currency dueDate isOverdue collectionMethod autoAdvance attemptCount "
    "failedCount nextPaymentAttempt metadata lines customer subscription"
)
SUBSCRIPTION = "id status interval products currentPeriodEnd trialEnd cancelAt willRenew metadata"
PAYMENT = "id amount currency status failureReason failureCode failureCount attempt"


@pytest.fixture
def buyer() -> Customer:
    return make_buyer(make_workspace(time_zone="Europe/Berlin"), name="Ana Ruiz", email="ana@example.com")


def record(root: str, id: int) -> Any:
    return registry.roots[root].load([id])[id]


def evaluate(source: str, **data: Any) -> Any:
    env = Environment(data, datetime(2026, 11, 20, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
    return compile_expression(source, Names(frozenset(data), ())).value(env)


def render(source: str, **data: Any) -> str:
    env = Environment(data, datetime(2026, 11, 20, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
    return compile_template(source, Names(frozenset(data), ())).render(env)


@pytest.mark.parametrize(
    ("root", "fields"), [("invoice", INVOICE), ("subscription", SUBSCRIPTION), ("payment", PAYMENT)]
)
def test_roots_offer_the_fields_of_the_contract(buyer: Customer, root: str, fields: str) -> None:
    invoice = make_invoice(buyer, subscription=make_subscription(buyer), status="paid")
    ids = {"invoice": invoice.pk, "subscription": invoice.subscription_id, "payment": payments_of(invoice)[0].pk}
    declared = registry.roots[root].Fields.model_json_schema()["properties"]
    assert set(declared) == set(fields.split())
    assert set(record(root, ids[root] or 0)) - {"changedByRun"} == set(declared)


def test_records_fit_their_declared_types(buyer: Customer) -> None:
    invoice = make_invoice(buyer, subscription=make_subscription(buyer), status="paid")
    for root, id in (("invoice", invoice.pk), ("payment", payments_of(invoice)[0].pk)):
        data = {key: value for key, value in record(root, id).items() if key != "changedByRun"}
        if data.get("subscription"):
            data["subscription"] = {key: value for key, value in data["subscription"].items() if key != "changedByRun"}
        registry.roots[root].Fields.model_validate(data)


def test_an_invoice_as_templates_show_it(buyer: Customer) -> None:  # VAR-01 to VAR-07
    invoice = make_invoice(buyer, due=date(2026, 12, 31))
    shown = record("invoice", invoice.pk)
    expected = {
        "id": invoice.public_id,
        "total": "129.00",
        "currency": "EUR",
        "status": "unpaid",
        "dueDate": "2026-12-31",
        "due_date": "2026-12-31",
        "customer.name": "Ana Ruiz",
        "customer.email": "ana@example.com",
        "number": invoice.number,
    }
    for path, text in expected.items():
        assert render(f"{{{{invoice.{path}}}}}", invoice=shown) == text


def test_a_payment_as_templates_show_it(buyer: Customer) -> None:  # VAR-08 to VAR-12
    invoice = make_invoice(buyer)
    for _ in range(2):
        payment = record_payment(
            actor=actor_of(buyer.workspace), invoice_id=invoice.pk, status="failed", failure_reason="No funds"
        )
    shown = record("payment", payment.pk)
    found = [render(f"{{{{payment.{path}}}}}", payment=shown) for path in ("id", "amount", "status", "failureReason")]
    assert found == [payment.public_id, "129.00", "failed", "No funds"]
    assert (shown["failureCount"], shown["attempt"]) == (2, 2)


def test_an_open_invoice_answers_to_all_its_names(buyer: Customer) -> None:  # C-14, CND-09
    late = make_invoice(buyer, due=evaluation_now() + timedelta(hours=1))

    def holds(name: str) -> bool:
        return bool(evaluate(f'invoice.status == "{name}"', invoice=record("invoice", late.pk)))

    assert [holds(name) for name in ("open", "unpaid", "issued", "overdue", "past_due", "paid")] == [True] * 3 + [
        False
    ] * 3
    move_clock("2 hours")
    assert [holds(name) for name in ("open", "unpaid", "overdue", "past_due")] == [True] * 4
    assert record("invoice", late.pk)["isOverdue"] is True  # at its moment, also before the sweep


@pytest.mark.parametrize("status", ["draft", "paid", "void", "uncollectible"])
def test_other_statuses_have_one_name(buyer: Customer, status: str) -> None:
    shown = record("invoice", make_invoice(buyer, status=status).pk)
    assert shown["status"] == status
    assert not evaluate('invoice.status == "unpaid"', invoice=shown)


def test_amounts_compare_as_numbers(buyer: Customer) -> None:  # CND-04
    shown = record("invoice", make_invoice(buyer, "1000.01").pk)
    assert evaluate("invoice.amount > 1000", invoice=shown) is True
    assert evaluate("invoice.amount > 1000.01", invoice=shown) is False
    assert (shown["amountPaid"], shown["amountDue"]) == (Decimal("0.00"), Decimal("1000.01"))


def test_lines_can_be_looped_over(buyer: Customer) -> None:
    lines = [NewLine("Plan", "100.00", 2), NewLine("Rebate", "-1.50")]
    shown = record("invoice", make_invoice(buyer, lines=lines).pk)
    assert [(line["description"], line["quantity"], line["amount"]) for line in shown["lines"]] == [
        ("Plan", 2, Decimal("100.00")),
        ("Rebate", 1, Decimal("-1.50")),
    ]


def test_currencies_keep_their_own_decimals(buyer: Customer) -> None:
    yen = make_invoice(buyer, lines=[NewLine("Plan", "1290")], currency="JPY")
    assert render("{{invoice.total}}", invoice=record("invoice", yen.pk)) == "1290"


def test_a_subscription_says_whether_it_renews(buyer: Customer) -> None:
    assert record("subscription", make_subscription(buyer).pk)["willRenew"] is True
    assert record("subscription", make_subscription(buyer, status="paused").pk)["willRenew"] is False
    one_time = make_subscription(buyer, interval="one_time")
    assert record("subscription", one_time.pk)["willRenew"] is False
    assert record("subscription", one_time.pk)["interval"] is None


@pytest.mark.parametrize("root", ["invoice", "subscription", "payment"])
def test_loading_many_costs_no_more_queries_than_loading_one(buyer: Customer, root: str) -> None:
    ids: list[int] = []
    for _ in range(6):
        other = make_buyer(buyer.workspace)
        invoice = make_invoice(other, subscription=make_subscription(other), status="paid")
        found = {"invoice": invoice.pk, "subscription": invoice.subscription_id, "payment": payments_of(invoice)[0].pk}
        ids.append(found[root] or 0)
    counts = []
    for chosen in (ids[:1], ids):
        with CaptureQueriesContext(connection) as captured:
            assert set(registry.roots[root].load(chosen)) == set(chosen)
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 5


@pytest.mark.parametrize("root", ["invoice", "subscription", "payment"])
def test_unknown_ids_are_absent(root: str) -> None:
    assert registry.roots[root].load([999_999]) == {}


def test_references_bring_along_what_belongs_to_them(buyer: Customer) -> None:  # CONTRACTS 7
    subscription = make_subscription(buyer, external_id="S-1")
    invoice = make_invoice(buyer, subscription=subscription, status="paid", external_id="A-17")
    alone = make_invoice(buyer)
    payment = payments_of(invoice)[0]
    whole = {"invoice": invoice.pk, "subscription": subscription.pk, "customer": buyer.pk}

    def resolved(root: str, *refs: Any) -> list[Any]:
        return list(registry.roots[root].resolve(buyer.workspace_id, refs))

    assert resolved("invoice", invoice.pk, {"externalId": "A-17"}, alone.pk, 999_999, {"externalId": "?"}, {}) == [
        whole,
        whole,
        {"invoice": alone.pk, "customer": buyer.pk},
        None,
        None,
        None,
    ]
    assert resolved("subscription", {"externalId": "S-1"}) == [{"subscription": subscription.pk, "customer": buyer.pk}]
    assert resolved("payment", payment.pk) == [{**whole, "payment": payment.pk}]


def test_references_end_at_the_workspace(buyer: Customer) -> None:
    foreign = make_invoice(make_buyer(), external_id="A-17")
    found = registry.roots["invoice"].resolve(buyer.workspace_id, [foreign.pk, {"externalId": "A-17"}])
    assert list(found) == [None, None]


def test_resolving_many_is_one_query(buyer: Customer, django_assert_num_queries: Any) -> None:
    invoices = [make_invoice(buyer) for _ in range(4)]
    with django_assert_num_queries(1):
        registry.roots["invoice"].resolve(buyer.workspace_id, [row.pk for row in invoices])


def test_queries_page_through_a_workspace_by_key(buyer: Customer) -> None:  # STP-24
    invoices = [make_invoice(buyer, subscription=make_subscription(buyer)) for _ in range(3)]
    make_invoice(make_buyer())
    query = registry.queries["invoices"]
    first = query.page(buyer.workspace_id, 0, 2)
    rest = query.page(buyer.workspace_id, first[-1]["invoice"], 2)
    assert [row["invoice"] for row in [*first, *rest]] == [row.pk for row in invoices]
    assert first[0] == {"invoice": invoices[0].pk, "subscription": invoices[0].subscription_id, "customer": buyer.pk}
    subscriptions = registry.queries["subscriptions"].page(buyer.workspace_id, 0, 10)
    assert subscriptions[0] == {"subscription": invoices[0].subscription_id, "customer": buyer.pk}
    assert len(subscriptions) == 3


def test_the_record_remembers_the_run_that_changed_it(buyer: Customer) -> None:  # C-12
    invoice = make_invoice(buyer)
    Invoice.objects.filter(pk=invoice.pk).update(changed_by_run=456)
    assert record("invoice", invoice.pk)["changedByRun"] == 456
