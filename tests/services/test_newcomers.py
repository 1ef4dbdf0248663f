"""Customers that events bring along (CONTRACTS 7): made once each, in bulk, also when many requests do it at once."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.errors import Refusal
from accounts.models import Customer
from automations.models import Event
from automations.services.event_rows import FEW
from automations.services.intake import post_events
from automations.services.newcomers import Raced, make_customers
from tests.factories import actor_of, make_customer, make_workspace, unique
from tests.worker.racing import together

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor():
    return actor_of(make_workspace())


def test_one_customer_for_each_set_of_fields(actor):
    ids = make_customers(actor, [{"email": "a@x.example", "name": "A"}, {"external_id": "7"}])
    first, second = Customer.objects.filter(pk__in=ids).order_by("pk")
    assert (first.email, first.name, second.external_id) == ("a@x.example", "A", "7")
    assert all(customer.identified_at and customer.created_at for customer in (first, second))
    assert all(customer.workspace_id == actor.workspace_id for customer in (first, second))


def test_nobody_takes_no_statement(actor, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert make_customers(actor, []) == []


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ([{"email": "a@x.example"}, {"email": "A@X.example"}], [0, 0]),
        ([{"external_id": "1"}, {"external_id": "1"}, {"external_id": "2"}], [0, 0, 2]),
        ([{"email": "a@x.example", "external_id": "1"}, {"external_id": "1"}, {"email": "a@x.example"}], [0, 0, 0]),
        ([{"external_id": "1"}, {"email": "a@x.example"}], [0, 1]),
    ],
)
def test_sets_that_share_a_key_are_one_customer(actor, given, places):
    ids = make_customers(actor, given)
    assert [ids[place] for place in places] == ids
    assert len(set(ids)) == len(set(places))


def test_sets_that_claim_keys_of_two_are_refused(actor):
    given = [{"external_id": "1"}, {"email": "a@x.example"}, {"external_id": "1", "email": "a@x.example"}]
    with pytest.raises(Refusal) as refused:
        make_customers(actor, given)
    assert refused.value.code == "customer_conflict"
    assert not Customer.objects.filter(workspace_id=actor.workspace_id).exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "no address"},
        {"email": "a@x.example", "country": "Germany"},
        {"external_id": "1", "time_zone": "Mars/Olympus"},
        {"external_id": "1", "metadata": [1]},
        {"external_id": "x" * 201},
        {"external_id": "1", "name": "x" * 201},
    ],
)
def test_wrong_fields_are_refused(actor, fields):
    with pytest.raises(Refusal) as refused:
        make_customers(actor, [{"email": "ok@x.example"}, fields])
    assert refused.value.code == "invalid"
    assert not Customer.objects.filter(workspace_id=actor.workspace_id).exists()


def test_each_is_announced_once(actor):  # TRG-11
    ids = make_customers(actor, [{"email": f"{number}@x.example"} for number in range(3)])
    events = Event.objects.filter(workspace_id=actor.workspace_id, name="customer.created")
    assert sorted(events.values_list("customer_id", flat=True)) == sorted(ids)


@pytest.mark.parametrize("sizes", [(50, FEW), (FEW + 1, 1_000)])
def test_many_take_as_many_statements_as_fewer(actor, sizes):
    counts = []
    for size in sizes:
        given = [{"email": f"{unique('n')}@x.example"} for _ in range(size)]
        with CaptureQueriesContext(connection) as queries:
            make_customers(actor, given)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_one_that_is_there_by_now_is_a_race_and_no_defect(actor):
    make_customers(actor, [{"email": "a@x.example"}])
    with pytest.raises(Raced):
        make_customers(actor, [{"email": "A@x.example"}])


@pytest.mark.django_db(transaction=True)
def test_many_requests_that_bring_the_same_new_customer_make_it_once(actor):  # RELIABILITY 19
    def post(number: int):
        body = {
            "events": [{"id": f"e{number}", "name": "signup", "customer": {"email": "ana@x.example", "name": "Ana"}}]
        }
        return post_events(actor=actor, body=body)[0].status

    assert together(*[lambda number=number: post(number) for number in range(8)]) == ["accepted"] * 8
    [customer] = Customer.objects.filter(workspace_id=actor.workspace_id)
    posted = Event.objects.filter(workspace_id=actor.workspace_id, source="api")
    assert set(posted.values_list("customer_id", flat=True)) == {customer.pk}
    assert Event.objects.filter(workspace_id=actor.workspace_id, name="customer.created").count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_event_of_a_new_customer_many_times_at_once_is_one(actor):  # TRG-50
    body = {"id": "order-7781", "name": "purchase", "customer": {"externalId": "00042"}, "payload": {"amount": "11.77"}}
    answers = together(*[lambda: post_events(actor=actor, body=body)[0]] * 8)
    assert len({answer.id for answer in answers}) == 1
    assert sorted(answer.status for answer in answers) == ["accepted"] + ["duplicate"] * 7


def test_an_email_that_belongs_to_another_workspace_is_free(actor):
    make_customer(make_workspace(), email="ana@x.example")
    [recorded] = post_events(actor=actor, body={"name": "signup", "customer": {"email": "ana@x.example"}})
    assert Event.objects.get(pk=recorded.id).workspace_id == actor.workspace_id
