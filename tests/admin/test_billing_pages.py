"""Pages of billing: what is owed, what was tried, and which run did it (CONTRACTS 10)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from accounts.clock import real_now
from accounts.models import Workspace
from billing import models as billing
from tests.admin.pages import (
    address,
    block,
    content,
    facts,
    links,
    notice,
    page_of,
    read,
    rows,
    title,
    words,
)
from tests.billing.helpers import make_card, make_invoice, make_subscription, payments_of
from tests.factories import make_customer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


class TestBilling:
    def test_an_invoice_says_what_is_owed_and_what_was_tried(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, name="Ana Ruiz")
        invoice = make_invoice(customer, "129.00", subscription=make_subscription(customer))
        html = read(operator, page_of(invoice))
        shown = facts(html)
        assert title(html) == f"{invoice.number} Open"
        assert (shown["Total"], shown["Paid"]) == ("129.00 EUR", "0.00 EUR; 129.00 EUR due")
        assert shown["Collected"] == "charged to the card on file"
        assert rows(block(html, "Lines")) == [["Team plan", "1", "129.00 EUR"]]
        assert "Nobody has tried to collect it yet." in words(html)
        assert links(html)["Ana Ruiz"] == page_of(customer)

    def test_a_draft_is_called_by_its_id_until_it_has_a_number(self, operator: Client, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace), status="draft")
        assert title(read(operator, page_of(invoice))) == f"{invoice.public_id} Draft"

    def test_an_overdue_one_says_so_while_it_is_open(self, operator: Client, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace))
        past = real_now() - timedelta(days=1)
        billing.Invoice.objects.filter(pk=invoice.pk).update(due_at=past, overdue_at=past)
        assert title(read(operator, page_of(invoice))).endswith("Open Overdue")
        assert "Overdue" in words(content(read(operator, address(billing.Invoice))))

    def test_payments_lead_to_the_run_that_made_them(self, operator: Client, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace), status="paid")
        [payment] = payments_of(invoice)
        assert rows(block(read(operator, page_of(invoice)), "Payments"))[0][4] == "–"
        billing.Payment.objects.filter(pk=payment.pk).update(key="abc.exec_77.4.0")
        found = rows(block(read(operator, page_of(invoice)), "Payments"))[0]
        assert found[:3] == [payment.public_id, "Succeeded", "129.00 EUR"]
        assert found[4] == "exec_77"
        html = read(operator, page_of(payment))
        assert facts(html)["Made by"] == "exec_77"
        assert facts(html)["Paid the invoice in full"] == "Yes"
        assert links(html)[invoice.number] == page_of(invoice)

    def test_an_undecided_charge_says_what_that_means(self, operator: Client, workspace: Workspace) -> None:
        [payment] = payments_of(make_invoice(make_customer(workspace), status="paid"))
        billing.Payment.objects.filter(pk=payment.pk).update(
            status="unknown", attempt=None, decided_at=None, settles=False
        )
        html = read(operator, page_of(payment))
        assert "the card is not charged a second time meanwhile" in notice(html)
        assert title(html).endswith("Unknown")

    def test_a_subscription_says_what_it_consists_of(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace)
        subscription = make_subscription(customer)
        invoice = make_invoice(customer, subscription=subscription)
        html = read(operator, page_of(subscription))
        assert rows(block(html, "Items")) == [["Team plan", "1", "129.00 EUR", "monthly"]]
        assert rows(block(html, "Invoices"))[0][0] == invoice.number
        assert invoice.public_id in read(operator, links(html)["All invoices"])

    def test_a_product_shows_its_prices_and_a_price_its_product(self, operator: Client, workspace: Workspace) -> None:
        price = make_subscription(make_customer(workspace)).items.get().price
        assert rows(block(read(operator, page_of(price.product)), "Prices")) == [
            [price.public_id, "129.00 EUR", "monthly"]
        ]
        html = read(operator, page_of(price))
        assert title(html) == "Team plan, 129.00 EUR"
        assert links(html)["Team plan"] == page_of(price.product)

    def test_a_card_is_named_as_the_gateway_does(self, operator: Client, workspace: Workspace) -> None:
        card = make_card(make_customer(workspace))
        assert facts(read(operator, page_of(card)))["Reference"] == card.reference
        assert card.fingerprint not in read(operator, page_of(card))

    @pytest.mark.parametrize(
        ("words_of", "known"),
        [
            ("INVOICES", billing.InvoiceStatus.values), ("PAYMENTS", billing.PaymentStatus.values),
            ("SUBSCRIPTIONS", billing.SubscriptionStatus.values),
        ],
    )  # fmt: skip
    def test_every_status_has_its_word(self, words_of: str, known: list[str]) -> None:
        from billing.adminsite import base

        assert set(getattr(base, words_of)) == set(known)
