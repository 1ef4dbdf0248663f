"""Routing against everybody else: pauses, other routers, parking runs, bad events (E3, E4, W1, W2; RELIABILITY 16 to 19)."""

from __future__ import annotations

import threading

import pytest
from django.db import transaction

from accounts.actor import system_actor
from accounts.clock import set_clock
from automations.models import Evaluation, Event, Run, SecondLook, StepLog
from automations.services import defaults
from automations.services.events import NewEvent, record_events
from automations.services.pause import pause_automation
from automations.worker.advance import advance_batch
from automations.worker.route import route_batch
from automations.worker.second_look import look_again
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, settle
from tests.worker.racing import Racer, together, until_somebody_waits
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db(transaction=True)
WAIT = "steps: [{id: w, type: wait_until, event: ping}, {type: stop}]"


def advance() -> int:
    """One batch; the list of workspaces with something due may be a second old, so an empty answer is asked for again."""
    return advance_batch() or advance_batch()


def test_no_run_appears_after_a_pause_has_committed(workspace, customer):  # DESIGN 5.1, "Against races"
    automation = on(workspace, "type: event, event: sign")
    happen(customer)
    with transaction.atomic():
        pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
        router = Racer(route_all)
        until_somebody_waits(router)
    router.result()
    assert runs(automation) == []
    assert not Event.objects.filter(routed=None).exists()


def test_a_pause_waits_for_the_router_that_is_starting_a_run(workspace, customer):  # the other order
    automation = on(workspace, "type: event, event: sign")
    happen(customer)
    with transaction.atomic():
        route_all()
        pause = Racer(
            lambda: pause_automation(actor=system_actor(workspace.pk), automation_id=automation.pk, in_flight="cancel")
        )
        until_somebody_waits(pause)
    pause.result()
    assert [(run.status, run.end_reason) for run in runs(automation)] == [("CANCELLED", "cancelled_on_pause")]


def test_fifty_copies_at_once_start_one_run(workspace, customer):  # TRG-50, RELIABILITY 19
    automation = on(workspace, "type: event, event: sign")
    copy = NewEvent(workspace.pk, "sign", "api", "order-7781", {"customer": customer.pk}, {"amount": "11.77"})
    answers = together(*[lambda: [record_events([copy])[0] for _ in range(5)]] * 10)
    found = [item for some in answers for item in some]
    assert len({item.id for item in found}) == 1
    assert sorted(item.status for item in found) == ["accepted"] + ["duplicate"] * 49
    together(*[route_all] * 3)
    assert len(runs(automation)) == 1


def test_many_routers_route_each_event_once_and_each_customer_in_order(workspace):  # E3, E4
    automation = on(
        workspace, "type: event, event: sign", "exits: [{event: leave}]\nsettings: {reentry: one_at_a_time}"
    )
    people = [make_customer(workspace) for _ in range(12)]
    for _ in range(4):
        for who in people:
            happen(who)
            happen(who, "leave")
    together(*[route_all] * 4)
    assert not Event.objects.filter(routed=None).exists()
    assert Run.objects.filter(automation=automation).count() == 48  # each leave ended one, so each sign could start one
    assert set(Run.objects.values_list("end_reason", flat=True)) == {"leave"}


def test_an_event_routed_while_a_run_parks_wakes_it_by_the_second_look(workspace, customer):  # W1, RELIABILITY 16
    automation = on(workspace, "type: event, event: sign", steps=WAIT)
    happen(customer)
    route_all()
    with transaction.atomic():
        advance()  # decides to wait; nobody sees it yet
        Racer(lambda: (happen(customer, "ping"), route_all())).result()
    assert Event.objects.filter(name="ping").exclude(routed=None).exists()
    assert runs(automation)[0].status == "WAITING_FOR_EVENT"  # the router could not know
    assert look_again() == 1
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("RUNNING", 0)


