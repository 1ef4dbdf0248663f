"""Billing obeys what accounts announces: merging moves the money, erasing leaves nothing personal (DESIGN 5.5)."""

from __future__ import annotations

import pytest

from accounts.actor import system_actor
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from billing.models import PaymentMethod
from tests.billing.helpers import make_buyer, make_card, make_invoice, make_subscription, payments_of, reload

pytestmark = pytest.mark.django_db


def test_a_merged_customers_money_moves_to_the_one_that_stays() -> None:
    source = make_buyer()
    target = make_buyer(source.workspace)
    subscription, card = make_subscription(source), make_card(source)
    invoice = make_invoice(source, subscription=subscription, status="paid")
    merge_customers(actor=system_actor(source.workspace_id), source_id=source.pk, into_id=target.pk)
    assert {reload(row).customer_id for row in (subscription, invoice, card)} == {target.pk}
    assert reload(card).default
    assert reload(target).facts["subscriptionStatus"] == "active"


def test_the_default_card_of_the_one_that_stays_stays_the_default() -> None:
    source = make_buyer()
    target = make_buyer(source.workspace)
    old, kept = make_card(source), make_card(target, "card_decline_soft")
    merge_customers(actor=system_actor(source.workspace_id), source_id=source.pk, into_id=target.pk)
    assert (reload(old).default, reload(kept).default) == (False, True)


def test_an_erased_customer_leaves_money_rows_without_anything_personal() -> None:
    buyer = make_buyer()
    make_card(buyer)
    subscription = make_subscription(buyer, metadata={"nickname": "ana"})
    invoice = make_invoice(buyer, subscription=subscription, status="paid", metadata={"to": "Ana"}, external_id="ana-1")
    payment = payments_of(invoice)[0]
    payment.metadata = {"from": "Ana"}
    payment.save()
    erase_customer(actor=system_actor(buyer.workspace_id), customer_id=buyer.pk)
    assert (reload(invoice).metadata, reload(invoice).external_id, reload(subscription).metadata) == ({}, "", {})
    assert reload(invoice).total == 12900
    assert (reload(payment).status, reload(payment).metadata) == ("succeeded", {})
    assert not PaymentMethod.objects.filter(customer=buyer).exists()


def test_the_customer_that_stays_has_the_best_status_of_both() -> None:  # CND-23
    source = make_buyer()
    target = make_buyer(source.workspace)
    make_subscription(source)
    make_subscription(target, status="unpaid")
    assert reload(target).facts["subscriptionStatus"] == "unpaid"
    merge_customers(actor=system_actor(source.workspace_id), source_id=source.pk, into_id=target.pk)
    assert reload(target).facts["subscriptionStatus"] == "active"
