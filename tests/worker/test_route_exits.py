"""Ending runs and reaching goals by events (RUN-28, C-11, C-12, C-15), and waking them (RUN-18, STP-13 to 17)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.actor import system_actor
from accounts.services.consent import record_consent
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from automations.models import Delivery, Entry, Event, EventContent, Run, StepLog
from automations.services.events import NewEvent, record_events
from billing.gateways.test import open_books
from billing.services.invoices import void_invoice
from billing.services.payments import pay_invoice
from tests.billing.helpers import make_invoice
from tests.chaos.blocking import until_blocked
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, pass_time, settle, steps_of
from tests.worker.racing import Racer
from tests.worker.routing import gate, occur, on, route_all, runs

pytestmark = pytest.mark.django_db
WAIT = "steps: [{id: w, type: wait_until, event: demo_booked, filter: event.seats > 5}, {type: stop}]"


def ends(automation):
    """Status and reason of its runs."""
    return [(run.status, run.end_reason) for run in runs(automation)]


def test_an_exit_ends_the_run_of_the_same_invoice_only(workspace, customer):  # RUN-28, RUN-27, C-11
    automation = on(workspace, "type: event, event: invoice.issued", "exits: [{event: invoice.paid}]")
    mine, other = make_invoice(customer), make_invoice(customer)
    settle()
    pay_invoice(actor=system_actor(workspace.pk), invoice_id=other.pk)
    route_all()
    by_invoice = {run.subject_id: (run.status, run.end_reason) for run in runs(automation)}
    assert by_invoice == {mine.pk: ("RUNNING", None), other.pk: ("CANCELLED", "invoice_paid")}
    ended = Run.objects.get(automation=automation, subject_id=other.pk)
    assert (ended.due_at, ended.parked_on) == (None, None)
    assert ended.ended_at >= ended.started_at


def test_an_exit_without_a_catalogue_entry_is_about_the_customer(workspace, customer):  # CONTRACTS 4, correlation
    automation = on(
        workspace, "type: event, event: sign", "exits: [{event: churned, where: event.final == true, reason: gone}]"
    )
    other = make_customer(workspace)
    for who in (customer, other):
        occur(who)
    occur(other, "churned", {"final": False})
    occur(customer, "churned", {"final": True})
    assert sorted(ends(automation)) == [("CANCELLED", "gone"), ("RUNNING", None)]


def test_a_report_of_an_invoice_that_we_hold_is_judged_on_the_invoice(workspace, customer):  # CONTRACTS 7, "a report"
    automation = on(workspace, "type: event, event: invoice.issued", "exits: [{event: invoice.paid}]")
    invoice = make_invoice(customer)
    settle()
    subjects = {"customer": customer.pk, "invoice": invoice.pk}
    record_events([NewEvent(workspace.pk, "invoice.paid", "api", "told", subjects, {}, origin="api")])
    route_all()
    assert ends(automation) == [("RUNNING", None)]  # it is still open here


def test_what_is_over_when_it_would_start_does_not_start(workspace, customer):  # gate already_over
    automation = on(workspace, "type: event, event: invoice.issued", "exits: [{event: invoice.voided}]")
    invoice = make_invoice(customer)
    void_invoice(actor=system_actor(workspace.pk), invoice_id=invoice.pk)
    route_all()
    assert runs(automation) == []
    issued = Event.objects.get(name="invoice.issued")
    assert gate(issued.pk, automation) == "already_over"


def test_a_change_that_the_run_made_itself_does_not_end_it_where_c12_says_so(workspace, customer):  # C-12
    automation = on(workspace, "type: event, event: billing.invoice_overdue")
    first = occur(customer, "invoice.overdue", {"collectionMethod": "send_invoice"})
    [run] = runs(automation)
    assert run.event_id == first
    occur(customer, "invoice.updated", cause_run=run.pk)
    assert ends(automation) == [("RUNNING", None)]


def test_ending_a_run_cancels_its_queued_mails_and_frees_its_key(workspace, customer):  # DESIGN 5.3, R2
    automation = on(
        workspace,
        "type: event, event: sign",
        "exits: [{event: leave}]\nsettings: {reentry: one_at_a_time}",
        "steps: [{type: action, action: send_email, subject: Hello, body: '<p>Hi</p>', to: a@example.com}, {type: delay, duration: 1d}]",
    )
    happen(customer)
    settle()
    [run] = runs(automation)
    assert Delivery.objects.get(run=run).state == "QUEUED"
    occur(customer, "leave")
    assert Delivery.objects.get(run=run).state == "CANCELLED"
    assert not Entry.objects.filter(automation=automation).exists()


def test_a_goal_counts_within_its_window_also_after_the_end(workspace, customer):  # CONTRACTS 4, goal
    automation = on(workspace, "type: event, event: sign", "goal: {event: bought, within: 2d}", "steps: [{type: stop}]")
    happen(customer)
    settle()
    assert ends(automation) == [("COMPLETED", "stopped")]
    bought = occur(customer, "bought")
    [run] = runs(automation)
    assert (run.goal_reached_at, run.status) == (Event.objects.get(pk=bought).occurred_at, "COMPLETED")


@pytest.mark.parametrize(("step", "reached"), [("+47h", True), ("+49h", False)])
def test_the_window_of_a_goal(workspace, customer, step, reached, settings):
    settings.ONWARD_ALLOW_CLOCK = True
    automation = on(workspace, "type: event, event: sign", "goal: {event: bought, within: 2d}")
    occur(customer)
    pass_time(step)
    occur(customer, "bought")
    assert (runs(automation)[0].goal_reached_at is not None) == reached


def test_a_goal_may_end_its_run(workspace, customer):
    automation = on(workspace, "type: event, event: sign", "goal: {event: bought, within: 14d, endsRun: true}")
    occur(customer)
    occur(customer, "bought")
    assert ends(automation) == [("CANCELLED", "goal_reached")]


# -- waits ---------------------------------------------------------------------------------------------------------------


def test_an_event_wakes_the_run_whose_filter_it_fits(workspace, customer):  # RUN-18, STP-13, STP-17, C-19
    automation = on(workspace, "type: event, event: sign", steps=WAIT)
    happen(customer)
    settle()
    [run] = runs(automation)
    assert (run.status, run.parked_on, run.wait_key) == ("WAITING_FOR_EVENT", "event", f"customer:{customer.pk}")
    occur(make_customer(workspace), "demo_booked", {"seats": 50})
    occur(customer, "demo_booked", {"seats": 2})
    occur(customer, "demo_missed", {"seats": 50})
    assert runs(automation)[0].status == "WAITING_FOR_EVENT"
    event = occur(customer, "demo_booked", {"seats": 12})
    [run] = runs(automation)
    assert (run.status, run.parked_on, run.answer, run.wait_name) == ("RUNNING", None, {"event": event}, None)
    assert run.due_at is not None
    settle()
    assert steps_of(runs(automation)[0])[0] == "w"


def test_two_events_wake_a_wait_once(workspace, customer):  # RELIABILITY 18, W2
    automation = on(workspace, "type: event, event: sign", steps=WAIT)
    happen(customer)
    settle()
    first = happen(customer, "demo_booked", {"seats": 6})
    happen(customer, "demo_booked", {"seats": 7})
    route_all()
    assert runs(automation)[0].answer == {"event": first}


def test_one_event_wakes_many_waits_once_each(workspace, customer):  # RELIABILITY 18
    automation = on(workspace, "type: event, event: sign", steps=WAIT)
    for _ in range(3):
        happen(customer)
    settle()
    occur(customer, "demo_booked", {"seats": 9})
    assert [run.status for run in runs(automation)] == ["RUNNING"] * 3
    settle()
    assert [run.status for run in runs(automation)] == ["COMPLETED"] * 3


def test_an_event_that_starts_a_run_does_not_wake_it(workspace, customer):  # DESIGN 5.1
    automation = on(
        workspace, "type: event, event: ping", steps="steps: [{type: wait_until, event: ping}, {type: stop}]"
    )
    happen(customer, "ping")
    settle()
    assert runs(automation)[0].status == "WAITING_FOR_EVENT"
    happen(customer, "ping")
    settle()
    assert [run.status for run in runs(automation)] == ["COMPLETED", "WAITING_FOR_EVENT"]


MAIL = (
    "steps: [{type: action, action: send_email, subject: Hello, body: '<p>Hi</p>', to: '{{customer.email}}'},"
    " {id: w, type: wait_until, event: email_opened}, {type: stop}]"
)


def opened(run, name="email_opened"):
    """The run's mail is opened."""
    delivery = Delivery.objects.filter(run=run).latest("pk")
    subjects = {"customer": run.customer_id, "delivery": delivery.pk}
    record_events([NewEvent(run.workspace_id, name, "tracking", f"{delivery.pk}:{name}", subjects, {})])
    route_all()


