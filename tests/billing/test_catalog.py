"""Products, prices and payment methods."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.errors import Refusal
from billing.models import PaymentMethod
from billing.services.catalog import create_payment_method, create_price, create_product
from tests.billing.helpers import make_buyer, make_card, make_price, reload
from tests.factories import actor_of, make_workspace

pytestmark = pytest.mark.django_db


def test_the_first_card_is_the_default_and_a_new_default_replaces_it() -> None:
    buyer = make_buyer()
    first = make_card(buyer)
    assert first.default
    second = make_card(buyer, "card_decline_soft")
    assert not second.default
    third = make_card(buyer, "card_decline_hard", default=True)
    assert [reload(row).default for row in (first, second, third)] == [False, False, True]


def test_the_same_card_has_the_same_fingerprint_and_another_customers_has_not() -> None:
    buyer, other = make_buyer(), make_buyer()
    assert make_card(buyer).fingerprint == make_card(buyer).fingerprint
    assert make_card(other).fingerprint != make_card(buyer).fingerprint


def test_an_unknown_card_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refusal, match="card_ok"):
        make_card(make_buyer(), "card_gold")
    assert not PaymentMethod.objects.exists()


def test_a_product_needs_a_name() -> None:
    with pytest.raises(Refusal, match="name"):
        create_product(actor=actor_of(make_workspace()), name="  ")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"interval": "fortnightly"}, "interval"),
        ({"currency": "E"}, "currency"),
        ({"amount": "-1"}, "amount"),
        ({"amount": 1.5}, "amount"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(fields: dict[str, Any], field: str) -> None:
    workspace = make_workspace()
    product = make_price(workspace).product
    given = {"amount": "1.00", "currency": "EUR", **fields}
    with pytest.raises(Refusal) as refused:
        create_price(actor=actor_of(workspace), product_id=product.pk, **given)
    assert refused.value.details["fields"].keys() == {field}


def test_foreign_products_and_customers_are_not_found() -> None:
    actor = actor_of(make_workspace())
    with pytest.raises(Refusal, match="no product"):
        create_price(actor=actor, product_id=make_price(make_workspace()).product_id, amount="1", currency="EUR")
    with pytest.raises(Refusal, match="no customer"):
        create_payment_method(actor=actor, customer_id=make_buyer().pk, card="card_ok")


def test_a_viewer_may_make_nothing() -> None:
    buyer = make_buyer()
    viewer = actor_of(buyer.workspace, "viewer")
    with pytest.raises(Refusal, match="role"):
        create_product(actor=viewer, name="Plan")
    with pytest.raises(Refusal, match="role"):
        create_price(actor=viewer, product_id=1, amount="1", currency="EUR")
    with pytest.raises(Refusal, match="role"):
        create_payment_method(actor=viewer, customer_id=buyer.pk, card="card_ok")
