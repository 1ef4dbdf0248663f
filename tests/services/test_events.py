"""Recording events once, with the objects as they were (E1, E2, TRG-50, TRG-51; DESIGN 5.1)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from accounts.errors import Refusal
from automations.models import Event, EventContent, EventShape, RunInput
from automations.services import shapes
from automations.services.event_rows import FEW
from automations.services.events import NewEvent, load_events, record_events, shard_of
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import make_customer, make_workspace
from tests.worker.routing import occur, on, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    shapes.forget()
    return make_workspace()


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, name="Ana Ruiz", segment="enterprise", country="DE")


def new(customer, key="k", name="purchase", payload=None, **parts):
    """An event of a customer."""
    subjects = parts.pop("subjects", {"customer": customer.pk})
    return NewEvent(customer.workspace_id, name, "api", key, subjects, payload or {}, **parts)


def facts(event):
    """What pure code sees of a recorded event."""
    return load_events([event.id])[event.id]


def test_an_event_is_recorded_with_all_that_routing_asks(customer):  # E1
    before = evaluation_now()
    [recorded] = record_events([new(customer, payload={"amount": "11.77"})])
    row = Event.objects.get(pk=recorded.id)
    assert recorded.status == "accepted"
    assert (row.name, row.source, row.key, row.origin, row.depth) == ("purchase", "api", "k", "live", 0)
    assert (row.customer_id, row.subjects) == (customer.pk, {"customer": customer.pk})
    assert row.shard == shard_of(customer.workspace_id, customer.pk)
    assert before <= row.occurred_at <= evaluation_now()
    assert row.routed_at is None
    content = EventContent.objects.get(event_id=row.pk)
    assert (content.recorded_at, content.payload) == (row.recorded_at, {"amount": "11.77"})


def test_the_same_key_again_is_a_duplicate_and_nothing_new(customer):  # E2, TRG-50
    first = record_events([new(customer)])[0]
    again = record_events([new(customer)])[0]
    assert (again.id, again.status) == (first.id, "duplicate")
    assert Event.objects.filter(workspace_id=customer.workspace_id, source="api").count() == 1


def test_doubles_within_one_call_are_one_event(customer):
    recorded = record_events([new(customer), new(customer, "other"), new(customer)])
    assert [item.status for item in recorded] == ["accepted", "accepted", "duplicate"]
    assert recorded[0].id == recorded[2].id


@pytest.mark.parametrize("change", [{"payload": {"a": 2}}, {"name": "refund"}, {"occurred_at": timedelta(hours=-1)}])
def test_the_same_key_with_another_body_is_refused_and_nothing_is_written(customer, change):  # event_conflict
    record_events([new(customer, payload={"a": 1})])
    if "occurred_at" in change:
        change = {"occurred_at": evaluation_now() + change["occurred_at"], "payload": {"a": 1}}
    with pytest.raises(Refusal) as refused, transaction.atomic():
        record_events([new(customer, "fresh"), new(customer, **{"payload": {"a": 1}, **change})])
    assert refused.value.code == "event_conflict"
    assert refused.value.details == {"index": 1, "id": "k"}
    assert Event.objects.filter(source="api").count() == 1


def test_a_body_is_the_same_whatever_the_order_of_its_keys(customer):
    record_events([new(customer, payload={"a": 1, "b": {"c": 2, "d": 3}})])
    assert record_events([new(customer, payload={"b": {"d": 3, "c": 2}, "a": 1})])[0].status == "duplicate"


def test_another_workspace_and_another_source_are_other_events(customer):
    stranger = make_customer(make_workspace())
    ids = {record_events([event])[0].id for event in (new(customer), new(stranger))}
    twin = NewEvent(customer.workspace_id, "purchase", "tracking", "k", {"customer": customer.pk}, {})
    assert len(ids | {record_events([twin])[0].id}) == 3


def test_ids_follow_the_order_of_the_call(customer):
    recorded = record_events([new(customer, f"k{number}") for number in range(50)])
    assert [item.id for item in recorded] == sorted(item.id for item in recorded)


@pytest.mark.parametrize(("sizes", "most"), [((2, 50, FEW), 4), ((FEW + 1, 1_000), 9)])
def test_many_events_take_the_same_number_of_statements(workspace, customer, sizes, most):  # PERFORMANCE, Events
    counts = set()
    for size in sizes:
        events = [new(customer, f"{size}-{number}", "order", {"n": number}) for number in range(size)]
        shapes.forget()
        with CaptureQueriesContext(connection) as queries:
            record_events(events)
        counts.add(len(queries))
    assert len(counts) == 1
    assert max(counts) <= most


def test_the_snapshot_keeps_the_objects_as_they_were(customer):  # TRG-51
    [event] = record_events([new(customer)])
    customer.name = "Ana Maria"
    customer.save()
    trigger = facts(event).trigger
    assert (trigger["customer"]["name"], trigger["customer"]["id"]) == ("Ana Ruiz", f"cus_{customer.pk}")
    assert "@" in trigger["accountOwner"]


def test_the_own_object_lies_on_top_and_the_payload_over_all(customer):  # CONTRACTS 7, Snapshot
    subscription = make_subscription(customer)
    invoice = make_invoice(customer, "129.00", subscription=subscription)
    subjects = {"customer": customer.pk, "invoice": invoice.pk, "subscription": subscription.pk}
    [event] = record_events([new(customer, name="invoice.paid", subjects=subjects, payload={"number": "MINE"})])
    trigger = facts(event).trigger
    assert (trigger["total"], trigger["id"], trigger["number"]) == ("129.00", f"inv_{invoice.pk}", "MINE")
    assert trigger["subscription"]["id"] == f"sub_{subscription.pk}"
    assert trigger["invoice"]["status"] == "unpaid" == trigger["status"]  # an open invoice reads so (C-14)
    assert facts(event).payload == {"number": "MINE"}


def test_the_failure_count_of_a_report_is_the_invoices_unless_it_says_so_itself(customer):  # CONTRACTS 7, failureCount
    invoice = make_invoice(customer)
    subjects = {"customer": customer.pk, "invoice": invoice.pk}
    silent, told = record_events(
        [
            new(customer, "a", "payment.failed", subjects=subjects),
            new(customer, "b", "payment.failed", {"failureCount": 7}, subjects=subjects),
        ]
    )
    assert (facts(silent).trigger["failureCount"], facts(told).trigger["failureCount"]) == (0, 7)


def test_numbers_with_a_point_stay_exact(customer):  # DESIGN 4
    [event] = record_events([new(customer, payload={"amount": Decimal("11.70"), "deep": [Decimal("0.1")]})])
    assert facts(event).payload == {"amount": Decimal("11.70"), "deep": [Decimal("0.1")]}
    assert str(facts(event).payload["amount"]) == "11.70"


def test_an_event_brought_about_by_a_run_is_one_deeper_than_that_runs_own(workspace, customer):  # chain of causes
    automation = on(workspace, "type: event, event: sign")
    occur(customer)
    [run] = runs(automation)
    [event] = record_events([new(customer, cause_run=run.pk)])
    assert (facts(event).depth, facts(event).cause_run) == (1, run.pk)


def test_what_is_gone_with_its_partition_is_read_from_the_runs_input(workspace, customer):  # DESIGN 6
    automation = on(workspace, "type: event, event: sign")
    event = occur(customer, payload={"seats": 12})
    content = EventContent.objects.filter(event_id=event)
    kept = content.values("payload", "snapshot").get()
    RunInput.objects.create(run=runs(automation)[0], workspace=workspace, snapshot=kept)
    content.delete()
    found = load_events([event])[event]
    assert (found.payload, found.trigger["customer"]["name"]) == ({"seats": 12}, "Ana Ruiz")
    assert load_events([]) == {}
    assert load_events([-1]) == {}


def test_the_fields_of_custom_events_are_learned(workspace, customer):  # DESIGN 4
    record_events([new(customer, payload={"seats": 12, "plan": {"name": "team"}, "at": "2026-11-20T10:00:00Z"})])
    record_events([new(customer, "k2", payload={"seats": 3, "coupon": None, "tags": [1]})])
    shape = EventShape.objects.get(workspace=workspace, name="purchase")
    assert shape.paths == {
        "seats": "number",
        "plan": "object",
        "plan.name": "text",
        "at": "time",
        "coupon": "null",
        "tags": "list",
    }


def test_the_catalogues_own_events_teach_nothing(workspace, customer):
    record_events([new(customer, name="pageview", payload={"path": "/"})])
    assert not EventShape.objects.filter(workspace=workspace, name="pageview").exists()


def test_a_payload_of_free_keys_does_not_fill_the_table(workspace, customer):
    for batch in range(3):
        record_events([new(customer, f"b{batch}", payload={f"key{batch}_{number}": 1 for number in range(150)})])
    assert len(EventShape.objects.get(workspace=workspace, name="purchase").paths) <= 2 * shapes.MOST_PATHS


def test_page_views_are_counted_on_the_customer(customer):  # BIL-13
    record_events([new(customer, f"p{number}", "pageview") for number in range(3)])
    record_events([new(customer, "p1", "pageview")])  # seen before
    customer.refresh_from_db()
    assert customer.facts["pageviewCount"] == 3


@pytest.mark.django_db(transaction=True)
def test_an_event_is_rolled_back_with_its_caller(customer):  # DESIGN 5.1, "in the caller's transaction"
    def fail() -> None:
        with transaction.atomic():
            record_events([new(customer, "gone", payload={"gone": 1})])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not Event.objects.filter(key="gone").exists()
    contents = EventContent.objects.filter(workspace_id=customer.workspace_id)
    assert {"gone": 1} not in contents.values_list("payload", flat=True)
