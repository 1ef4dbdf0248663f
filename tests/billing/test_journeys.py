"""Definitions about money as people write them: validation, exits, waits, goals, re-entry, loops, templates on live billing objects."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.errors import Refusal
from accounts.models import Customer, CustomerTag, Installation, Task
from automations.models import Evaluation, Run
from automations.services.drafts import create_automation
from automations.services.pause import pause_automation
from automations.services.publish import activate
from billing.models import Invoice
from billing.services.drafts import NewLine
from billing.services.invoices import finalize_invoice, update_invoice, void_invoice
from billing.services.payments import pay_invoice, record_payment
from billing.services.subscriptions import cancel_subscription
from tests.billing.helpers import last_event, make_buyer, make_card, make_invoice, make_subscription, reload
from tests.factories import actor_of, make_customer
from tests.worker.living import live, pass_time, settle, steps_of, the_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def real_clock(transactional_db: None) -> Any:
    """Each test begins with the clock as it is, and gives it back."""
    Installation.objects.update(clock_offset=timedelta())
    yield
    Installation.objects.update(clock_offset=timedelta())


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


def fail(invoice: Invoice) -> None:
    """A failed payment made elsewhere, and what follows from it."""
    record_payment(actor=system_actor(invoice.workspace_id), invoice_id=invoice.pk, status="failed")
    settle()


def problems_of(buyer: Customer, text: str) -> set[str]:
    """Codes of the problems that validation finds."""
    draft = create_automation(actor=system_actor(buyer.workspace_id), body=text, fmt="yaml")
    return {problem.code for problem in draft.problems}


def messages() -> list[str]:
    """Texts of the tasks that runs made, oldest first."""
    return list(Task.objects.order_by("pk").values_list("message", flat=True))


# -- validation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["retry_payment", "void_invoice"])
@pytest.mark.parametrize("event", ["customer.created", "subscription.canceled", "stage_enter"])
def test_an_action_on_an_invoice_needs_a_run_about_one(buyer: Customer, action: str, event: str) -> None:
    text = f"name: x\ntrigger: {{type: event, event: {event}}}\nsteps: [{{type: action, action: {action}}}]\n"
    assert problems_of(buyer, text) & {"subject_missing", "action_not_allowed"}


@pytest.mark.parametrize("action", ["retry_payment", "void_invoice"])
@pytest.mark.parametrize("event", ["invoice.issued", "payment.failed", "billing.invoice_overdue"])
def test_it_is_offered_where_there_is_one(buyer: Customer, action: str, event: str) -> None:
    text = f"name: x\ntrigger: {{type: event, event: {event}}}\nsteps: [{{type: action, action: {action}}}]\n"
    assert not problems_of(buyer, text) & {"subject_missing", "action_not_allowed", "unknown_action"}


def test_variables_that_the_trigger_cannot_supply_are_named(buyer: Customer) -> None:
    text = """name: x
trigger: {type: event, event: customer.created}
steps: [{type: action, action: create_task, message: "{{invoice.number}}"}]
"""
    assert problems_of(buyer, text)


def test_a_misspelt_event_of_billing_is_an_error(buyer: Customer) -> None:
    text = "name: x\ntrigger: {type: event, event: invoice.payed}\nsteps: [{type: stop}]\n"
    assert "unknown_event" in problems_of(buyer, text)
    draft = create_automation(actor=system_actor(buyer.workspace_id), body=text, fmt="yaml")
    with pytest.raises(Refusal):
        activate(actor=system_actor(buyer.workspace_id), automation_id=draft.automation.pk)


# -- exits, waits, goals -------------------------------------------------------------------------------------------

EXITING = """
trigger: {type: event, event: payment.failed}
exits:
  - {event: invoice.paid}
  - {event: invoice.voided, reason: withdrawn}
steps:
  - {type: delay, duration: 10d}
  - {type: action, action: create_task, message: Still open}
