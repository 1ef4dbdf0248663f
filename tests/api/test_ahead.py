"""A single event's customer is read in the round trip that admits the key; nothing else becomes of a request by that (PERFORMANCE W6)."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Customer
from accounts.services.lifecycle import merge_customers
from automations.api import events as view
from automations.models import Event, EventContent
from automations.services import intake, shapes
from automations.services.intake_customers import told
from tests.factories import ApiClient, actor_of, make_api_client, make_api_key, make_customer, make_workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    shapes.forget()
    return make_workspace()


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, email="ana@example.com", external_id="00042", name="Ana", plan="pro")


@pytest.fixture
def client(workspace):
    return make_api_client(workspace, ["events"])


WAYS = {
    "id": lambda customer: f"cus_{customer.pk}",
    "e-mail": lambda customer: {"email": "Ana@Example.com"},
    "own id": lambda customer: {"externalId": "00042"},
}


def of(workspace):
    return list(Event.objects.filter(workspace=workspace, source="api").order_by("pk"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
def test_an_event_about_a_known_customer_costs_two_statements(workspace, customer, client, way):
    """One admits the key and reads the customer, one writes. (No test's transaction around it: the second needs none.)"""
    body = {"name": "seat_added", "customer": WAYS[way](customer), "payload": {"seats": 3}}
    client.post("/events", body)  # teaches the fields of the event
    with CaptureQueriesContext(connection) as captured:
        assert client.post("/events", body).status_code == 202
    statements = [query["sql"].split()[0] for query in captured if not query["sql"].startswith("NOTIFY")]
    assert statements == ["select", "with"]
    event = of(workspace)[-1]
    assert event.customer_id == customer.pk
    snapshot = EventContent.objects.get(event_id=event.pk).snapshot
    assert (snapshot["customer"]["name"], snapshot["customer"]["plan"]) == ("Ana", "pro")


def both_ways(monkeypatch, client, body, content_type="application/json"):
    """Status and answer with the body read ahead, and without; ids taken out."""
    found = []
    for ahead in (True, False):
        if not ahead:
            monkeypatch.setattr(view.Events, "ahead", lambda self, request: None)
        answer = client.post("/events", body, content_type)
        found.append((answer.status_code, re.sub(r"evt_\d+", "evt", answer.content.decode())))
    return found


BODIES = {
    "nothing": b"",
    "no JSON": b'{"name": "a",',
    "a list": b"[]",
    "no name": b'{"customer": {"email": "ana@example.com"}}',
    "a key twice": b'{"name": "a", "name": "b", "customer": "cus_1"}',
    "an unknown key": b'{"name": "a", "customer": {"email": "ana@example.com"}, "colour": 1}',
    "an unknown event": b'{"name": "invoice.overdu", "customer": {"email": "ana@example.com"}}',
    "nobody": b'{"name": "a", "customer": "cus_999999999"}',
    "no customer": b'{"name": "a"}',
    "two keys that agree": b'{"name": "a", "customer": {"email": "ana@example.com", "externalId": "00042"}}',
    "a list of one": b'{"events": [{"name": "a", "customer": {"email": "ana@example.com"}}]}',
    "known": b'{"name": "a", "customer": {"email": "ana@example.com"}}',
    "an invoice that is not there": b'{"name": "a", "customer": {"email": "ana@example.com"}, "invoice": "inv_999999999"}',
    "half a character": b'{"name": "a", "customer": {"email": "ana@example.com"}, "payload": {"t": "\\ud800"}}',
    "more than a little": b'{"name": "a", "customer": {"email": "ana@example.com"}, "payload": {"t": "'
    + b"x" * 9_000
    + b'"}}',
}


@pytest.mark.parametrize("name", BODIES)
def test_the_answer_is_the_same_whether_or_not_it_was_read_ahead(monkeypatch, customer, client, name):
    first, second = both_ways(monkeypatch, client, BODIES[name])
    assert first == second


@pytest.mark.parametrize("kind", ["text/plain", "application/yaml", "application/json; charset=utf-8"])
def test_so_it_is_by_media_type(monkeypatch, customer, client, kind):
    first, second = both_ways(monkeypatch, client, BODIES["known"], kind)
    assert first == second


def test_a_large_body_is_not_read_before_it_is_known_who_sends_it(monkeypatch, customer, client):
    monkeypatch.setattr(view, "raw_body", lambda request: pytest.fail("read"))
    body = {"name": "a", "customer": {"email": "ana@example.com"}, "payload": {"t": "x" * 9_000}}
    assert client.post("/events", body).status_code == 202


def test_a_key_that_is_not_known_learns_nothing(customer, workspace):
    stranger = ApiClient(make_api_key(workspace, ["events"])[1][:-4] + "nope")
    with CaptureQueriesContext(connection) as captured:
        assert stranger.post("/events", {"name": "a", "customer": f"cus_{customer.pk}"}).status_code == 401
    assert len(captured) == 1
    assert of(workspace) == []


def test_a_key_reads_the_customers_of_its_own_workspace_only(customer):
    elsewhere = make_workspace()
    client = make_api_client(elsewhere, ["events"])
    for reference in (f"cus_{customer.pk}", {"id": f"cus_{customer.pk}"}):
        answer = client.post("/events", {"name": "a", "customer": reference})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_reference")
    assert client.post("/events", {"name": "a", "customer": {"email": "ana@example.com"}}).status_code == 202
    assert Customer.objects.filter(workspace=elsewhere).exclude(pk=customer.pk).count() == 1


def test_an_event_of_a_merged_record_is_the_survivors(workspace, customer, client):  # C-31
    survivor = make_customer(workspace, email="ana@new.example.com", name="Ana Novak")
    merge_customers(actor=actor_of(workspace), source_id=customer.pk, into_id=survivor.pk)
    assert client.post("/events", {"name": "a", "customer": f"cus_{customer.pk}"}).status_code == 202
    event = of(workspace)[-1]
    assert event.customer_id == survivor.pk
    assert EventContent.objects.get(event_id=event.pk).snapshot["customer"]["name"] == "Ana Novak"


@pytest.mark.django_db(transaction=True)
def test_a_customer_made_between_reading_and_recording_is_found(monkeypatch, workspace, client):
    """Nobody was there when the key was admitted; another request made it since."""
    made = []

    def late(workspace_id, row):
        made.append(make_customer(workspace, email="new@example.com"))
        return told(workspace_id, row)

    monkeypatch.setattr(intake, "told", late)
    assert client.post("/events", {"name": "a", "customer": {"email": "new@example.com"}}).status_code == 202
    assert len(made) == 1
    assert of(workspace)[-1].customer_id == made[0].pk
    assert Customer.objects.filter(workspace=workspace, email="new@example.com").count() == 1
