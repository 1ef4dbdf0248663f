"""`POST /events`, `GET /events`, `GET /events/evt_9` (CONTRACTS 7, 8; TRG-50, TRG-52, PRI-13)."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Customer
from accounts.services.lifecycle import merge_customers
from automations.models import Event, EventContent
from automations.services import shapes
from automations.services.event_rows import FEW
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import actor_of, make_api_client, make_customer, make_workspace, unique
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    shapes.forget()
    return make_workspace()


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, email="ana@example.com", external_id="00042")


@pytest.fixture
def client(workspace):
    return make_api_client(workspace)


def post(client, body, status=202, **headers):
    """The answer's JSON, which must have that status."""
    answer = client.post("/events", body, headers=headers)
    assert answer.status_code == status, answer.content
    return answer.json()


def recorded(workspace):
    """Events that were posted, oldest first."""
    return list(Event.objects.filter(workspace=workspace, source="api").order_by("pk"))


def test_one_event_is_accepted_and_starts_its_run(
    workspace, customer, client
):  # TRG-52, TRG-03 "payload as trigger data"
    automation = on(workspace, "type: event, event: demo_booked")
    body = {"name": "demo_booked", "customer": f"cus_{customer.pk}", "payload": {"seats": 12, "price": 11.70}}
    answer = post(client, body)
    [event] = recorded(workspace)
    assert answer == {"id": f"evt_{event.pk}", "status": "accepted"}
    assert event.origin == "api"
    route_all()
    assert [run.event_id for run in runs(automation)] == [event.pk]
    with connection.cursor() as cursor:
        cursor.execute("select payload ->> 'price' from automations_event_content where event_id = %s", [event.pk])
        assert cursor.fetchone() == ("11.7",)


def test_a_list_is_recorded_in_order(workspace, customer, client):
    body = {"events": [{"id": f"order-{number}", "name": "purchase", "customer": "00"} for number in range(3)]}
    for item in body["events"]:
        item["customer"] = {"externalId": "00042"}
    answer = post(client, body)
    events = recorded(workspace)
    assert answer["events"] == [
        {"index": index, "id": f"evt_{event.pk}", "status": "accepted"} for index, event in enumerate(events)
    ]
    assert [event.key for event in events] == ["order-0", "order-1", "order-2"]
    again = post(client, {"events": [*body["events"], {"id": "order-3", "name": "purchase"}]})
    assert [item["status"] for item in again["events"]] == ["duplicate"] * 3 + ["accepted"]


def test_the_same_id_with_another_body_is_a_conflict(workspace, customer, client):  # event_conflict
    post(client, {"id": "a", "name": "purchase", "payload": {"n": 1}})
    answer = post(client, {"events": [{"name": "other"}, {"id": "a", "name": "purchase", "payload": {"n": 2}}]}, 409)
    assert (answer["code"], answer["details"]) == ("event_conflict", {"index": 1, "id": "a"})
    assert len(recorded(workspace)) == 1  # all or none


def test_the_idempotency_key_names_an_event_without_an_id(workspace, customer, client):  # CONTRACTS 7
    body = {"name": "purchase", "customer": {"email": "ana@example.com"}}
    first = client.post("/events", body, headers={"Idempotency-Key": "abc"})
    again = client.post("/events", body, headers={"Idempotency-Key": "abc"})
    assert (first.status_code, again.status_code, again.headers["Idempotent-Replayed"]) == (202, 202, "true")
    assert first.json() == again.json()
    assert [event.key for event in recorded(workspace)] == ["abc"]


@pytest.mark.parametrize(
    "given",
    ["cus", {"externalId": "00042"}, {"email": "ANA@example.com"}, {"externalId": "00042", "email": "ana@example.com"}],
)
def test_a_known_customer_is_found_by_any_key_and_never_changed(workspace, customer, client, given):
    given = f"cus_{customer.pk}" if given == "cus" else {**given, "name": "Somebody Else", "country": "FR"}
    post(client, {"name": "purchase", "customer": given})
    assert recorded(workspace)[0].customer_id == customer.pk
    before = customer.name
    customer.refresh_from_db()
    assert (customer.name, customer.country) == (before, "")


def test_unknown_customers_are_made_with_the_fields_beside_them(workspace, client):  # CONTRACTS 7
    automation = on(workspace, "type: event, event: customer.created")
    body = {
        "events": [
            {"name": "signup", "customer": {"email": "Bo@example.com", "name": "Bo", "metadata": {"plan": "x"}}},
            {"name": "signup", "customer": {"externalId": "A-17", "timeZone": "Europe/Paris"}},
            {"name": "signup", "customer": {"email": "bo@example.com"}},
        ]
    }
    post(client, body)
    bo, other = Customer.objects.filter(workspace=workspace).order_by("pk")
    assert (bo.email, bo.name, bo.metadata, bo.identified_at is not None) == (
        "Bo@example.com",
        "Bo",
        {"plan": "x"},
        True,
    )
    assert (other.external_id, other.time_zone) == ("A-17", "Europe/Paris")
    assert [event.customer_id for event in recorded(workspace)] == [bo.pk, other.pk, bo.pk]
    route_all()
    assert sorted(run.customer_id for run in runs(automation)) == [bo.pk, other.pk]  # TRG-11: each is created once