def test_an_open_of_the_runs_own_mail_wakes_it_and_no_other_run(workspace, customer):  # STP-14
    automation = on(workspace, "type: event, event: sign", steps=MAIL)
    happen(customer)
    happen(customer)
    settle()
    first, second = runs(automation)
    opened(first)
    assert [run.status for run in runs(automation)] == ["RUNNING", "WAITING_FOR_EVENT"]
    assert Delivery.objects.get(run=first).opened_at is not None
    opened(second)
    assert runs(automation)[1].status == "RUNNING"


def test_an_open_before_the_wait_is_reached_counts(workspace, customer, settings):  # RUN-22, C-37
    settings.ONWARD_ALLOW_CLOCK = True
    steps = MAIL.replace("{id: w,", "{type: delay, duration: 1h}, {id: w,")
    automation = on(workspace, "type: event, event: sign", steps=steps)
    happen(customer)
    settle()
    opened(runs(automation)[0])
    pass_time("+61m")
    assert runs(automation)[0].status == "COMPLETED"


# -- customers who leave -------------------------------------------------------------------------------------------------


def test_unsubscribing_ends_what_is_not_transactional(workspace, customer):  # C-15, SUP-04
    plain = on(workspace, "type: event, event: sign")
    billing = on(workspace, "type: event, event: sign", "settings: {transactional: true}")
    occur(customer)
    record_consent(actor=actor_of(workspace), address=customer.email, state="unsubscribed", customer_id=customer.pk)
    assert ends(plain) == [("CANCELLED", "unsubscribed")]
    assert ends(billing) == [("RUNNING", None)]


