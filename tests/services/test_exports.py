"""The export made before an erasure is one JSON document with what all apps hold of a customer (SUP-06); the clock's guard."""

from __future__ import annotations

import json

import pytest

from accounts.actor import system_actor
from accounts.clock import set_clock
from accounts.errors import Refusal
from accounts.models import Workspace
from accounts.services.erasure import erase_customer, export_customer
from automations.models import Run
from automations.services.listeners import any_unfinished_run
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import make_customer
from tests.worker.routing import on, route_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
PARKED = "type: event, event: customer.created"


def test_an_export_holds_what_all_apps_know(workspace: Workspace, other: Workspace) -> None:
    # SUP-06
    on(workspace, PARKED)
    customer = make_customer(workspace, email="ana@example.com")
    invoice = make_invoice(customer, total="129.00", status="paid", subscription=make_subscription(customer))
    stranger = make_customer(workspace, email="b@example.com")
    make_invoice(stranger, total="7.00")
    route_all()
    document = export_customer(actor=system_actor(workspace.pk), customer_id=customer.pk)
    text = json.dumps(document)
    assert document["customer"]["email"] == "ana@example.com"
    assert [row["id"] for row in document["invoices"]] == [invoice.public_id]
    assert document["invoices"][0]["total"] == "129.00"
    assert [row["status"] for row in document["subscriptions"]] == ["active"]
    assert [row["status"] for row in document["payments"]] == ["succeeded"]
    assert {row["name"] for row in document["events"]} >= {"customer.created", "invoice.issued"}
    assert len(document["executions"]) == 1
    assert document["deliveries"] == []
    assert "b@example.com" not in text
    with pytest.raises(Refusal):
        export_customer(actor=system_actor(other.pk), customer_id=customer.pk)


def test_an_export_made_afterwards_holds_nothing_personal(workspace: Workspace) -> None:
    # SUP-06
    customer = make_customer(workspace, email="ana@example.com", name="Ana Ruiz", metadata={"k": "secret-value"})
    make_invoice(customer, total="129.00")
    actor = system_actor(workspace.pk)
    erase_customer(actor=actor, customer_id=customer.pk)
    document = export_customer(actor=actor, customer_id=customer.pk)
    text = json.dumps(document)
    assert not [word for word in ("Ana", "ana@example.com", "secret-value") if word in text]
    assert [row["total"] for row in document["invoices"]] == ["129.00"], "money rows stay"


def test_the_clock_does_not_go_back_over_an_unfinished_run(workspace: Workspace) -> None:
    # CONTRACTS, "The clock"
    assert any_unfinished_run() is False
    on(workspace, PARKED)
    make_customer(workspace)
    route_all()
    set_clock("+1d")
    assert any_unfinished_run() is True
    with pytest.raises(Refusal) as refused:
        set_clock("real")
    assert refused.value.code == "wrong_state"
    Run.objects.update(
        status="COMPLETED", end_reason="completed", ended_at=Run.objects.get().started_at, parked_on=None, due_at=None
    )
    set_clock("real")