def test_two_keys_of_two_customers_are_a_conflict(workspace, customer, client):  # customer_conflict
    other = make_customer(workspace, email="bo@example.com")
    body = {"name": "purchase", "customer": {"externalId": "00042", "email": "bo@example.com"}}
    answer = post(client, body, 409)
    assert answer["code"] == "customer_conflict"
    assert answer["details"]["customers"] == sorted([f"cus_{customer.pk}", f"cus_{other.pk}"])
    assert recorded(workspace) == []


def test_a_merged_customer_is_the_one_it_went_into(workspace, customer, client):
    into = make_customer(workspace)
    merge_customers(actor=actor_of(workspace), source_id=customer.pk, into_id=into.pk)
    post(client, {"name": "purchase", "customer": f"cus_{customer.pk}"})
    assert recorded(workspace)[0].customer_id == into.pk


def test_an_invoice_brings_its_subscription_and_customer(workspace, customer, client):  # CONTRACTS 7
    subscription = make_subscription(customer)
    invoice = make_invoice(customer, subscription=subscription)
    body = {"name": "payment.failed", "invoice": f"inv_{invoice.pk}", "payload": {"failureCount": 1}}
    post(client, body)
    expected = {"invoice": invoice.pk, "subscription": subscription.pk, "customer": customer.pk}
    assert recorded(workspace)[0].subjects == expected


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("inv_999999", "invoice"),
        ({"externalId": "none"}, "invoice"),
        ("sub_999999", "subscription"),
        ("cus_999999", "customer"),
    ],
)
def test_an_unknown_object_is_refused(workspace, client, reference, kind):  # unknown_reference
    answer = post(client, {"events": [{"name": "ok"}, {"name": "purchase", kind: reference}]}, 422)
    assert (answer["code"], answer["details"]["path"]) == ("unknown_reference", f"events[1].{kind}")
    assert recorded(workspace) == []


def test_objects_of_other_workspaces_are_unknown(workspace, customer, client):  # X1
    stranger = make_customer(make_workspace())
    invoice = make_invoice(stranger)
    for body in ({"customer": f"cus_{stranger.pk}"}, {"invoice": f"inv_{invoice.pk}"}):
        assert post(client, {"name": "purchase", **body}, 422)["code"] == "unknown_reference"


def test_a_name_inside_a_group_of_the_catalogue_must_be_known(client):  # TRG-52
    answer = post(client, {"name": "payment.faild"}, 422)
    assert (answer["code"], answer["details"]["nearest"]) == ("unknown_event", "payment.failed")
    assert "payment.failed" in answer["message"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "body"),
        ({"events": []}, "events"),
        ({"events": {}}, "events"),
        ({"events": [3]}, "events[0]"),
        ({}, "name"),
        ({"name": "Purchase"}, "name"),
        ({"name": "9lives"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a", "id": ""}, "id"),
        ({"name": "a", "id": 7}, "id"),
        ({"name": "a", "payload": []}, "payload"),
        ({"name": "a", "occurredAt": "yesterday"}, "occurredAt"),
        ({"name": "a", "occurredAt": 3}, "occurredAt"),
        ({"name": "a", "customer": 7}, "customer"),
        ({"name": "a", "customer": {"name": "Ana"}}, "customer"),
        ({"name": "a", "customer": {"email": 7}}, "customer.email"),
        ({"name": "a", "invoice": "cus_7"}, "invoice"),
        ({"name": "a", "delivery": {"externalId": "x"}}, "delivery"),
    ],
)
def test_what_cannot_be_accepted_is_refused_at_its_place(client, body, path):  # invalid
    answer = post(client, body, 422)
    assert answer["code"] == "invalid"
    if path != "body":
        assert list(answer["details"]["fields"]) == [path]


def test_unknown_keys_are_refused_with_the_nearest_one(client):  # CONTRACTS 1
    answer = post(client, {"name": "a", "occuredAt": "2026-11-20T10:00:00Z"}, 422)
    assert (answer["code"], answer["details"]["nearest"]) == ("unknown_key", "occurredAt")
    answer = post(client, {"events": [{"name": "a", "customer": {"mail": "x"}}]}, 422)
    assert (answer["details"]["path"], answer["details"]["nearest"]) == ("events[0].customer", "email")


def test_a_wrong_field_of_a_new_customer_is_refused_and_nothing_is_written(workspace, client):
    events = [
        {"name": "a", "customer": {"email": "ok@example.com"}},
        {"name": "a", "customer": {"email": "no address"}},
    ]
    assert post(client, {"events": events}, 422)["code"] == "invalid"
    assert not Customer.objects.filter(workspace=workspace).exists()


