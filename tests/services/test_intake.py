"""Posting events through the service: references, all or none, keys, reports (CONTRACTS 7)."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.errors import Refusal
from accounts.models import Customer
from automations.models import Delivery, Event
from automations.services.events import short
from automations.services.intake import post_events
from billing.models import Invoice
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import happen, settle
from tests.worker.racing import Racer
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def actor(workspace):
    return actor_of(workspace)


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, email="ana@example.com", external_id="00042")


@pytest.fixture
def invoice(customer):
    return make_invoice(customer, subscription=make_subscription(customer))


def post(actor, *events, **parts):
    """Post a list; the recorded rows in order."""
    recorded = post_events(actor=actor, body={"events": list(events)}, **parts)
    rows = Event.objects.in_bulk([item.id for item in recorded])
    return [rows[item.id] for item in recorded]


def refused(actor, *events):
    """The refusal of a list."""
    with pytest.raises(Refusal) as found:
        post_events(actor=actor, body={"events": list(events)})
    return found.value


def test_references_of_all_kinds_in_one_request(actor, customer, invoice):
    rows = post(
        actor,
        {"name": "a", "customer": {"email": "ana@example.com"}},
        {"name": "a", "invoice": f"inv_{invoice.pk}"},
        {"name": "a", "subscription": f"sub_{invoice.subscription_id}"},
        {"name": "a", "customer": f"cus_{customer.pk}", "invoice": f"inv_{invoice.pk}"},
        {"name": "a"},
    )
    bought = {"customer": customer.pk, "subscription": invoice.subscription_id}
    assert [row.subjects for row in rows] == [
        {"customer": customer.pk},
        {**bought, "invoice": invoice.pk},
        bought,
        {**bought, "invoice": invoice.pk},
        {},
    ]
    assert [row.customer_id for row in rows] == [customer.pk] * 4 + [None]


def test_an_invoice_by_its_own_id(actor, invoice):
    Invoice.objects.filter(pk=invoice.pk).update(external_id="A-17")
    [row] = post(actor, {"name": "a", "invoice": {"externalId": "A-17"}})
    assert row.subjects["invoice"] == invoice.pk


def test_an_invoice_of_somebody_else_than_the_customer_is_a_conflict(actor, workspace, customer, invoice):
    other = make_customer(workspace)
    refusal = refused(actor, {"name": "a", "customer": f"cus_{other.pk}", "invoice": f"inv_{invoice.pk}"})
    assert refusal.code == "customer_conflict"


def test_an_unknown_customer_beside_an_invoice_is_not_made(actor, invoice):
    refusal = refused(actor, {"name": "a", "customer": {"email": "new@example.com"}, "invoice": f"inv_{invoice.pk}"})
    assert refusal.code == "unknown_reference"
    assert not Customer.objects.filter(email="new@example.com").exists()


def test_a_mail_brings_its_customer(actor, workspace, customer):  # email_opened, email_clicked
    send = "{type: action, action: send_email, subject: Hi, body: '<p>Hi</p>', to: '{{customer.email}}'}"
    mail = f"steps: [{send}, {{type: delay, duration: 1d}}]"
    automation = on(workspace, "type: event, event: sign", steps=mail)
    happen(customer)
    settle()
    delivery = Delivery.objects.get(run=runs(automation)[0])
    [row] = post(actor, {"name": "email_opened", "delivery": f"dlv_{delivery.pk}"})
    assert row.subjects == {"delivery": delivery.pk, "customer": customer.pk}
    delivery.refresh_from_db()
    assert delivery.opened_at is not None
    assert refused(actor, {"name": "email_opened", "delivery": "dlv_999999"}).code == "unknown_reference"


@pytest.mark.parametrize(
    "bad", [{"name": "payment.faild"}, {"name": "a", "customer": "cus_999999"}, {"name": "A"}, {"name": "a", "x": 1}]
)
def test_one_bad_event_keeps_all_from_being_written(actor, bad):  # all or none
    refused(actor, {"name": "a", "customer": {"email": "new@example.com"}}, bad)
    assert not Event.objects.filter(workspace_id=actor.workspace_id).exists()
    assert not Customer.objects.filter(email="new@example.com").exists()


@pytest.mark.parametrize(
    "name", ["payment.failed", "invoice.paid", "stage_enter", "pageview", "demo_booked", "order.placed", "my.own.name"]
)
def test_names_that_may_be_posted(actor, name):  # TRG-52
    assert post(actor, {"name": name})[0].name == name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("payment.faild", "payment.failed"),
        ("invoice.payed", "invoice.paid"),
        ("subscription.cancelled", "subscription.canceled"),
    ],
)
def test_names_of_a_group_that_are_unknown(actor, name, nearest):  # TRG-52
    refusal = refused(actor, {"name": name})
    assert (refusal.code, refusal.details["nearest"]) == ("unknown_event", nearest)


def test_the_key_is_the_id_then_the_requests_key_then_a_made_one(actor):
    rows = post(actor, {"name": "a", "id": "mine"}, {"name": "a"}, idempotency_key="req-1")
    assert [row.key for row in rows] == ["mine", "req-1:1"]
    first, second = post(actor, {"name": "a"}, {"name": "a"})
    assert first.key != second.key
    assert first.key.startswith("made:")


def test_a_long_key_keeps_room_for_its_place(actor):
    rows = post(actor, {"name": "a"}, {"name": "a"}, idempotency_key="k" * 255)
    assert [row.key for row in rows] == [f"{short('k' * 255)}:0", f"{short('k' * 255)}:1"]
    assert len({row.key for row in rows}) == 2
    assert short("k" * 255) != short("k" * 254)
    assert short("abc") == "abc"


def test_a_report_changes_no_billing_object(actor, customer, invoice):  # CONTRACTS 7, "a report"
    before = Invoice.objects.filter(pk=invoice.pk).values().get()
    post(
        actor,
        {"name": "invoice.paid", "invoice": f"inv_{invoice.pk}", "payload": {"status": "paid"}},
        {"name": "payment.failed", "invoice": f"inv_{invoice.pk}", "payload": {"failureCount": 9}},
    )
    route_all()
    assert Invoice.objects.filter(pk=invoice.pk).values().get() == before


def test_a_report_starts_runs_with_what_it_says(actor, workspace, invoice):  # TRG-03, TRG-07
    automation = on(workspace, "type: event, event: payment.failed", "filter: trigger.failureCount == 3")
    post(actor, {"name": "payment.failed", "invoice": f"inv_{invoice.pk}", "payload": {"failureCount": 3}})
    post(actor, {"name": "payment.failed", "invoice": f"inv_{invoice.pk}", "payload": {"failureCount": 4}})
    route_all()
    assert [run.subject_id for run in runs(automation)] == [invoice.pk]


def test_an_event_of_long_ago_starts_runs_when_it_is_posted(actor, workspace, customer):  # "no age limit"
    automation = on(workspace, "type: event, event: purchase")
    post(actor, {"name": "purchase", "customer": f"cus_{customer.pk}", "occurredAt": "1997-01-01T12:00:00Z"})
    route_all()
    assert len(runs(automation)) == 1


@pytest.mark.parametrize("scopes", [["read"], ["customers"], ["billing", "edit"]])
def test_posting_needs_the_scope_events(workspace, scopes):
    from accounts.actor import Actor

    with pytest.raises(Refusal) as found:
        post_events(actor=Actor(workspace.pk, frozenset(scopes), key_id=1), body={"name": "a"})
    assert found.value.code == "scope_missing"


def test_references_of_each_kind_take_one_query(actor, workspace, customer):
    invoices = [make_invoice(customer) for _ in range(5)]
    counts = []
    for some in (invoices[:1], invoices):
        with CaptureQueriesContext(connection) as queries:
            post(actor, *[{"name": "a", "invoice": f"inv_{one.pk}", "customer": f"cus_{customer.pk}"} for one in some])
        counts.append(len(queries))
    assert counts[1] <= counts[0]


@pytest.mark.django_db(transaction=True)
def test_the_same_new_keys_in_opposite_orders_end_well(actor):  # 40P01 is retried
    gate = threading.Barrier(2)
    names = [f"k{number}" for number in range(60)]

    def send(keys):
        def work():
            gate.wait(10)
            body = {"events": [{"id": key, "name": "a"} for key in keys]}
            return [item.status for item in post_events(actor=actor, body=body)]

        return work

    racers = [Racer(send(names)), Racer(send(list(reversed(names))))]
    answers = [racer.result(30) for racer in racers]
    assert sorted(answers[0] + answers[1]) == ["accepted"] * 60 + ["duplicate"] * 60
    assert Event.objects.filter(workspace_id=actor.workspace_id, source="api").count() == 60


@pytest.mark.django_db(transaction=True)
def test_within_the_callers_transaction_nothing_is_there_before_it_commits(actor):
    with transaction.atomic():
        post(actor, {"name": "a", "id": "inside"})
        assert Racer(lambda: Event.objects.filter(key="inside").exists()).result() is False
    assert Event.objects.filter(key="inside").exists()