def test_leaving_one_topic_ends_nothing(workspace, customer):  # SUP-04
    plain = on(workspace, "type: event, event: sign")
    occur(customer)
    record_consent(
        actor=actor_of(workspace), address=customer.email, state="unsubscribed", topic="news", customer_id=customer.pk
    )
    assert ends(plain) == [("RUNNING", None)]


def test_a_customer_who_unsubscribed_still_starts_runs(workspace, customer):  # "Consent is no gate"
    automation = on(workspace, "type: event, event: sign")
    record_consent(actor=actor_of(workspace), address=customer.email, state="unsubscribed", customer_id=customer.pk)
    occur(customer)
    assert ends(automation) == [("RUNNING", None)]


def test_erasing_ends_all_runs_and_empties_what_was_written_of_the_person(workspace, customer):  # C-15, SUP-06
    automation = on(workspace, "type: event, event: sign", "settings: {transactional: true}")
    event = occur(customer, payload={"phone": "0123"})
    erase_customer(actor=actor_of(workspace), customer_id=customer.pk)
    assert ends(automation) == [("CANCELLED", "profile_deleted")]
    content = EventContent.objects.get(event_id=event)
    assert (content.payload, content.snapshot) == ({}, {})


@pytest.mark.django_db(transaction=True)
def test_what_a_worker_writes_while_the_customer_is_erased_goes_as_well(workspace, customer):  # SUP-06
    automation = on(workspace, "type: event, event: sign", "settings: {transactional: true}")
    occur(customer)
    [run] = runs(automation)
    with open_books() as worker:  # a connection of its own: the worker that advances the run at this moment
        worker.execute("select 1 from automations_run where id = %s for update", [run.pk])
        eraser = Racer(lambda: erase_customer(actor=actor_of(workspace), customer_id=customer.pk))
        assert until_blocked(eraser)  # runs come before customers in the lock order, so the worker is waited for
        worker.execute(
            "insert into automations_step_log (run_id, seq, attempt, workspace_id, step, type, status, started_at, ended_at, flags,"
            " input, error) values (%s, 1, 0, %s, 's', 'add_tag', 'failed', now(), now(), 0, %s, %s)",
            [run.pk, workspace.pk, '{"to": "ana@x.example"}', '{"code": "refused", "message": "ana@x.example"}'],
        )
    eraser.result()
    assert ends(automation) == [("CANCELLED", "profile_deleted")]
    log = StepLog.objects.get(run_id=run.pk)
    assert (log.input, log.error) == (None, {"code": "refused", "message": "", "details": {}})


def test_merging_moves_runs_waits_and_keys_to_the_survivor(workspace, customer):  # DESIGN 5.5
    automation = on(workspace, "type: event, event: sign", "settings: {reentry: once}", WAIT)
    happen(customer)
    settle()
    into = make_customer(workspace)
    merge_customers(actor=actor_of(workspace), source_id=customer.pk, into_id=into.pk)
    [run] = runs(automation)
    assert (run.customer_id, run.subject_id, run.subjects) == (into.pk, into.pk, {"customer": into.pk})
    again = occur(into)
    assert gate(again, automation) == "reentry"
    occur(into, "demo_booked", {"seats": 12})
    assert runs(automation)[0].status == "RUNNING"


def test_when_both_records_have_a_key_the_older_one_stays(workspace, customer):
    automation = on(workspace, "type: event, event: sign", "settings: {reentry: once}")
    into = make_customer(workspace)
    occur(customer)
    occur(into)
    merge_customers(actor=actor_of(workspace), source_id=customer.pk, into_id=into.pk)
    entry = Entry.objects.get(automation=automation)
    assert (entry.key, entry.run_id) == (f"customer:{into.pk}", runs(automation)[0].pk)


def test_an_event_recorded_before_a_merge_is_about_the_survivor(workspace, customer):
    automation = on(workspace, "type: event, event: sign")
    into = make_customer(workspace)
    happen(customer)
    merge_customers(actor=actor_of(workspace), source_id=customer.pk, into_id=into.pk)
    route_all()
    assert [run.customer_id for run in runs(automation)] == [into.pk]
    assert timedelta(0) <= runs(automation)[0].due_at - runs(automation)[0].started_at