def test_limits_of_a_request_and_of_an_event(workspace, client):  # DESIGN 6
    many = {"events": [{"name": "a"}] * 1001}
    assert post(client, many, 422)["code"] == "limit_exceeded"
    large = {"events": [{"name": "ok"}, {"name": "a", "payload": {"text": "x" * 65_536}}]}
    answer = post(client, large, 422)
    assert (answer["code"], answer["details"]["path"]) == ("limit_exceeded", "events[1].payload")
    fits = {"name": "a", "payload": {"text": "x" * 65_000}}
    assert post(client, fits)["status"] == "accepted"


@pytest.mark.parametrize(
    "sizes", [(50, FEW // 2), (2 * FEW + 2, 1_000)]
)  # half of them newcomers, who bring events of their own
def test_many_events_take_as_many_queries_as_fewer(workspace, client, sizes):  # PERFORMANCE, Events
    known = [make_customer(workspace) for _ in range(20)]
    counts = []
    for size in sizes:
        shapes.forget()
        events = [
            {
                "name": "purchase",
                "customer": {"email": known[number % 20].email}
                if number % 2
                else {"email": f"{unique('new')}@example.com"},
                "payload": {"n": number},
            }
            for number in range(size)
        ]
        with CaptureQueriesContext(connection) as queries:
            post(client, {"events": events})
        counts.append(len(queries))
    assert counts[1] <= counts[0] + 1  # the second one also counts against the rate
    assert Event.objects.filter(workspace=workspace, source="api").count() == sum(sizes)


def test_posting_needs_its_scope_and_reading_another(workspace, customer):  # CONTRACTS 8
    assert post(make_api_client(workspace, ["read"]), {"name": "a"}, 403)["code"] == "scope_missing"
    assert make_api_client(workspace, ["events"]).get("/events").status_code == 403
    assert post(make_api_client(workspace, ["events"]), {"name": "a"})["status"] == "accepted"


def test_an_event_shows_its_data_and_what_became_of_it(workspace, customer, client):  # PRI-13
    started = on(workspace, "type: event, event: sign")
    skipped = on(workspace, "type: event, event: sign", "filter: trigger.seats > 100")
    answer = post(client, {"name": "sign", "customer": f"cus_{customer.pk}", "payload": {"seats": 12}})
    route_all()
    shown = client.get(f"/events/{answer['id']}").json()
    assert (shown["name"], shown["source"], shown["payload"]) == ("sign", "api", {"seats": 12})
    assert shown["subject"] == {"customer": f"cus_{customer.pk}"}
    assert shown["trigger"]["customer"]["email"] == "ana@example.com"
    [run] = runs(started)
    by_automation = {item["automation"]: item for item in shown["decisions"]}
    assert by_automation[started.public_id]["execution"] == f"exec_{run.pk}"
    assert by_automation[started.public_id]["outcome"] == "started"
    assert (by_automation[skipped.public_id]["outcome"], by_automation[skipped.public_id]["gate"]) == (
        "skipped",
        "filter",
    )
    assert shown["values"] == {"trigger.seats": 12}
    assert (shown["default"], shown["error"]) == (None, None)


def test_an_event_that_simply_started_shows_its_run(workspace, customer, client):
    automation = on(workspace, "type: event, event: sign")
    id = post(client, {"name": "sign", "customer": f"cus_{customer.pk}"})["id"]
    route_all()
    [decision] = client.get(f"/events/{id}").json()["decisions"]
    assert (decision["automation"], decision["outcome"]) == (automation.public_id, "started")


def test_a_foreign_or_unknown_event_is_not_found(workspace, client):  # X1
    theirs = make_api_client(make_workspace())
    id = post(theirs, {"name": "a"})["id"]
    for address in (id, "evt_999999", "evt_x", "7"):
        assert client.get(f"/events/{address}").status_code == 404


def test_events_are_listed_newest_first_in_pages(workspace, customer, client):
    post(client, {"events": [{"id": f"e{number}", "name": f"kind_{number % 2}"} for number in range(5)]})
    first = client.get("/events?limit=2&source=api").json()
    assert [item["key"] for item in first["events"]] == ["e4", "e3"]
    second = client.get(f"/events?limit=2&source=api&cursor={first['nextCursor']}").json()
    assert [item["key"] for item in second["events"]] == ["e2", "e1"]
    named = client.get("/events?name=kind_1").json()
    assert [item["key"] for item in named["events"]] == ["e3", "e1"]
    post(client, {"id": "hers", "name": "kind_1", "customer": f"cus_{customer.pk}"})
    hers = client.get(f"/events?customer=cus_{customer.pk}&source=api").json()["events"]
    assert [item["key"] for item in hers] == ["hers"]
    assert client.get("/events?customer=x").status_code == 422
    assert EventContent.objects.filter(workspace_id=workspace.pk).count() >= 6
