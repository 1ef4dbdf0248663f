"""Variables and queries of accounts (CONTRACTS 5, 6): plain data in bulk, references resolved in bulk."""

from __future__ import annotations

import pytest

from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from automations.engine.registry import registry
from automations.models import Delivery
from automations.roots.customer import CustomerFields, customer, customers
from automations.roots.mail import MailFields, mail
from automations.roots.workspace import WorkspaceFields, workspace
from tests.factories import actor_of, make_customer, make_user, make_visitor, make_workspace
from tests.worker.living import happen, settle
from tests.worker.routing import on, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def place():
    return make_workspace(time_zone="Europe/Berlin", currency="EUR")


def test_a_customer_has_all_the_fields_of_the_contract(place):  # CONTRACTS 5, Fields
    owner = make_user()
    ana = make_customer(
        place,
        name="Ana Ruiz",
        email="Ana@example.com",
        external_id="00042",
        segment="enterprise",
        plan="pro",
        country="DE",
        time_zone="Europe/Berlin",
        metadata={"tier": "gold"},
        tags=["vip", "beta"],
        stage="CUSTOMER",
        bucket="Churned",
    )
    ana.owner = owner
    ana.facts = {**ana.facts, "pageviewCount": 4, "subscriptionStatus": "active"}
    ana.save()
    found = customer.load([ana.pk])[ana.pk]
    assert found == {
        "id": f"cus_{ana.pk}",
        "externalId": "00042",
        "name": "Ana Ruiz",
        "email": "Ana@example.com",
        "segment": "enterprise",
        "plan": "pro",
        "country": "DE",
        "timeZone": "Europe/Berlin",
        "locale": None,
        "createdAt": ana.created_at,
        "owner": owner.email,
        "tags": ["beta", "vip"],
        "metadata": {"tier": "gold"},
        "stage": "CUSTOMER",
        "bucket": "Churned",
        "subscriptionStatus": "active",
        "pageviewCount": 4,
    }
    assert set(found) == {field.alias or name for name, field in CustomerFields.model_fields.items()}


def test_what_is_empty_is_missing(place):
    found = customer.load([make_customer(place, name="").pk])
    [record] = found.values()
    assert (record["name"], record["country"], record["stage"], record["pageviewCount"]) == (None, None, None, 0)


def test_many_customers_take_one_query(place, django_assert_num_queries):
    people = [make_customer(place, tags=["a"]) for _ in range(10)]
    with django_assert_num_queries(1):
        found = customer.load([who.pk for who in people] + [999_999])
    assert sorted(found) == [who.pk for who in people]


@pytest.mark.parametrize("spelling", ["ana@example.com", "ANA@EXAMPLE.COM"])
def test_customers_are_found_by_each_of_their_keys(place, spelling):
    ana = make_customer(place, email="Ana@example.com", external_id="00042")
    refs = [ana.pk, {"email": spelling}, {"externalId": "00042"}]
    assert customer.resolve(place.pk, refs) == [{"customer": ana.pk}] * 3


@pytest.mark.parametrize(
    "ref", [999_999, {"email": "nobody@example.com"}, {"externalId": "42"}, {"email": ""}, {"externalId": ""}, {}]
)
def test_unknown_customers_are_none(place, ref):
    make_customer(place, email="ana@example.com", external_id="00042")
    make_visitor(place)
    assert customer.resolve(place.pk, [ref]) == [None]


def test_customers_of_other_workspaces_are_unknown(place):  # X1
    theirs = make_customer(make_workspace(), email="ana@example.com", external_id="00042")
    assert customer.resolve(place.pk, [theirs.pk, {"email": "ana@example.com"}, {"externalId": "00042"}]) == [None] * 3


def test_a_merged_record_is_the_one_it_went_into(place):
    old, new = make_customer(place, email="old@example.com"), make_customer(place, email="new@example.com")
    merge_customers(actor=actor_of(place), source_id=old.pk, into_id=new.pk)
    assert customer.resolve(place.pk, [old.pk, {"email": "new@example.com"}]) == [{"customer": new.pk}] * 2
    assert customer.resolve(place.pk, [{"email": "old@example.com"}]) == [None]


