"""Billing's triggers and actions as the worker lives them: routing, dispatch, charges, early ends (ACT-05, ACT-06, TRG, PRI, C-12)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.models import Customer, Task
from automations.models import Automation, Delivery, Evaluation, Run
from automations.services.cancel import cancel_run
from billing.models import Invoice, Payment
from billing.models import TestCharge as Booked
from billing.services.drafts import NewLine
from billing.services.invoices import mark_uncollectible, update_invoice, void_invoice
from billing.services.payments import pay_invoice, record_payment
from billing.services.subscriptions import activate_subscription, cancel_subscription
from tests.billing.helpers import (
    last_event,
    make_buyer,
    make_card,
    make_invoice,
    make_subscription,
    names_of,
    payments_of,
    reload,
    trigger_of,
)
from tests.factories import actor_of
from tests.worker.living import live, log_of, pass_time, settle, steps_of, the_run

pytestmark = pytest.mark.django_db(transaction=True)

DUNNING = """
trigger: {type: event, event: payment.failed}
settings: {reentry: one_at_a_time}
steps:
  - {type: delay, duration: 3d}
  - type: condition
    if: "{{invoice.status}} == 'unpaid'"
    then:
      - {id: again, type: action, action: retry_payment}
      - type: condition
        if: steps.again.result == "declined"
        then: [{type: action, action: create_task, message: "Declined: {{steps.again.failureReason}}"}]
"""


@pytest.fixture(autouse=True)
def _real_clock(transactional_db: None) -> Any:
    """Each test begins with the clock as it is, and gives it back."""
    from accounts.models import Installation

    Installation.objects.update(clock_offset=timedelta())
    yield
    Installation.objects.update(clock_offset=timedelta())


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


def fail(invoice: Invoice) -> Payment:
    """A failed payment made elsewhere."""
    actor = system_actor(invoice.workspace_id)
    return record_payment(actor=actor, invoice_id=invoice.pk, status="failed", failure_code="insufficient_funds")


def output_of(run: Run, step: str) -> Any:
    """What a step of a run came to."""
    return next(row for row in log_of(run) if row.step == step).output


def test_a_failed_payment_is_retried_after_three_days_and_pays(buyer: Customer) -> None:  # ACT-05
    make_card(buyer)
    automation = live(buyer.workspace, DUNNING)
    invoice = make_invoice(buyer)
    fail(invoice)
    settle()
    assert reload(invoice).status == "open"
    pass_time("+3d", deliver=True)
    run = the_run(automation)
    payment = payments_of(invoice)[1]
    assert (run.status, reload(invoice).status) == ("COMPLETED", "paid")
    assert output_of(run, "again")["result"] == "paid"
    assert output_of(run, "again")["payment"] == payment.public_id
    assert last_event(buyer.workspace, "payment.succeeded").cause_run == run.pk
    assert payment.key.split(".")[1] == f"exec_{run.pk}"
    assert Booked.objects.get().key == payment.key == Delivery.objects.get().key


def test_a_decline_is_a_result_to_branch_on(buyer: Customer) -> None:  # C-24
    make_card(buyer, "card_decline_soft")
    automation = live(buyer.workspace, DUNNING)
    invoice = make_invoice(buyer)
    fail(invoice)
    settle()
    pass_time("+3d", deliver=True)
    run = the_run(automation)  # one at a time, and its own failed payment does not start it again
    assert run.status == "COMPLETED"
    assert output_of(run, "again")["failureReason"] == "Insufficient funds"
    assert Task.objects.get().message == "Declined: Insufficient funds"
    assert trigger_of(last_event(buyer.workspace, "payment.failed"))["failureCount"] == 2


def test_an_invoice_paid_during_the_delay_is_not_charged(buyer: Customer) -> None:  # CND-09, VAR-25
    make_card(buyer)
    automation = live(buyer.workspace, DUNNING)
    invoice = make_invoice(buyer)
    fail(invoice)
    settle()
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    pass_time("+3d", deliver=True)
    assert the_run(automation).status == "COMPLETED"
    assert not Booked.objects.exists()


def test_an_invoice_paid_between_decision_and_charge_is_refused_visibly(buyer: Customer) -> None:  # DESIGN 5.3
    make_card(buyer)
    automation = live(
        buyer.workspace,
        "trigger: {type: event, event: payment.failed}\nsteps:\n  - {id: again, type: action, action: retry_payment}\n",
    )
    invoice = make_invoice(buyer)
    fail(invoice)
    settle()  # the charge is queued, not made
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    settle(deliver=True)
    run = the_run(automation)
    assert run.status == "COMPLETED"
    assert output_of(run, "again")["result"] == "refused"
    assert Delivery.objects.get().state == "REFUSED"
    assert not Booked.objects.exists()


def test_an_unreachable_gateway_goes_to_the_error_port(buyer: Customer) -> None:  # C-24
    make_card(buyer, "card_unreachable")
    text = """