"""


def test_a_written_exit_ends_the_run_with_its_event(buyer: Customer) -> None:  # DEF exits, C-11
    automation = live(buyer.workspace, EXITING)
    invoice = make_invoice(buyer)
    fail(invoice)
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    settle()
    assert (the_run(automation).status, the_run(automation).end_reason) == ("CANCELLED", "invoice_paid")


def test_a_written_exit_may_have_a_reason_of_its_own(buyer: Customer) -> None:
    automation = live(buyer.workspace, EXITING)
    invoice = make_invoice(buyer)
    fail(invoice)
    void_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    settle()
    assert the_run(automation).end_reason == "withdrawn"


def test_another_invoice_ends_nothing(buyer: Customer) -> None:
    automation = live(buyer.workspace, EXITING)
    mine, other = make_invoice(buyer), make_invoice(buyer)
    fail(mine)
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=other.pk)
    settle()
    assert the_run(automation).parked_on == "timer"
    pass_time("+11d")
    assert messages() == ["Still open"]


def test_what_is_over_already_starts_no_run(buyer: Customer) -> None:  # DESIGN 5.1, already_over
    automation = live(buyer.workspace, EXITING)
    invoice = make_invoice(buyer)
    actor = actor_of(buyer.workspace)
    record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
    pay_invoice(actor=actor, invoice_id=invoice.pk)  # before any worker looked
    settle()
    assert not Run.objects.filter(automation=automation).exists()
    event = last_event(buyer.workspace, "payment.failed")
    assert "already_over" in str(Evaluation.objects.get(event_id=event.pk).decisions)


def test_a_run_can_wait_for_the_money(buyer: Customer) -> None:
    text = """
trigger: {type: event, event: invoice.issued}
steps:
  - id: money
    type: wait_until
    event: invoice.paid
    timeout: 7d
    onEvent: [{type: action, action: create_task, message: "Thanks for {{invoice.total}}"}]
    onTimeout: [{type: action, action: create_task, message: "Remind {{invoice.customer.name}}"}]
"""
    live(buyer.workspace, text)
    paid, unpaid = make_invoice(buyer), make_invoice(make_customer(buyer.workspace, name="Ben"))
    settle()
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=paid.pk)
    settle()
    assert messages() == ["Thanks for 129.00"]
    pass_time("+8d")
    assert messages() == ["Thanks for 129.00", "Remind Ben"]
    assert reload(unpaid).status == "open"


def test_a_goal_counts_the_recovered_invoice(buyer: Customer) -> None:
    text = """
trigger: {type: event, event: payment.failed}
goal: {event: invoice.paid, within: 14d}
steps: [{type: delay, duration: 1d}, {type: stop}]
"""
    automation = live(buyer.workspace, text)
    recovered, lost = make_invoice(buyer), make_invoice(make_customer(buyer.workspace))
    for invoice in (recovered, lost):
        fail(invoice)
    pass_time("+2d")
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=recovered.pk)
    settle()
    reached = {
        run.subjects["invoice"]: run.goal_reached_at is not None for run in Run.objects.filter(automation=automation)
    }
    assert reached == {recovered.pk: True, lost.pk: False}


# -- re-entry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reentry", "runs"), [("always", 3), ("one_at_a_time", 2), ("once", 2)])
def test_runs_are_told_apart_by_their_invoice(buyer: Customer, reentry: str, runs: int) -> None:  # DESIGN 5.1
    text = f"""
trigger: {{type: event, event: payment.failed}}
settings: {{reentry: {reentry}}}
steps: [{{type: delay, duration: 10d}}]
"""
    automation = live(buyer.workspace, text)
    first, second = make_invoice(buyer), make_invoice(buyer)
    for invoice in (first, first, second):
        fail(invoice)
    assert Run.objects.filter(automation=automation).count() == runs


def test_once_is_once_also_after_the_run_ended(buyer: Customer) -> None:
    text = """
trigger: {type: event, event: payment.failed}
settings: {reentry: once}
steps: [{type: stop}]
"""
    automation = live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    fail(invoice)
    fail(invoice)
    assert the_run(automation).status == "COMPLETED"


def test_a_paused_automation_starts_nothing(buyer: Customer) -> None:
    automation = live(buyer.workspace, EXITING)
    pause_automation(actor=actor_of(buyer.workspace), automation_id=automation.pk, in_flight="finish")
    fail(make_invoice(buyer))
    assert not Run.objects.filter(automation=automation).exists()


# -- data ----------------------------------------------------------------------------------------------------------


def test_the_snapshot_keeps_what_was_and_the_variable_what_is(buyer: Customer) -> None:  # VAR-25
    text = """
trigger: {type: event, event: invoice.issued}
steps:
  - {type: delay, duration: 1d}
  - {type: action, action: create_task, message: "{{trigger.invoice.status}} then {{invoice.status}}"}