def test_many_references_take_one_query(place, django_assert_num_queries):
    people = [make_customer(place) for _ in range(10)]
    refs = [{"email": who.email} for who in people] + [who.pk for who in people]
    with django_assert_num_queries(1):
        found = customer.resolve(place.pk, refs)
    assert [item["customer"] for item in found] == [who.pk for who in people] * 2


def test_the_query_of_customers_walks_in_pages_without_a_cap(place):  # STP-24
    people = [make_customer(place) for _ in range(7)]
    make_visitor(place)
    make_customer(make_workspace())
    gone, merged = people.pop(), people.pop()
    erase_customer(actor=actor_of(place), customer_id=gone.pk)
    merge_customers(actor=actor_of(place), source_id=merged.pk, into_id=people[0].pk)
    found, after = [], 0
    while page := customers.page(place.pk, after, 2):
        assert len(page) <= 2
        found += [item["customer"] for item in page]
        after = found[-1]
    assert found == [who.pk for who in people]


def test_a_workspace_offers_its_name_currency_and_zone(place):
    [record] = workspace.load([place.pk]).values()
    assert (record["name"], record["currency"], record["timeZone"]) == (place.name, "EUR", "Europe/Berlin")
    assert set(record) == {field.alias or name for name, field in WorkspaceFields.model_fields.items()}


MAIL = "{type: action, action: send_email, subject: 'Mail %d', body: '<p>Hi</p>', to: '{{customer.email}}'}"


@pytest.fixture
def run(place):
    """A run that has sent two mails."""
    steps = f"steps: [{MAIL % 1}, {MAIL % 2}, {{type: delay, duration: 1d}}]"
    automation = on(place, "type: event, event: sign", steps=steps)
    happen(make_customer(place))
    settle()
    return runs(automation)[0]


def test_the_latest_mail_of_a_run(run):  # RUN-22
    last = Delivery.objects.filter(run=run).latest("visit")
    found = mail.load([run.pk])[run.pk]
    assert (found["id"], found["subject"], found["opened"], found["clicked"]) == (
        f"dlv_{last.pk}",
        "Mail 2",
        False,
        False,
    )
    assert set(found) == {field.alias or name for name, field in MailFields.model_fields.items()}


def test_opens_of_the_latest_mail_count_and_of_an_earlier_one_do_not(run):
    first, last = Delivery.objects.filter(run=run).order_by("visit")
    Delivery.objects.filter(pk=first.pk).update(opened_at=run.started_at)
    assert mail.load([run.pk])[run.pk]["opened"] is False
    Delivery.objects.filter(pk=last.pk).update(opened_at=run.started_at, clicked_at=run.started_at)
    found = mail.load([run.pk])[run.pk]
    assert (found["opened"], found["clicked"]) == (True, True)


@pytest.mark.parametrize("state", ["SUPPRESSED", "SKIPPED", "CANCELLED"])
def test_a_mail_that_never_went_out_does_not_hide_the_one_before(run, state):
    first, last = Delivery.objects.filter(run=run).order_by("visit")
    Delivery.objects.filter(pk=last.pk).update(state=state, due_at=None)
    assert mail.load([run.pk])[run.pk]["id"] == f"dlv_{first.pk}"


def test_a_run_without_mail_has_one_that_nobody_opened(place):
    assert mail.load([999_999])[999_999] == {"id": None, "opened": False, "clicked": False}


def test_bare_names_lead_to_the_facts_of_the_contract():  # CONTRACTS 5, bare names
    bare = {name: (root.name, path) for root in registry.roots.values() for name, path in root.bare.items()}
    assert bare["email_opened"] == ("mail", "opened")
    assert bare["email_clicked"] == ("mail", "clicked")
    assert bare["pageview_count"] == ("customer", "pageviewCount")
    assert {name for name, (root, _) in bare.items() if root == "customer"} == {
        "pageview_count",
        "country",
        "bucket",
        "stage",
    }
    assert registry.roots["customer"].other_names == ("profile",)
