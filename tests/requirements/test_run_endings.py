"""What a run is about, what it must not start, and why it ends: RUN-24 and RUN-26 to 28."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.actor import system_actor
from accounts.services.erasure import erase_customer
from automations.worker.deliver import deliver_batch
from billing.models import Invoice
from tests.api.outside import Outside
from tests.billing.helpers import make_card, make_invoice, make_subscription
from tests.factories import make_customer
from tests.requirements.flows import BAD, PAUSE, TAG, TASK, flow, started

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
FAILED = "payment.failed"
EXCLUSIVE = "billing.subscription_payment_failed"


def owed(onward: Outside, card: str = "") -> Invoice:
    """An open invoice of a subscription that collects by itself."""
    buyer = make_customer(onward.workspace)
    if card:
        make_card(buyer, card)
    return make_invoice(buyer, subscription=make_subscription(buyer), collection_method="charge_automatically")


def fails(onward: Outside, invoice: Invoice) -> None:
    """A payment of it fails, as an integration reports it."""
    body = {"invoice": invoice.public_id, "status": "failed", "failureCode": "insufficient_funds"}
    assert onward.api.post("/payments", body).status_code == 201
    onward.work()


@pytest.mark.django_db(transaction=True)  # charges are made on connections of their own
@pytest.mark.parametrize(("head", "own"), [("", 1), ("settings: {restartOnOwnEffects: true}\n", 2)])
def test_run_24_its_own_failure_does_not_start_it_again(onward: Outside, head: str, own: int) -> None:  # RUN-24
    retry = "{id: again, type: action, action: retry_payment}"
    automation = onward.activate(flow(PAUSE, retry, event=FAILED, head=head))
    other = onward.activate(flow(TAG, event=FAILED, name="Other"))
    invoice = owed(onward, "card_decline_soft")
    fails(onward, invoice)
    assert (len(onward.executions(automation)), len(onward.executions(other))) == (1, 1)
    onward.pass_time("+2d")
    deliver_batch(kinds=["charge"])
    onward.work()
    assert (len(onward.executions(automation)), len(onward.executions(other))) == (own, 2)


def test_run_26_a_run_knows_its_objects(onward: Outside) -> None:  # RUN-26
    automation, invoice = onward.activate(flow(PAUSE, event=FAILED)), owed(onward)
    fails(onward, invoice)
    subject = onward.execution(automation)["subject"]
    assert subject.pop("payment").startswith("pay_")
    assert subject == {
        "customer": f"cus_{invoice.customer_id}",
        "invoice": invoice.public_id,
        "subscription": f"sub_{invoice.subscription_id}",
    }
    assert onward.execution(automation)["profileId"] == f"cus_{invoice.customer_id}"


@pytest.mark.parametrize(
    ("reason", "status", "step"),
    [("completed", "completed", TAG), ("stopped", "completed", "{type: stop}"), ("failed", "failed", BAD)],
)
def test_run_27_ends_of_its_own(onward: Outside, reason: str, status: str, step: str) -> None:  # RUN-27
    automation, _ = started(onward, flow(step))
    assert (onward.execution(automation)["endReason"], onward.execution(automation)["status"]) == (reason, status)


@pytest.mark.parametrize(
    ("reason", "act", "body"),
    [("invoice_paid", "pay", {}), ("invoice_voided", "void", {}), ("auto_advance_off", "", {"autoAdvance": False})],
)
def test_run_27_ends_by_the_invoice(onward: Outside, reason: str, act: str, body: Any) -> None:  # RUN-27
    automation, invoice = onward.activate(flow(PAUSE, event=EXCLUSIVE)), owed(onward)
    fails(onward, invoice)
    assert onward.execution(automation)["runStatus"] == "RUNNING"
    address = f"/invoices/{invoice.public_id}"
    answer = onward.api.post(f"{address}/{act}") if act else onward.api.patch(address, body)
    assert answer.status_code == 200, answer.content
    onward.work()
    assert (onward.execution(automation)["runStatus"], onward.execution(automation)["endReason"]) == (
        "CANCELLED",
        reason,
    )


def test_run_27_ends_by_the_subscription(onward: Outside) -> None:  # RUN-27
    head = "exits: [{event: subscription.canceled, reason: subscription_cancelled}]\n"
    automation, invoice = onward.activate(flow(PAUSE, event=FAILED, head=head)), owed(onward)
    fails(onward, invoice)
    onward.api.post(f"/subscriptions/sub_{invoice.subscription_id}/cancel", {"at": "now"})
    onward.work()
    assert onward.execution(automation)["endReason"] == "subscription_cancelled"


def test_run_27_unsubscribed(onward: Outside) -> None:  # RUN-27
    automation, ana = started(onward, flow(PAUSE))
    assert onward.api.put(f"/customers/{ana['id']}/consent", {"state": "unsubscribed"}).status_code == 200
    assert onward.execution(automation)["endReason"] == "unsubscribed"


def test_run_27_profile_deleted(onward: Outside) -> None:  # RUN-27
    automation, ana = started(onward, flow(PAUSE))
    erase_customer(actor=system_actor(onward.workspace.pk), customer_id=int(ana["id"].removeprefix("cus_")))
    assert (onward.execution(automation)["endReason"], onward.execution(automation)["status"]) == (
        "profile_deleted",
        "cancelled",
    )


def test_run_27_cancelled_on_pause(onward: Outside) -> None:  # RUN-27
    automation, _ = started(onward, flow(PAUSE))
    onward.api.post(f"/automations/{automation}/pause", {"inFlight": "cancel"})
    assert onward.execution(automation)["endReason"] == "cancelled_on_pause"


def test_run_27_another_exit_gives_its_own_name(onward: Outside) -> None:  # RUN-27
    automation, ana = started(onward, flow(PAUSE, head="exits: [{event: moved_away}]\n"))
    onward.emit("moved_away", ana["id"])
    onward.work()
    assert onward.execution(automation)["endReason"] == "moved_away"


def test_run_28_an_exit_is_about_the_same_object(onward: Outside) -> None:  # RUN-28
    automation = onward.activate(flow(PAUSE, TASK, event=FAILED, head="exits: [{event: invoice.paid}]\n"))
    invoice = owed(onward)
    other = make_invoice(invoice.customer)
    fails(onward, invoice)
    onward.api.post(f"/invoices/{other.public_id}/pay")
    onward.work()
    assert onward.execution(automation)["runStatus"] == "RUNNING"
    onward.api.post(f"/invoices/{invoice.public_id}/pay")
    onward.work()
    run = onward.execution(automation)
    assert (run["runStatus"], run["endReason"], onward.tasks()) == ("CANCELLED", "invoice_paid", [])