"""
    live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    settle()
    pay_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk)
    pass_time("+1d")
    (message,) = messages()
    assert message.endswith(" then paid")
    assert not message.startswith("paid")


def test_the_failure_count_is_that_of_the_event(buyer: Customer) -> None:  # VAR-12, VAR-18
    text = """
trigger: {type: event, event: payment.failed}
steps:
  - {type: delay, duration: 1d}
  - {type: action, action: create_task, message: "{{trigger.failureCount}} of {{payment.failureCount}}"}
"""
    live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    for _ in range(3):
        fail(invoice)
    pass_time("+1d")
    assert sorted(messages()) == ["1 of 3", "2 of 3", "3 of 3"]


def test_lines_are_walked_in_a_loop(buyer: Customer) -> None:
    text = """
trigger: {type: event, event: invoice.issued}
steps:
  - type: loop
    over: "{{invoice.lines}}"
    as: line
    steps: [{type: action, action: create_task, message: "{{line.quantity}} x {{line.description}}: {{line.amount}}"}]
"""
    live(buyer.workspace, text)
    make_invoice(buyer, lines=[NewLine("Seats", "30.00", 3), NewLine("Rebate", "-5.00")])
    settle()
    assert messages() == ["3 x Seats: 30.00", "1 x Rebate: -5.00"]


def test_a_loop_over_subscriptions_reads_each_with_its_customer(buyer: Customer) -> None:  # STP-24
    text = """
trigger: {type: schedule, interval: 24h}
steps:
  - type: loop
    over: {query: subscriptions, where: subscription.status == "active" AND customer.segment == "vip"}
    as: it
    steps: [{type: action, action: create_task, message: "{{it.interval}} {{it.status}}"}]
"""
    live(buyer.workspace, text)
    vip = make_customer(buyer.workspace, segment="vip")
    make_subscription(vip, interval="yearly")
    make_subscription(vip, status="past_due")
    make_subscription(buyer)
    pass_time("+25h")
    assert messages() == ["yearly active"]


@pytest.mark.parametrize(("total", "expected"), [("1000.01", 1), ("1000.00", 0), ("999.99", 0)])
def test_a_filter_on_the_amount_is_exact(buyer: Customer, total: str, expected: int) -> None:  # CND-04
    text = """
trigger: {type: event, event: invoice.issued}
filter: invoice.amount > 1000
steps: [{type: action, action: create_task, message: Large}]
"""
    live(buyer.workspace, text)
    make_invoice(buyer, total)
    settle()
    assert len(messages()) == expected


@pytest.mark.parametrize(("interval", "expected"), [("yearly", 1), ("monthly", 0)])
def test_a_filter_on_the_interval_of_the_subscription(buyer: Customer, interval: str, expected: int) -> None:  # CND-14
    text = """
trigger: {type: event, event: payment.failed}
filter: subscription.interval == "yearly"
steps: [{type: action, action: create_task, message: Yearly}]
"""
    live(buyer.workspace, text)
    fail(make_invoice(buyer, subscription=make_subscription(buyer, interval=interval)))
    assert len(messages()) == expected


@pytest.mark.parametrize(("metadata", "expected"), [({"po": "required"}, 1), ({"po": "none"}, 0), ({}, 0)])
def test_a_filter_on_the_metadata_of_the_invoice(buyer: Customer, metadata: dict[str, str], expected: int) -> None:
    text = """
trigger: {type: event, event: invoice.issued}
filter: invoice.metadata.po == "required"
steps: [{type: action, action: create_task, message: Ask}]
"""  # CND-11
    live(buyer.workspace, text)
    make_invoice(buyer, metadata=metadata)
    settle()
    assert len(messages()) == expected


def test_metadata_changed_later_is_seen_at_once(buyer: Customer) -> None:  # BIL-10, CND-18
    text = """
trigger: {type: event, event: invoice.issued}
steps:
  - {type: delay, duration: 1d}
  - type: condition
    if: invoice.metadata.vip == "yes"
    then: [{type: action, action: add_tag, tag: seen}]
"""
    live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    settle()
    update_invoice(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, metadata={"vip": "yes"})
    pass_time("+1d")
    assert CustomerTag.objects.filter(customer=buyer, tag__slug="seen").exists()


@pytest.mark.parametrize(
    ("offset", "days"),
    [("-3d", 4), ("0s", 7), ("+2d", 9)],
)
def test_a_delay_is_anchored_to_the_due_date(buyer: Customer, offset: str, days: int) -> None:  # C-21
    text = f"""
