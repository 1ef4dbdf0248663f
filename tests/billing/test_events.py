"""What the events of billing carry: keys, subjects, cause and a snapshot in the shape that triggers declare (CONTRACTS 7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.models import Customer
from automations.engine.registry import registry
from automations.models import Event
from automations.services.events import load_events
from billing.models import Invoice, Subscription
from billing.services.emit import Happening, emit, invoice_subjects, of_invoice, of_subscription
from billing.services.invoices import mark_uncollectible, update_invoice, void_invoice
from billing.services.overdue import sweep_overdue
from billing.services.payments import pay_invoice, record_payment
from billing.services.subscriptions import activate_subscription, cancel_subscription
from tests.billing.helpers import (
    events_of,
    last_event,
    make_buyer,
    make_invoice,
    make_subscription,
    names_of,
    reload,
    trigger_of,
)
from tests.factories import make_user

pytestmark = pytest.mark.django_db

RUN = 456


class World:
    """A buyer with a subscription on trial, an open invoice of it that is past its due date, and a run that does things."""

    def __init__(self) -> None:
        self.buyer: Customer = make_buyer(name="Ana Ruiz", segment="enterprise", country="DE", tags=["vip"])
        self.actor = system_actor(self.buyer.workspace_id, run_id=RUN)
        trial = evaluation_now() + timedelta(days=14)
        self.subscription: Subscription = make_subscription(self.buyer, trial_end=trial)
        self.invoice: Invoice = make_invoice(
            self.buyer, subscription=self.subscription, due=evaluation_now() - timedelta(days=1), metadata={"po": "1"}
        )

    @property
    def of_invoice(self) -> dict[str, Any]:
        return {"actor": self.actor, "invoice_id": self.invoice.pk}

    @property
    def of_subscription(self) -> dict[str, Any]:
        return {"actor": self.actor, "subscription_id": self.subscription.pk}


@pytest.fixture
def world() -> World:
    return World()


#: Event, what brings it about, and the end of its key after the object's id.
CHANGES: list[tuple[str, Callable[[World], Any], str]] = [
    ("invoice.paid", lambda w: pay_invoice(**w.of_invoice), "paid"),
    ("invoice.voided", lambda w: void_invoice(**w.of_invoice), "voided"),
    ("invoice.marked_uncollectible", lambda w: mark_uncollectible(**w.of_invoice), "marked_uncollectible"),
    ("invoice.updated", lambda w: update_invoice(**w.of_invoice, metadata={"po": "2"}), "updated:2"),
    ("payment.succeeded", lambda w: pay_invoice(**w.of_invoice, amount="1.00"), "payment_succeeded:1"),
    ("payment.failed", lambda w: record_payment(**w.of_invoice, status="failed"), "payment_failed:1"),
    ("subscription.activated", lambda w: activate_subscription(**w.of_subscription), "activated:1"),
    ("subscription.canceled", lambda w: cancel_subscription(**w.of_subscription), "canceled:1"),
    ("subscription.updated", lambda w: cancel_subscription(**w.of_subscription, at="period_end"), "updated:1"),
]


@pytest.mark.parametrize(("name", "change", "key"), CHANGES)
def test_a_change_emits_its_event_once_under_its_key_with_its_cause(
    world: World, name: str, change: Callable[[World], Any], key: str
) -> None:
    change(world)
    event = Event.objects.get(workspace=world.buyer.workspace, name=name)
    owner = world.subscription if name.startswith("subscription") else world.invoice
    assert event.key == f"{owner.public_id}:{key}"
    assert (event.source, event.origin, event.cause_run) == ("billing", "live", RUN)
    assert event.customer_id == world.buyer.pk
    assert event.occurred_at <= evaluation_now()


@pytest.mark.parametrize(("name", "change", "key"), CHANGES)
def test_its_snapshot_fits_what_the_trigger_declares(
    world: World, name: str, change: Callable[[World], Any], key: str
) -> None:
    change(world)
    shown = dict(trigger_of(last_event(world.buyer.workspace, name)))
    declared = registry.triggers[name].Data
    assert declared is not None
    known = set(declared.model_json_schema()["properties"]) | {"changedByRun"}
    assert set(shown) <= known
    sample = registry.triggers[name].sample
    assert {key for key in sample if key not in shown} == set()


@pytest.mark.parametrize(("name", "change", "key"), CHANGES)
def test_the_customer_is_there_as_it_was(world: World, name: str, change: Callable[[World], Any], key: str) -> None:
    change(world)
    world.buyer.name = "Renamed"
    world.buyer.save()
    customer = trigger_of(last_event(world.buyer.workspace, name))["customer"]
    assert (customer["id"], customer["name"]) == (world.buyer.public_id, "Ana Ruiz")
    assert (customer["segment"], customer["country"], customer["tags"]) == ("enterprise", "DE", ["vip"])


@pytest.mark.parametrize(("name", "change", "key"), CHANGES)
def test_a_change_that_is_rolled_back_emits_nothing(
    world: World, name: str, change: Callable[[World], Any], key: str
) -> None:
    before = names_of(world.buyer.workspace)
    with transaction.atomic():
        change(world)
        transaction.set_rollback(True)
    assert names_of(world.buyer.workspace) == before
    assert reload(world.invoice).status == "open"


def test_subjects_name_everything_the_event_is_about(world: World) -> None:
    payment = record_payment(**world.of_invoice, status="failed")
    cancel_subscription(**world.of_subscription)
    invoice = {"customer": world.buyer.pk, "invoice": world.invoice.pk, "subscription": world.subscription.pk}
    assert last_event(world.buyer.workspace, "payment.failed").subjects == {**invoice, "payment": payment.pk}
    assert last_event(world.buyer.workspace, "invoice.issued").subjects == invoice
    assert last_event(world.buyer.workspace, "subscription.canceled").subjects == {
        "customer": world.buyer.pk,
        "subscription": world.subscription.pk,
    }


def test_the_overdue_event_has_no_cause_and_the_late_facts(world: World) -> None:
    sweep_overdue()
    event = last_event(world.buyer.workspace, "invoice.overdue")
    shown = trigger_of(event)
    assert (event.cause_run, shown["isOverdue"], shown["collectionMethod"]) == (None, True, "charge_automatically")
    assert shown["metadata"] == {"po": "1"}


def test_the_account_owner_is_the_customers_or_else_the_workspaces(world: World) -> None:  # CONTRACTS 7, Snapshot
    pay_invoice(**world.of_invoice)
    workspace_owner = trigger_of(last_event(world.buyer.workspace, "invoice.paid"))["accountOwner"]
    assert "@" in workspace_owner
    own = make_user()
    buyer = make_buyer(world.buyer.workspace)
    buyer.owner = own
    buyer.save()
    make_invoice(buyer)
    assert trigger_of(last_event(world.buyer.workspace, "invoice.issued"))["accountOwner"] == own.email


def test_events_of_one_change_come_in_the_order_of_what_happened(world: World) -> None:
    before = len(events_of(world.buyer.workspace))
    activate_subscription(**world.of_subscription)
    record_payment(**world.of_invoice, status="failed")
    pay_invoice(**world.of_invoice)
    assert names_of(world.buyer.workspace)[before:] == [
        "subscription.activated",
        "payment.failed",
        "subscription.updated",
        "payment.succeeded",
        "invoice.paid",
        "subscription.updated",
    ]


def test_paying_a_written_off_invoice_tells_both(world: World) -> None:
    mark_uncollectible(**world.of_invoice)
    pay_invoice(**world.of_invoice)
    names = names_of(world.buyer.workspace)
    assert names.index("invoice.marked_uncollectible") < names.index("invoice.paid")


def test_an_event_is_recorded_once_although_it_is_told_twice(world: World) -> None:
    now = evaluation_now()
    happening = of_invoice(world.invoice, "voided", None)
    for _ in range(2):
        emit([happening], now)
    assert names_of(world.buyer.workspace).count("invoice.voided") == 1


def test_emitting_nothing_costs_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        emit([], datetime(2026, 11, 20, tzinfo=UTC))


def test_emitting_many_is_as_many_statements_as_emitting_one(world: World) -> None:
    now = evaluation_now()

    def statements(count: int, word: str) -> int:
        happenings = [
            Happening("invoice.updated", f"{word}:{n}", world.buyer.workspace_id, invoice_subjects(world.invoice))
            for n in range(count)
        ]
        with CaptureQueriesContext(connection) as captured:
            emit(happenings, now)
        return len(captured)

    assert statements(1, "one") == statements(30, "many")


def test_keys_of_what_can_happen_again_carry_the_revision(world: World) -> None:
    world.invoice.revision, world.subscription.revision = 7, 9
    assert of_invoice(world.invoice, "updated", None, again=True).key.endswith(":updated:7")
    assert of_invoice(world.invoice, "paid", None).key.endswith(":paid")
    assert of_subscription(world.subscription, "updated", None).key.endswith(":updated:9")


def test_an_invoice_without_subscription_has_no_such_subject() -> None:
    invoice = make_invoice(make_buyer())
    assert "subscription" not in invoice_subjects(invoice)
    event = last_event(invoice.workspace, "invoice.issued")
    assert "subscription" not in load_events([event.pk])[event.pk].subjects
    assert not trigger_of(event).get("subscription")
