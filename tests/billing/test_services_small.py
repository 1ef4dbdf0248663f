"""The small parts that all billing services share: checks, locks, facts, and where billing plugs in."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.errors import Refusal
from accounts.models import Customer
from automations.engine.kinds import Charge, Gateway
from automations.engine.registry import registry
from automations.services import defaults, sweeps
from billing import plug
from billing.defaults import EXCLUSIVE
from billing.models import Invoice, Product
from billing.services.checks import (
    changed_metadata,
    clean_external_id,
    find_all,
    hold_customer,
    insert,
    wrong_state,
)
from billing.services.facts import BEST_FIRST, refresh_subscription_status
from billing.services.locking import hold_customers, hold_invoices, hold_subscriptions
from tests.billing.helpers import make_buyer, make_invoice, make_price, make_subscription, reload
from tests.factories import actor_of, make_workspace


@pytest.mark.parametrize(
    ("stored", "given", "expected"),
    [
        ({}, {"a": "1"}, {"a": "1"}),
        ({"a": "1"}, {"a": "2"}, {"a": "2"}),
        ({"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
        ({"a": "1"}, {"a": None}, {}),
        ({"a": "1"}, {"x": None}, {"a": "1"}),
        ({"a": "1"}, {}, {"a": "1"}),
        ({"a": "1"}, None, {}),
        ({}, {"seats": 3, "vip": True}, {"seats": "3", "vip": "true"}),
    ],
)
def test_metadata_is_merged_key_by_key(stored: dict[str, str], given: Any, expected: dict[str, str]) -> None:  # BIL-10
    assert changed_metadata(stored, given) == expected


@pytest.mark.parametrize(
    "given", ["text", ["a"], {"a": {"b": "c"}}, {"": "x"}, {"a\x00": "x"}, {"a": "x\x00"}, {1: "x"}]
)
def test_metadata_that_is_no_text_pairs_is_refused(given: Any) -> None:
    with pytest.raises(Refusal) as refused:
        changed_metadata({}, given)
    assert refused.value.details["fields"].keys() == {"metadata"}


def test_metadata_cannot_grow_beyond_fifty_pairs() -> None:
    full = {f"k{n}": "v" for n in range(50)}
    assert changed_metadata(full, {"k0": "new"})["k0"] == "new"
    assert len(changed_metadata(full, {"k0": None, "other": "v"})) == 50
    with pytest.raises(Refusal):
        changed_metadata(full, {"other": "v"})


@pytest.mark.parametrize(("given", "expected"), [("A-17", "A-17"), ("  A-17 ", "A-17"), (None, ""), ("", "")])
def test_external_ids_are_trimmed(given: Any, expected: str) -> None:
    assert clean_external_id(given) == expected


@pytest.mark.parametrize("given", ["x" * 201, "a\x00b", 17, ["a"]])
def test_what_is_no_external_id_is_refused(given: Any) -> None:
    with pytest.raises(Refusal) as refused:
        clean_external_id(given)
    assert refused.value.details["fields"].keys() == {"externalId"}


@pytest.mark.django_db
def test_a_customer_must_be_there() -> None:
    buyer = make_buyer()
    assert hold_customer(actor_of(buyer.workspace), buyer.pk) == buyer
    with pytest.raises(Refusal) as foreign:
        hold_customer(actor_of(make_workspace()), buyer.pk)
    assert foreign.value.code == "not_found"
    Customer.objects.filter(pk=buyer.pk).update(merged_into=make_buyer(buyer.workspace))
    with pytest.raises(Refusal) as gone:
        hold_customer(actor_of(buyer.workspace), buyer.pk)
    assert gone.value.code == "wrong_state"


@pytest.mark.django_db
def test_many_are_found_with_one_query_and_the_missing_one_is_named(django_assert_num_queries: Any) -> None:
    workspace = make_workspace()
    products = [make_price(workspace).product for _ in range(3)]
    foreign = make_price(make_workspace()).product
    actor = actor_of(workspace)
    with django_assert_num_queries(1):
        assert set(find_all(Product, actor, [row.pk for row in products], "product", "prod")) == {
            r.pk for r in products
        }
    with pytest.raises(Refusal, match=foreign.public_id):
        find_all(Product, actor, [products[0].pk, foreign.pk], "product", "prod")


@pytest.mark.django_db
def test_a_taken_external_id_leaves_the_transaction_usable() -> None:
    product = make_price(make_workspace()).product
    Product.objects.filter(pk=product.pk).update(external_id="A")
    twin = Product(
        workspace=product.workspace,
        name="x",
        external_id="A",
        created_at=product.created_at,
        updated_at=product.updated_at,
    )
    with pytest.raises(Refusal) as refused:
        insert(twin)
    assert refused.value.details == {"externalId": "A"}
    twin.external_id = "B"
    insert(twin)
    assert Product.objects.filter(external_id="B").exists()


def test_a_wrong_state_carries_its_details() -> None:
    refusal = wrong_state("It is paid.", status="paid")
    assert (refusal.code, refusal.status, refusal.details) == ("wrong_state", 409, {"status": "paid"})


@pytest.mark.django_db
def test_locks_are_taken_in_the_one_order() -> None:  # DESIGN 5.2
    workspace = make_workspace()
    rows = [
        make_invoice(buyer, subscription=make_subscription(buyer))
        for buyer in (make_buyer(workspace) for _ in range(3))
    ]
    with CaptureQueriesContext(connection) as captured:
        held = hold_invoices([row.pk for row in reversed(rows)])
    locks = [query["sql"] for query in captured if "FOR NO KEY UPDATE" in query["sql"]]
    assert [sql.split('FROM "')[1].split('"')[0] for sql in locks] == [
        "accounts_customer",
        "billing_subscription",
        "billing_invoice",
    ]
    assert all("ORDER BY" in sql for sql in locks)
    assert list(held) == [row.pk for row in rows]
    assert all(row.subscription is not None for row in held.values())


@pytest.mark.django_db
def test_locking_nothing_finds_nothing() -> None:
    assert hold_customers([]) == set()
    assert hold_subscriptions([]) == {}
    assert hold_invoices([999_999]) == {}


@pytest.mark.django_db
def test_invoices_of_one_subscription_share_the_locked_row() -> None:
    buyer = make_buyer()
    subscription = make_subscription(buyer)
    held = hold_invoices([make_invoice(buyer, subscription=subscription).pk for _ in range(2)])
    first, second = held.values()
    assert first.subscription is second.subscription


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["active", "past_due"], "active"),
        (["unpaid", "past_due"], "past_due"),
        (["paused", "incomplete"], "paused"),
        (["incomplete"], "incomplete"),
    ],
)
def test_a_customer_has_the_best_status_of_its_subscriptions(statuses: list[str], expected: str) -> None:  # CND-23
    buyer = make_buyer()
    for status in statuses:
        make_subscription(buyer, status=status)
    assert reload(buyer).facts["subscriptionStatus"] == expected


def test_every_status_has_its_place() -> None:
    from billing.models import SubscriptionStatus

    assert set(BEST_FIRST) == set(SubscriptionStatus.values)


@pytest.mark.django_db
def test_facts_of_customers_without_subscriptions_are_left_alone() -> None:
    buyer = make_buyer()
    refresh_subscription_status({buyer.pk})
    refresh_subscription_status(set())
    assert "subscriptionStatus" not in reload(buyer).facts


@pytest.mark.django_db
def test_other_facts_stay() -> None:
    buyer = make_buyer()
    Customer.objects.filter(pk=buyer.pk).update(facts={"pageviewCount": 3})
    make_subscription(buyer)
    assert reload(buyer).facts == {"pageviewCount": 3, "subscriptionStatus": "active"}


@pytest.mark.django_db
def test_facts_of_many_customers_cost_as_much_as_of_one() -> None:
    workspace = make_workspace()
    ids = [make_subscription(make_buyer(workspace)).customer_id for _ in range(6)]
    counts = []
    for chosen in (ids[:1], ids):
        with CaptureQueriesContext(connection) as captured:
            refresh_subscription_status(chosen)
        counts.append(len(captured))
    assert counts[0] == counts[1] == 2


def test_plugging_in_again_changes_nothing() -> None:
    before = dict(sweeps._sweeps), dict(defaults._defaults)
    plug.connect()
    assert (dict(sweeps._sweeps), dict(defaults._defaults)) == before
    assert {"billing.overdue", "billing.subscriptions"} <= set(sweeps._sweeps)
    assert set(EXCLUSIVE) <= set(defaults._defaults)


def test_the_walk_finds_everything_that_billing_declares() -> None:  # CONTRACTS 6
    apps.get_app_config("billing").ready()
    assert {"retry_payment", "void_invoice"} <= set(registry.actions)
    assert {"invoice", "subscription", "payment"} <= set(registry.roots)
    assert {"invoices", "subscriptions"} <= set(registry.queries)
    assert "test" in registry.gateways


@pytest.mark.parametrize("key", ["retry_payment", "void_invoice"])
def test_actions_say_what_the_palette_needs(key: str) -> None:  # CONTRACTS 6, ACT-36
    action = registry.actions[key]
    assert action.group == "Billing"
    assert action.label
    assert action.help
    assert action.subjects == {"invoice"}
    assert action.ports(action.sample()) == ("next", "error")
    assert action.summary(action.sample())
    assert action.Output.model_json_schema()["properties"]
    assert action.money is (key == "retry_payment")
    assert action.effect == ("outside" if key == "retry_payment" else "local")


def test_a_gateway_has_to_say_how_it_charges() -> None:
    charge = Charge(amount=1, currency="EUR", reference="x", invoice=1)
    with pytest.raises(NotImplementedError):
        Gateway().charge(charge, "k")


@pytest.mark.django_db
def test_amounts_due_follow_what_is_paid() -> None:
    invoice = make_invoice(make_buyer())
    assert (invoice.amount_due, Invoice(total=100, amount_paid=40).amount_due) == (12900, 60)