trigger: {{type: event, event: invoice.issued}}
steps:
  - {{type: delay, anchor: due_date, offset: "{offset}", at: "08:00"}}
  - {{type: action, action: create_task, message: Due}}
"""
    automation = live(buyer.workspace, text)
    due = (evaluation_now() + timedelta(days=7)).date()
    make_invoice(buyer, due=due, collection_method="send_invoice")
    settle()
    at = the_run(automation).due_at
    assert at is not None
    assert (at.date() - evaluation_now().date()).days == days
    assert (at.hour, at.minute) == (8, 0)


def test_an_offset_already_past_is_skipped_and_not_made_up_for(buyer: Customer) -> None:  # C-21
    text = """
trigger: {type: event, event: invoice.issued}
steps:
  - {type: delay, anchor: due_date, offset: -30d}
  - {id: early, type: action, action: create_task, message: Early}
  - {type: delay, anchor: due_date, offset: 1d}
  - {id: late, type: action, action: create_task, message: Late}
"""
    automation = live(buyer.workspace, text)
    make_invoice(buyer, due=(evaluation_now() + timedelta(days=5)).date())
    settle()
    pass_time("+7d")
    assert messages() == ["Late"]
    assert "early" in steps_of(the_run(automation))  # skipped, and the log says so


def test_the_cancelled_subscriptions_customer_reads_so(buyer: Customer) -> None:  # CND-23
    text = """
trigger: {type: event, event: subscription.canceled}
steps: [{type: action, action: create_task, message: "{{profile.subscriptionStatus}} {{subscription.willRenew}}"}]
"""
    live(buyer.workspace, text)
    subscription = make_subscription(buyer)
    cancel_subscription(actor=actor_of(buyer.workspace), subscription_id=subscription.pk)
    settle()
    assert messages() == ["canceled false"]


def test_a_run_that_voids_hears_of_its_own_change_at_once(buyer: Customer) -> None:  # DESIGN 5.2, reads after effects
    text = """
trigger: {type: event, event: invoice.issued}
steps:
  - {type: action, action: void_invoice}
  - {type: condition, if: invoice.status == "void", then: [{type: action, action: create_task, message: Gone}]}
"""
    live(buyer.workspace, text)
    make_invoice(buyer)
    settle()
    assert messages() == ["Gone"]


def test_its_own_effects_never_start_it_again(buyer: Customer) -> None:  # DESIGN 5.1
    text = """
trigger: {type: event, event: payment.failed}
steps: [{type: action, action: retry_payment}]
"""
    make_card(buyer, "card_decline_soft")
    automation = live(buyer.workspace, text)
    invoice = make_invoice(buyer)
    record_payment(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, status="failed")
    settle(deliver=True)
    assert Run.objects.filter(automation=automation).count() == 1
    assert reload(invoice).failed_count == 2


def test_another_automation_may_follow_from_it(buyer: Customer) -> None:
    make_card(buyer)
    live(
        buyer.workspace,
        "trigger: {type: event, event: payment.failed}\nsteps: [{type: action, action: retry_payment}]\n",
    )
    receipt = live(
        buyer.workspace,
        'trigger: {type: event, event: invoice.paid}\nsteps: [{type: action, action: create_task, message: "{{trigger.number}}"}]\n',
    )
    invoice = make_invoice(buyer)
    record_payment(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, status="failed")
    settle(deliver=True)
    assert the_run(receipt).status == "COMPLETED"
    assert messages() == [invoice.number]


def test_a_draft_starts_nothing_before_it_is_issued(buyer: Customer) -> None:  # TRG-04
    automation = live(buyer.workspace, EXITING.replace("payment.failed", "invoice.issued"))
    draft = make_invoice(buyer, status="draft")
    update_invoice(actor=actor_of(buyer.workspace), invoice_id=draft.pk, metadata={"a": "b"})
    settle()
    assert not Run.objects.filter(automation=automation).exists()
    finalize_invoice(actor=actor_of(buyer.workspace), invoice_id=draft.pk)
    settle()
    assert the_run(automation).subjects == {"customer": buyer.pk, "invoice": draft.pk}
