"""The admin shows billing and changes nothing (CONTRACTS 10)."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import BillingObject
from tests.billing.helpers import make_buyer, make_card, make_invoice, make_subscription, payments_of
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client


def objects() -> list[BillingObject]:
    buyer = make_buyer()
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, subscription=subscription, status="paid")
    price = subscription.items.get().price
    return [price.product, price, subscription, invoice, payments_of(invoice)[0], make_card(buyer)]


def path_of(row: BillingObject) -> str:
    return f"/admin/billing/{row._meta.model_name}/"


def test_each_object_can_be_looked_at_and_not_changed(browser: Client) -> None:
    for row in objects():
        assert row.public_id in browser.get(path_of(row)).content.decode()
        page = browser.get(f"{path_of(row)}{row.pk}/change/")
        assert page.status_code == 200
        assert "_save" not in page.content.decode()
        assert browser.post(f"{path_of(row)}{row.pk}/change/", {}).status_code == 403
        assert browser.get(f"{path_of(row)}{row.pk}/delete/").status_code == 403
        assert browser.get(f"{path_of(row)}add/").status_code == 403


def test_amounts_are_shown_with_their_currency(browser: Client) -> None:
    objects()
    assert "129.00 EUR" in browser.get("/admin/billing/invoice/").content.decode()


def test_it_can_be_searched(browser: Client) -> None:
    invoice = objects()[3]
    assert invoice.public_id in browser.get(f"/admin/billing/invoice/?q={invoice.number}").content.decode()  # type: ignore[attr-defined]  # it is an invoice


def test_a_long_list_costs_no_more_queries_than_a_short_one(browser: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert browser.get("/admin/billing/invoice/").status_code == 200
        return len(captured)

    objects()
    queries()  # the first page of a process also fills Django's cache of content types
    one = queries()
    for _ in range(8):
        objects()
    assert queries() == one


def test_others_see_nothing(browser: Client) -> None:
    client = Client()
    client.force_login(make_user())
    assert client.get("/admin/billing/invoice/").status_code == 302
