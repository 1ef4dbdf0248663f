"""Snapshots: the objects of an event as they were (CONTRACTS 7; TRG-51)."""

from __future__ import annotations

import pytest

from automations.services import snapshots
from automations.services.events import NewEvent
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import make_customer, make_user, make_workspace, owner_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    return make_customer(make_workspace(), name="Ana Ruiz", country="DE", tags=["vip"], stage="TRIAL")


def snapshot(customer, name="purchase", **parts):
    """The snapshot of one event."""
    subjects = parts.pop("subjects", {"customer": customer.pk})
    [found] = snapshots.complete([NewEvent(customer.workspace_id, name, "api", "k", subjects, {}, **parts)])
    return found


def test_a_custom_event_has_its_customer_below_and_nothing_on_top(customer):
    found = snapshot(customer)
    assert set(found) == {"customer", "accountOwner"}
    assert (found["customer"]["name"], found["customer"]["tags"], found["customer"]["stage"]) == (
        "Ana Ruiz",
        ["vip"],
        "TRIAL",
    )


def test_a_catalogue_event_has_its_own_object_on_top(customer):
    found = snapshot(customer, "customer.created")
    assert (found["id"], found["name"]) == (f"cus_{customer.pk}", "Ana Ruiz")
    assert found["customer"]["id"] == found["id"]


def test_nested_objects_are_not_overlaid_by_the_own_ones_references(customer):
    invoice = make_invoice(customer)
    found = snapshot(customer, "invoice.issued", subjects={"customer": customer.pk, "invoice": invoice.pk})
    assert found["customer"]["name"] == "Ana Ruiz"
    assert found["invoice"]["id"] == found["id"] == f"inv_{invoice.pk}"


def test_money_is_text_and_statuses_are_stored_ones(customer):  # CONTRACTS 7, Sample
    subscription = make_subscription(customer)
    invoice = make_invoice(customer, "129.00", subscription=subscription)
    subjects = {"customer": customer.pk, "invoice": invoice.pk, "subscription": subscription.pk}
    found = snapshot(customer, "payment.failed", subjects=subjects)
    assert (found["invoice"]["total"], found["invoice"]["status"]) == ("129.00", "open")
    assert found["subscription"]["id"] == f"sub_{subscription.pk}"


def test_what_the_caller_brings_is_kept_as_it_is(customer):
    assert snapshot(customer, snapshot={"mine": 1}) == {"mine": 1}
    assert snapshot(customer, snapshot={}) == {}


def test_an_event_about_nobody_has_the_owner_only(customer):
    assert set(snapshot(customer, subjects={})) == {"accountOwner"}


def test_the_account_owner_is_the_customers_own_or_the_workspaces(customer):
    assert snapshot(customer)["accountOwner"] == owner_of(customer.workspace).email
    own = make_user("hers@onward.example")
    customer.owner = own
    customer.save()
    assert snapshot(customer)["accountOwner"] == "hers@onward.example"


def test_the_first_owner_is_the_workspaces(customer):
    from accounts.models import Membership

    first = owner_of(customer.workspace)
    Membership.objects.create(workspace=customer.workspace, user=make_user(), role="owner")
    assert snapshot(customer)["accountOwner"] == first.email


def test_an_object_that_is_gone_is_left_out(customer):
    found = snapshot(customer, subjects={"customer": customer.pk, "invoice": 999_999})
    assert "invoice" not in found


def test_derived_fields_follow_from_other_objects(customer):  # failureCount
    invoice = make_invoice(customer)
    subjects = {"customer": customer.pk, "invoice": invoice.pk}
    assert snapshot(customer, "payment.failed", subjects=subjects)["failureCount"] == 0
    assert "failureCount" not in snapshot(customer, "payment.failed")
    assert "failureCount" not in snapshot(customer, "invoice.paid", subjects=subjects)


def test_many_snapshots_take_as_many_queries_as_one(customer, django_assert_max_num_queries):
    people = [make_customer(customer.workspace) for _ in range(20)]
    events = [NewEvent(customer.workspace_id, "x", "api", str(who.pk), {"customer": who.pk}, {}) for who in people]
    with django_assert_max_num_queries(2):
        found = snapshots.complete(events)
    assert [item["customer"]["id"] for item in found] == [f"cus_{who.pk}" for who in people]