def test_the_second_look_waits_for_a_router_that_is_at_work(workspace, customer):  # W1
    automation = on(workspace, "type: event, event: sign", steps=WAIT)
    happen(customer)
    route_all()
    routed, go = threading.Event(), threading.Event()

    def slow_router() -> None:
        happen(customer, "ping")
        with transaction.atomic():
            route_all()  # sees no waiting run
            routed.set()
            assert go.wait(10)

    with transaction.atomic():
        advance()  # decides to wait; nobody sees it yet
        router = Racer(slow_router)
        assert routed.wait(10)
    look = Racer(look_again)
    until_somebody_waits(look)
    assert runs(automation)[0].status == "WAITING_FOR_EVENT"
    go.set()
    router.result()
    assert look.result() == 1
    assert runs(automation)[0].status == "RUNNING"


def test_what_came_before_the_event_that_the_run_acts_on_does_not_count(workspace, customer):  # C-37
    automation = on(workspace, "type: event, event: sign", steps=WAIT)
    happen(customer, "ping")
    happen(customer)
    settle()
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("WAITING_FOR_EVENT", 0)


def test_one_event_wakes_one_wait_of_a_run_and_not_its_next_one(workspace, customer):  # W2
    steps = "steps: [{id: a, type: wait_until, event: ping}, {id: b, type: wait_until, event: ping}, {type: stop}]"
    automation = on(workspace, "type: event, event: sign", steps=steps)
    happen(customer)
    settle()
    for step in ("b", None):
        happen(customer, "ping")
        settle()
        [run] = runs(automation)
        assert (run.status, run.step) == (("WAITING_FOR_EVENT", step) if step else ("COMPLETED", run.step))


def test_no_wake_is_lost_when_all_happens_at_once(workspace):  # W1, RELIABILITY 16
    automation = on(workspace, "type: event, event: sign", steps=WAIT)
    for _ in range(8):
        people = [make_customer(workspace) for _ in range(4)]
        for who in people:
            happen(who)
        route_all()
        together(
            advance_batch,
            lambda people=people: [happen(who, "ping") for who in people],
            route_batch,
            look_again,
        )
        settle()
        for who in people:  # those who pinged before their run waited have to ping again
            if Run.objects.get(customer=who).status != "COMPLETED":
                pinged = Event.objects.get(name="ping", customer_id=who.pk)
                assert pinged.routed_at < Run.objects.get(customer=who).entered_at
                happen(who, "ping")
        settle()
    assert set(Run.objects.filter(automation=automation).values_list("status", flat=True)) == {"COMPLETED"}


def test_an_event_and_the_time_out_of_its_wait_have_one_outcome(workspace, customer, settings):  # RELIABILITY 17, W2
    settings.ONWARD_ALLOW_CLOCK = True
    steps = "steps: [{id: w, type: wait_until, event: ping, timeout: 1h}, {type: stop}]"
    automation = on(workspace, "type: event, event: sign", steps=steps)
    people = [make_customer(workspace) for _ in range(6)]
    for who in people:
        happen(who)
    settle()
    set_clock("+1h")
    for who in people:
        happen(who, "ping")
    together(route_all, advance_batch, route_all, advance_batch)
    settle()
    assert set(Run.objects.filter(automation=automation).values_list("status", flat=True)) == {"COMPLETED"}
    ids = Run.objects.filter(automation=automation).values_list("pk", flat=True)
    outcomes = StepLog.objects.filter(run_id__in=list(ids), step="w").values_list("run_id", "output")
    assert len(outcomes) == len(dict(outcomes)) == 6
    assert {output["outcome"] for _, output in outcomes} <= {"event", "timeout"}


def test_a_bad_event_stops_neither_its_shard_nor_the_others(workspace, customer, monkeypatch):  # halving
    def broken(workspace_id, event):
        if event.payload.get("bad"):
            raise RuntimeError("the default settings broke")

    monkeypatch.setitem(defaults._defaults, "billing.invoice_overdue", broken)
    automation = on(workspace, "type: event, event: invoice.overdue")
    ids = [happen(customer, "invoice.overdue", {"collectionMethod": "send_invoice", "bad": n == 3}) for n in range(7)]
    route_all()
    assert not Event.objects.filter(routed=None).exists()
    assert [run.event_id for run in runs(automation)] == [id for n, id in enumerate(ids) if n != 3]
    row = Evaluation.objects.get(event_id=ids[3])
    assert row.decisions == [{"error": "RuntimeError: the default settings broke"}]