trigger: {type: event, event: payment.failed}
steps:
  - id: again
    type: action
    action: retry_payment
    onError: [{id: tell, type: action, action: create_task, message: Gateway is away}]
"""
    automation = live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    fail(invoice)
    settle(deliver=True)
    run = the_run(automation)
    assert (run.status, steps_of(run)) == ("COMPLETED", ["again", "tell"])
    assert len(payments_of(invoice)) == 1  # only the one recorded; the charge left nothing
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)  # and holds nothing up
    assert reload(invoice).status == "paid"


def test_a_lost_answer_is_read_back_and_charged_once(buyer: Customer) -> None:  # DESIGN 5.3, UNKNOWN
    make_card(buyer, "card_timeout_after_charge")
    automation = live(
        buyer.workspace,
        "trigger: {type: event, event: payment.failed}\nsteps:\n  - {id: again, type: action, action: retry_payment}\n",
    )
    invoice = make_invoice(buyer)
    fail(invoice)
    settle(deliver=True)
    assert (the_run(automation).parked_on, Delivery.objects.get().state) == ("delivery", "UNKNOWN")
    assert [row.status for row in payments_of(invoice)] == ["failed", "unknown"]
    pass_time("+1m", deliver=True)
    run = the_run(automation)
    assert (run.status, output_of(run, "again")["result"]) == ("COMPLETED", "paid")
    assert reload(invoice).status == "paid"
    assert Booked.objects.count() == 1
    assert names_of(buyer.workspace).count("invoice.paid") == 1


def test_a_run_cancelled_while_its_charge_waits_frees_the_invoice(buyer: Customer) -> None:
    make_card(buyer, "card_unreachable")
    text = """
trigger: {type: event, event: payment.failed}
steps:
  - {id: again, type: action, action: retry_payment, errorHandling: {retries: 3, retryDelay: 1h, backoffMultiplier: 1}}
"""
    automation = live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    fail(invoice)
    settle(deliver=True)
    assert [row.status for row in payments_of(invoice)] == ["failed", "pending"]
    cancel_run(actor=actor_of(buyer.workspace), run_id=the_run(automation).pk)
    settle(deliver=True)
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    assert reload(invoice).status == "paid"


def test_explicit_retries_keep_the_key(buyer: Customer) -> None:  # ERR-01, C-24
    card = make_card(buyer, "card_unreachable")
    text = """
trigger: {type: event, event: payment.failed}
steps:
  - {id: again, type: action, action: retry_payment, errorHandling: {retries: 2, retryDelay: 1h, backoffMultiplier: 1}}
"""
    automation = live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    fail(invoice)
    settle(deliver=True)
    key = payments_of(invoice)[1].key
    card.reference = "card_ok"  # the gateway is back
    card.save()
    pass_time("+1h", deliver=True)
    assert the_run(automation).status == "COMPLETED"
    assert reload(invoice).status == "paid"
    assert Booked.objects.get().key == key


def test_a_run_voids_its_invoice_and_a_paid_one_fails_clearly(buyer: Customer) -> None:  # ACT-06
    automation = live(
        buyer.workspace,
        "trigger: {type: event, event: invoice.issued}\nsteps:\n  - {id: off, type: action, action: void_invoice, reason: Test}\n",
    )
    invoice = make_invoice(buyer)
    nothing = make_invoice(buyer, lines=[NewLine("Free", "0.00")])
    settle()
    done, failed = Run.objects.filter(automation=automation).order_by("pk")
    assert failed.error is not None
    assert (reload(invoice).status, output_of(done, "off")["status"]) == ("void", "void")
    assert reload(invoice).changed_by_run == done.pk
    assert (failed.status, failed.error["code"]) == ("FAILED", "wrong_state")
    assert f"{nothing.public_id} is paid and cannot be voided" in failed.error["message"]


def parked(event: str, name: str = "Parked", **more: str) -> str:
    """An automation on this event that waits ten days, then makes a task."""
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    return f"""name: {name}
trigger: {{type: event, event: {event}}}
{extra}steps:
  - {{type: delay, duration: 10d}}
  - {{type: action, action: create_task, message: Too late}}
