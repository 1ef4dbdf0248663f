"""Fields of billing's request bodies read what they say and refuse the rest (CONTRACTS 1, 8)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers

from accounts.actor import system_actor
from accounts.api.base import Reference
from accounts.errors import Refusal
from billing.api.fields import AmountField, DueField, customer_number, numbers
from billing.api.invoices import STATUSES
from billing.models import Invoice, InvoiceStatus, Product
from tests.billing.helpers import make_buyer, make_invoice, make_price
from tests.factories import actor_of, make_workspace


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-11-30", date(2026, 11, 30)),
        ("2026-11-30T12:00:00Z", datetime(2026, 11, 30, 12, tzinfo=UTC)),
        ("2026-11-30T12:00:00+02:00", datetime(2026, 11, 30, 10, tzinfo=UTC)),
        ("2026-11-30T12:00:00", datetime(2026, 11, 30, 12, tzinfo=UTC)),
        ("2028-02-29", date(2028, 2, 29)),
    ],
)
def test_a_due_date_is_a_date_or_a_time(given: str, expected: date | datetime) -> None:
    assert DueField().run_validation(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "2026-11-31",
        "2027-02-29",
        "31.12.2026",
        "tomorrow",
        "2026-13-01",
        "1899-12-31",
        "9001-01-01",
        5,
        True,
        [],
        {},
    ],
)
def test_what_is_no_due_date_is_refused(given: Any) -> None:
    with pytest.raises(serializers.ValidationError):
        DueField().run_validation(given)


@given(st.text(max_size=40))
def test_no_text_makes_the_due_field_fail_otherwise(text: str) -> None:
    try:
        found = DueField().run_validation(text)
    except serializers.ValidationError:
        return
    assert isinstance(found, date)


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(8999, 12, 31)))
def test_every_date_in_range_is_read(day: date) -> None:
    assert DueField().run_validation(day.isoformat()) == day


@pytest.mark.parametrize("given", ["129.00", 129, Decimal("1.5"), "nonsense"])
def test_an_amount_is_handed_on_as_it_was_written(given: Any) -> None:
    assert AmountField().run_validation(given) == given  # the service knows the currency and judges it


@pytest.mark.parametrize("given", [True, None, [], {}, 1.5])
def test_what_cannot_be_an_amount_is_refused(given: Any) -> None:
    with pytest.raises(serializers.ValidationError):
        AmountField().run_validation(given)


@pytest.mark.parametrize("field", [AmountField(), DueField()])
def test_fields_for_reading_only_show_what_they_are_given(field: Any) -> None:
    assert field.to_representation("x") == "x"


@pytest.mark.django_db
def test_references_are_resolved_in_order_by_id_and_external_id(django_assert_num_queries: Any) -> None:
    workspace = make_workspace()
    first, second = (make_price(workspace).product for _ in range(2))
    Product.objects.filter(pk=second.pk).update(external_id="P-2")
    refs = [Reference(None, "P-2"), Reference(first.pk), Reference(second.pk), Reference(first.pk)]
    with django_assert_num_queries(2):
        found = numbers(system_actor(workspace.pk), Product, refs, "product", "prod")
    assert found == [second.pk, first.pk, second.pk, first.pk]


@pytest.mark.django_db
@pytest.mark.parametrize("ref", [Reference(999_999), Reference(None, "nowhere")])
def test_a_reference_to_nothing_is_named(ref: Reference) -> None:
    with pytest.raises(Refusal) as refused:
        numbers(actor_of(make_workspace()), Product, [ref], "product", "prod")
    assert (refused.value.code, refused.value.status) == ("unknown_reference", 422)
    assert (ref.external_id or "prod_999999") in refused.value.message


@pytest.mark.django_db
def test_a_reference_ends_at_the_workspace() -> None:
    product = make_price(make_workspace()).product
    Product.objects.filter(pk=product.pk).update(external_id="P-1")
    actor = actor_of(make_workspace())
    for ref in (Reference(product.pk), Reference(None, "P-1")):
        with pytest.raises(Refusal):
            numbers(actor, Product, [ref], "product", "prod")


@pytest.mark.django_db
def test_a_customer_is_named_by_id_external_id_or_address_and_never_made() -> None:
    buyer = make_buyer(external_id="C-1", email="Ana@Example.com")
    actor = actor_of(buyer.workspace)
    for ref in (Reference(buyer.pk), Reference(None, "C-1"), Reference(None, "", "ana@example.COM")):
        assert customer_number(actor, ref) == buyer.pk
    with pytest.raises(Refusal) as refused:
        customer_number(actor, Reference(None, "", "nobody@example.com"))
    assert refused.value.code == "unknown_reference"


@pytest.mark.django_db
def test_every_status_can_be_asked_for_by_all_its_names() -> None:  # C-14
    buyer = make_buyer()
    late = make_invoice(buyer, due=date(2020, 1, 1))
    rows = {status: make_invoice(buyer, status=status) for status in InvoiceStatus.values}
    found = {name: set(Invoice.objects.filter(where).values_list("pk", flat=True)) for name, where in STATUSES.items()}
    for status in ("draft", "paid", "void", "uncollectible"):
        assert found[status] == {rows[status].pk}
    assert found["open"] == found["unpaid"] == found["issued"] == {rows["open"].pk, late.pk}
    assert found["overdue"] == found["past_due"] == {late.pk}
