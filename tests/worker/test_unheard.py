"""A run goes on when what may end it has been heard: routers may be behind, and which worker comes first decides nothing (RELIABILITY 35;
DESIGN 5.1, exits; C-11)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from accounts.clock import set_clock
from accounts.models import Customer, Workspace
from accounts.services.lifecycle import merge_customers
from automations.models import Automation, Delivery, Run, StepLog
from automations.worker import advance, delivery_check, delivery_claim, unheard
from automations.worker.advance import advance_batch
from automations.worker.claim import due_workspaces
from automations.worker.deliver import deliver_batch
from automations.worker.planner import switch
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import happen, live, settle

pytestmark = pytest.mark.django_db(transaction=True)
STEPS = "steps: [{id: d, type: delay, duration: 1h}, {id: t, type: action, action: add_tag, tag: seen}, {id: e, type: delay, duration: 1h}]"
MAIL = """settings: {transactional: true}
steps: [{id: m, type: action, action: send_email, subject: Hi, body: '<p>x</p>'}, {id: d, type: delay, duration: 1h}]
"""
EXIT = "exits: [{event: leave, where: 'event.n > 1'}]\n"
GOAL = "goal: {event: leave, within: 30d, endsRun: true}\n"


@pytest.fixture(autouse=True)
def moved_clock(settings: Any) -> None:
    settings.ONWARD_ALLOW_CLOCK = True


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


@pytest.fixture
def customer(workspace: Workspace) -> Customer:
    return make_customer(workspace)


def resting(workspace: Workspace, customer: Customer, ending: str) -> Automation:
    """A run whose next step is due in an hour."""
    automation = live(workspace, ending + STEPS)
    happen(customer)
    settle()
    return automation


def goes_on(automation: Automation) -> bool:
    """Whether a claim at this moment walks its run; nothing else is done."""
    due_workspaces.forget()
    advance_batch()
    return StepLog.objects.filter(step="t", run_id=Run.objects.get(automation=automation).pk).exists()


@pytest.mark.parametrize("ending", [EXIT, GOAL])
def test_who_left_in_time_is_left_alone(workspace: Workspace, customer: Customer, ending: str) -> None:
    automation = resting(workspace, customer, ending)
    set_clock("+30m")
    happen(customer, "leave", {"n": 2})
    set_clock("+2h")
    assert not goes_on(automation)
    settle()
    run = Run.objects.get(automation=automation)
    assert run.ended_at is not None
    assert not StepLog.objects.filter(run_id=run.pk, step="t").exists()


def test_without_that_the_step_would_be_done(
    workspace: Workspace, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advance, "may_end", lambda runs: set())
    automation = resting(workspace, customer, EXIT)
    happen(customer, "leave", {"n": 2})
    set_clock("+2h")
    assert goes_on(automation)


@pytest.mark.parametrize("case", ["another name", "another customer", "no exit"])
def test_nothing_else_keeps_a_run_waiting(workspace: Workspace, customer: Customer, case: str) -> None:
    automation = resting(workspace, customer, "" if case == "no exit" else EXIT)
    happen(
        make_customer(workspace) if case == "another customer" else customer,
        "x" if case == "another name" else "leave",
        {"n": 2},
    )
    set_clock("+2h")
    assert goes_on(automation)


def test_an_event_that_does_not_end_it_lets_it_go_on(workspace: Workspace, customer: Customer) -> None:
    automation = resting(workspace, customer, EXIT)
    happen(customer, "leave", {"n": 1})
    set_clock("+2h")
    assert not goes_on(automation)
    settle()
    assert goes_on(automation)


def test_an_event_of_a_record_that_was_merged_since_counts(workspace: Workspace, customer: Customer) -> None:
    other = make_customer(workspace)
    automation = resting(workspace, customer, EXIT)
    happen(other, "leave", {"n": 2})
    merge_customers(actor=actor_of(workspace), source_id=other.pk, into_id=customer.pk)
    set_clock("+2h")
    assert not goes_on(automation)
    settle()
    assert Run.objects.get(automation=automation).status == "CANCELLED"


class TestWhatItWouldSend:
    @pytest.fixture
    def mailing(self, workspace: Workspace, customer: Customer) -> Automation:
        automation = live(workspace, EXIT + MAIL)
        happen(customer)
        happen(make_customer(workspace))
        settle()
        return automation

    def test_waits_too_and_keeps_no_other_waiting(self, mailing: Automation, customer: Customer) -> None:
        happen(customer, "leave", {"n": 2})
        delivery_claim._workspaces.forget()
        claimed = delivery_claim.claim(8)
        assert (len(claimed.jobs), claimed.put_off) == (1, 1)
        assert claimed.jobs[0].customer_id != customer.pk
        assert not delivery_claim.claim(8).put_off  # it is behind the others now
        settle()
        delivery = Delivery.objects.get(customer_id=customer.pk)
        assert (delivery.state, delivery.attempts) == ("CANCELLED", 0)

    def test_goes_out_when_the_event_changes_nothing(self, mailing: Automation, customer: Customer) -> None:
        happen(customer, "leave", {"n": 1})
        deliver_batch(threads=1)
        settle()
        set_clock("+2s")
        delivery_claim._workspaces.forget()
        assert [job.customer_id for job in delivery_claim.claim(8).jobs if job.customer_id == customer.pk] == [
            customer.pk
        ]

    def test_would_go_out_without_that(
        self, mailing: Automation, customer: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery_check, "may_end", lambda runs: set())
        happen(customer, "leave", {"n": 2})
        delivery_claim._workspaces.forget()
        assert len(delivery_claim.claim(8).jobs) == 2


@pytest.mark.parametrize("statistics", ["", ", automations_unrouted, accounts_customer"])
def test_each_run_is_looked_up_by_keys(workspace: Workspace, customer: Customer, statistics: str) -> None:
    """For whatever statistics: nothing is read whole, however many events were ever recorded."""
    happen(customer, "leave")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ANALYZE automations_event, automations_run{statistics}")
        switch(cursor, unheard._SWITCHES, "off")
        cursor.execute("EXPLAIN " + unheard._ENDING, [[1], [workspace.pk], [customer.pk], ["leave"]])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    for table in ("automations_event", "automations_unrouted", "accounts_customer"):
        assert f"Seq Scan on {table}" not in plan, plan
