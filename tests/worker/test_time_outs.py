"""A wait times out when all that happened in its time has been heard, however long nobody worked (W1, W2; RELIABILITY 17, 35)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from accounts.clock import set_clock
from accounts.models import Customer, Workspace
from accounts.services.lifecycle import merge_customers
from automations.models import Automation, Run, SecondLook, StepLog
from automations.worker import claim, plans
from automations.worker.advance import advance_batch
from automations.worker.claim import due_workspaces
from automations.worker.planner import switch
from automations.worker.run import walk_through
from automations.worker.second_look import look_again
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, live, settle
from tests.worker.routing import route_all

pytestmark = pytest.mark.django_db(transaction=True)
WAIT = "steps: [{id: w, type: wait_until, event: ping, timeout: 1h}, {id: d, type: delay, duration: 9d}]"


@pytest.fixture(autouse=True)
def moved_clock(settings: Any) -> None:
    settings.ONWARD_ALLOW_CLOCK = True


@pytest.fixture
def waiting(workspace: Workspace, customer: Customer) -> Automation:
    """A run waits for at most an hour."""
    automation = live(workspace, WAIT)
    happen(customer)
    settle()
    return automation


def timed_out(automation: Automation) -> bool:
    """Whether a claim at this moment takes the time-out; nothing else is done."""
    due_workspaces.forget()
    return advance_batch() == 1 and outcome(automation) == "timeout"


def outcome(automation: Automation) -> str | None:
    run = Run.objects.get(automation=automation)
    row = StepLog.objects.filter(run_id=run.pk, step="w").first()
    return row.output["outcome"] if row and row.output else None


def test_what_was_recorded_in_time_is_routed_first(waiting: Automation, customer: Customer) -> None:
    set_clock("+30m")
    happen(customer, "ping")
    set_clock("+2h")
    assert not timed_out(waiting)
    settle()
    assert outcome(waiting) == "event"


def test_without_that_the_event_would_have_come_for_nothing(
    waiting: Automation, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "_CLAIM", claim._CLAIM.replace(claim._HEARD, "%s::bigint[] IS NOT NULL"))
    set_clock("+30m")
    happen(customer, "ping")
    set_clock("+2h")
    assert timed_out(waiting)


def test_a_look_that_is_due_comes_first(workspace: Workspace, customer: Customer) -> None:
    """The worker died between the commit that parked the run and its second look, and nobody worked for longer than the time-out."""
    automation = live(workspace, WAIT)
    happen(customer)
    happen(customer, "ping")
    route_all()
    due_workspaces.forget()
    assert advance_batch() == 1
    assert SecondLook.objects.count() == 1
    set_clock("+2h")
    assert not timed_out(automation)
    assert look_again() == 1
    settle()
    assert outcome(automation) == "event"


@pytest.mark.parametrize("case", ["another name", "another customer", "afterwards", "routed"])
def test_nothing_else_keeps_it_waiting(
    waiting: Automation, customer: Customer, workspace: Workspace, case: str
) -> None:
    if case == "afterwards":
        set_clock("+2h")
        happen(customer, "ping")
    else:
        set_clock("+30m")
        happen(
            make_customer(workspace) if case == "another customer" else customer,
            "ping" if case != "another name" else "pong",
        )
    if case == "routed":
        settle()
    set_clock("+2h")
    if case == "routed":
        assert outcome(waiting) == "event"
    else:
        assert timed_out(waiting)


def test_an_event_that_does_not_match_lets_it_time_out(workspace: Workspace, customer: Customer) -> None:
    automation = live(workspace, WAIT.replace("event: ping", "event: ping, filter: event.n == 1"))
    happen(customer)
    settle()
    set_clock("+30m")
    happen(customer, "ping", {"n": 2})
    set_clock("+2h")
    assert not timed_out(automation)
    settle()
    assert outcome(automation) == "timeout"


def test_an_event_of_a_record_that_was_merged_since_counts(
    waiting: Automation, customer: Customer, workspace: Workspace
) -> None:
    other = make_customer(workspace)
    set_clock("+30m")
    happen(other, "ping")
    merge_customers(actor=actor_of(workspace), source_id=other.pk, into_id=customer.pk)
    set_clock("+2h")
    assert not timed_out(waiting)
    settle()
    assert outcome(waiting) == "event"


def test_an_event_of_a_chain_of_merged_records_counts(
    waiting: Automation, customer: Customer, workspace: Workspace
) -> None:
    older, between = make_customer(workspace), make_customer(workspace)
    happen(older, "ping")
    for source, into in ((older, between), (between, customer)):
        merge_customers(actor=actor_of(workspace), source_id=source.pk, into_id=into.pk)
    set_clock("+2h")
    assert not timed_out(waiting)
    settle()
    assert outcome(waiting) == "event"


def test_a_wait_whose_version_cannot_be_compiled_ends(
    workspace: Workspace, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look comes for it, so that none is waited for; and going through time comes to an end."""
    automation = live(workspace, WAIT)
    happen(customer)
    route_all()
    due_workspaces.forget()
    advance_batch()
    assert SecondLook.objects.count() == 1
    plans.forget_plans()

    def broken(_definition: Any) -> Any:
        raise LookupError("no such action here")

    monkeypatch.setattr(plans, "read_plan", broken)
    try:
        walk_through("+3h")
    finally:
        plans.forget_plans()
    assert Run.objects.get(automation=automation).status == "FAILED"


def test_a_wait_of_nobody_in_particular_times_out(workspace: Workspace) -> None:
    automation = live(workspace, "trigger: {type: schedule, interval: 3h}\n" + WAIT)
    set_clock("+181m")
    settle()
    assert Run.objects.get(automation=automation, customer=None).status == "WAITING_FOR_EVENT"
    set_clock("+61m")
    assert timed_out(automation)


@pytest.mark.parametrize("statistics", ["", ", automations_unrouted, automations_secondlook, accounts_customer"])
def test_the_claim_looks_up_each_wait_by_keys(waiting: Automation, customer: Customer, statistics: str) -> None:
    """For whatever statistics: nothing is read whole, however many events were ever recorded."""
    set_clock("+30m")
    happen(customer, "ping")
    set_clock("+2h")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ANALYZE automations_event, automations_run{statistics}")
        switch(cursor, claim._SWITCHES, "off")
        cursor.execute("EXPLAIN " + claim._CLAIM, [[waiting.workspace_id], [], 500])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "using event_of_customer on automations_event" in plan, plan
    for table in ("automations_event", "automations_unrouted", "automations_secondlook", "automations_run"):
        assert f"Seq Scan on {table}" not in plan, plan
    assert "hashed" not in plan