"""


def overdue_run(buyer: Customer) -> tuple[Automation, Invoice]:
    """A run of "Invoice is overdue" that stands in its delay."""
    automation = live(buyer.workspace, parked("billing.invoice_overdue"))
    due = evaluation_now() - timedelta(hours=1)
    invoice = make_invoice(buyer, due=due, collection_method="send_invoice", subscription=make_subscription(buyer))
    settle()
    assert the_run(automation).parked_on == "timer"
    return automation, invoice


def failed_run(buyer: Customer) -> tuple[Automation, Invoice]:
    """A run of "Subscription payment fails" that stands in its delay."""
    automation = live(buyer.workspace, parked("billing.subscription_payment_failed"))
    invoice = make_invoice(buyer, subscription=make_subscription(buyer))
    fail(invoice)
    settle()
    assert the_run(automation).parked_on == "timer"
    return automation, invoice


ENDS = {
    "invoice_paid": lambda invoice: pay_invoice(actor=system_actor(invoice.workspace_id), invoice_id=invoice.pk),
    "invoice_voided": lambda invoice: void_invoice(actor=system_actor(invoice.workspace_id), invoice_id=invoice.pk),
    "auto_advance_off": lambda invoice: update_invoice(
        actor=system_actor(invoice.workspace_id), invoice_id=invoice.pk, auto_advance=False
    ),
}


@pytest.mark.parametrize("begin", [overdue_run, failed_run])
@pytest.mark.parametrize("reason", ENDS)
def test_the_exclusive_runs_end_with_their_invoice(buyer: Customer, begin: Any, reason: str) -> None:
    # TRG-30 to 32, TRG-34 to 36, C-11
    automation, invoice = begin(buyer)
    ENDS[reason](invoice)
    settle()
    run = the_run(automation)
    assert (run.status, run.end_reason) == ("CANCELLED", reason)
    pass_time("+11d")
    assert not Task.objects.exists()


@pytest.mark.parametrize("begin", [overdue_run, failed_run])
def test_writing_the_invoice_off_ends_them_too(buyer: Customer, begin: Any) -> None:  # C-12
    automation, invoice = begin(buyer)
    mark_uncollectible(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    settle()
    assert the_run(automation).end_reason == "auto_advance_off"


@pytest.mark.parametrize("begin", [overdue_run, failed_run])
def test_what_the_run_itself_did_to_collection_does_not_end_it(buyer: Customer, begin: Any) -> None:  # C-12
    automation, invoice = begin(buyer)
    own = system_actor(buyer.workspace_id, run_id=the_run(automation).pk)
    mark_uncollectible(actor=own, invoice_id=invoice.pk)
    settle()
    assert the_run(automation).status == "RUNNING"
    pass_time("+11d")
    assert the_run(automation).status == "COMPLETED"
    assert Task.objects.get().message == "Too late"


def test_a_payment_by_the_run_itself_does_end_it(buyer: Customer) -> None:  # C-12
    automation, invoice = failed_run(buyer)
    pay_invoice(actor=system_actor(buyer.workspace_id, run_id=the_run(automation).pk), invoice_id=invoice.pk)
    settle()
    assert the_run(automation).end_reason == "invoice_paid"


def test_cancelling_the_subscription_ends_what_collects_for_it(buyer: Customer) -> None:  # REQUIREMENTS 4.2
    automation, invoice = failed_run(buyer)
    cancel_subscription(actor=actor_of(buyer.workspace), subscription_id=invoice.subscription_id or 0)
    settle()
    assert the_run(automation).end_reason == "auto_advance_off"


def test_invoice_is_overdue_is_not_for_charged_invoices(buyer: Customer) -> None:  # TRG-28, TRG-29
    automation = live(buyer.workspace, parked("billing.invoice_overdue"))
    make_invoice(buyer, due=evaluation_now() - timedelta(hours=1))
    settle()
    assert last_event(buyer.workspace, "invoice.overdue")
    assert not Run.objects.filter(automation=automation).exists()


def test_subscription_payment_fails_starts_once_for_the_first_attempt(buyer: Customer) -> None:  # TRG-33
    automation = live(buyer.workspace, parked("billing.subscription_payment_failed"))
    invoice, one_off = make_invoice(buyer, subscription=make_subscription(buyer)), make_invoice(buyer)
    for target in (invoice, invoice, one_off):
        fail(target)
        settle()
    assert the_run(automation).subjects["invoice"] == invoice.pk


def test_payment_failed_starts_on_any_attempt(buyer: Customer) -> None:  # TRG-07
    automation = live(buyer.workspace, parked("payment.failed"))
    invoice = make_invoice(buyer)
    for _ in range(2):
        fail(invoice)
    settle()
    assert Run.objects.filter(automation=automation).count() == 2


def test_one_occurrence_starts_a_run_for_each_name_it_has(buyer: Customer) -> None:  # TRG-49, C-05
    automations = [
        live(buyer.workspace, parked(event, event))
        for event in ("payment.failed", "billing.subscription_payment_failed")
    ]
    fail(make_invoice(buyer, subscription=make_subscription(buyer)))
    settle()
    assert [Run.objects.filter(automation=row).count() for row in automations] == [1, 1]
    assert len({Run.objects.get(automation=row).event_id for row in automations}) == 1


def test_of_several_only_the_first_that_matches_runs(buyer: Customer) -> None:  # PRI-01, PRI-02
    texts = {"large": "invoice.total > 1000", "middle": "invoice.total > 100", "rest": "invoice.total > 0"}
    made = {
        name: live(buyer.workspace, parked("billing.invoice_overdue", name, filter=f'"{where}"'))
        for name, where in texts.items()
    }
    due = evaluation_now() - timedelta(hours=1)
    invoices = {
        name: make_invoice(buyer, total, due=due, collection_method="send_invoice")
        for name, total in (("large", "2000.00"), ("middle", "500.00"), ("rest", "50.00"))
    }
    settle()
    for name, automation in made.items():
        assert the_run(automation).subjects["invoice"] == invoices[name].pk


def test_below_the_limit_the_default_settings_act_and_the_event_says_so(
    buyer: Customer,
) -> None:  # PRI-05, PRI-11, PRI-13
    automation = live(buyer.workspace, parked("billing.subscription_payment_failed", filter='"invoice.total > 100"'))
    subscription = make_subscription(buyer)
    large, small = (make_invoice(buyer, total, subscription=subscription) for total in ("150.00", "80.00"))
    for invoice in (large, small):
        fail(invoice)
    settle()
    assert the_run(automation).subjects["invoice"] == large.pk
    event = last_event(buyer.workspace, "payment.failed")
    assert event.subjects["invoice"] == small.pk
    decisions = Evaluation.objects.get(event_id=event.pk).decisions
    assert "applied" in str(decisions)
    assert "filter" in str(decisions)


@pytest.mark.parametrize(
    ("event", "bring_about"),
    [
        ("invoice.issued", lambda buyer: make_invoice(buyer)),
        ("invoice.paid", lambda buyer: make_invoice(buyer, status="paid")),
        ("invoice.overdue", lambda buyer: make_invoice(buyer, due=date(2020, 1, 1))),
        ("invoice.voided", lambda buyer: make_invoice(buyer, status="void")),
        ("invoice.marked_uncollectible", lambda buyer: make_invoice(buyer, status="uncollectible")),
        ("payment.failed", lambda buyer: fail(make_invoice(buyer))),
        ("payment.succeeded", lambda buyer: make_invoice(buyer, status="paid")),
        ("subscription.created", lambda buyer: make_subscription(buyer)),
        ("subscription.activated", lambda buyer: make_subscription(buyer)),
    ],
)
def test_each_event_starts_one_run_and_nothing_else_starts_a_second(
    buyer: Customer, event: str, bring_about: Any
) -> None:  # TRG-04 to TRG-08
    automation = live(buyer.workspace, parked(event))
    bring_about(buyer)
    settle()
    settle()
    assert the_run(automation).parked_on == "timer"
    shown = trigger_of(last_event(buyer.workspace, event))
    assert shown["customer"]["id"] == buyer.public_id


def test_a_trial_that_becomes_active_starts_one_run(buyer: Customer) -> None:  # TRG-09
    automation = live(buyer.workspace, parked("subscription.activated"))
    subscription = make_subscription(buyer, trial_end=evaluation_now() + timedelta(days=14))
    settle()
    assert not Run.objects.exists()
    activate_subscription(actor=actor_of(buyer.workspace), subscription_id=subscription.pk)
    settle()
    assert the_run(automation).subjects["subscription"] == subscription.pk


def test_the_end_with_the_period_is_no_cancellation_yet(buyer: Customer) -> None:  # TRG-10
    automation = live(buyer.workspace, parked("subscription.canceled"))
    subscription = make_subscription(buyer)
    cancel_subscription(actor=actor_of(buyer.workspace), subscription_id=subscription.pk, at="period_end")
    settle()
    assert not Run.objects.exists()
    cancel_subscription(actor=actor_of(buyer.workspace), subscription_id=subscription.pk)
    settle()
    assert the_run(automation).status == "RUNNING"


def test_a_schedule_walks_over_the_overdue_invoices(buyer: Customer) -> None:  # STP-24, C-14
    text = """
trigger: {type: schedule, interval: 24h, forEach: {query: invoices, where: invoice.status == "overdue"}}
steps:
  - {type: action, action: create_task, message: "{{invoice.number}} of {{invoice.customer.name}}"}
"""
    live(buyer.workspace, text)
    late = make_invoice(buyer, due=evaluation_now() - timedelta(hours=1))
    make_invoice(buyer)
    pass_time("+25h")
    assert [task.message for task in Task.objects.all()] == [f"{late.number} of {buyer.name}"]
