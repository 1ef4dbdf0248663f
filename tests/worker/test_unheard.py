"""What a run would send waits until the events that may end the run have been routed: routers may be behind, and which worker comes first
decides nothing (RELIABILITY 35; DESIGN 5.1, exits; C-11)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import Customer, Workspace
from accounts.services.lifecycle import merge_customers
from automations.engine.outcomes import Done
from automations.models import Delivery
from automations.worker import deliver, delivery_check, delivery_claim, unheard
from automations.worker.deliver import deliver_batch
from automations.worker.loop import drain, one_pass
from automations.worker.planner import switch
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, live, settle
from tests.worker.routing import route_all

pytestmark = pytest.mark.django_db(transaction=True)
MAIL = """settings: {transactional: true}
steps: [{id: m, type: action, action: send_email, subject: Hi, body: '<p>x</p>'}, {id: d, type: delay, duration: 1h}]
"""
EXIT = "exits: [{event: leave, where: 'event.n > 1'}]\n"
GOAL = "goal: {event: leave, within: 30d, endsRun: true}\n"


@pytest.fixture(autouse=True)
def acted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The customers to whom something went out; nothing is known of what other tests had taken."""
    found: list[int] = []

    def act(job: Any) -> None:
        found.append(job.customer_id)
        job.outcome = Done({})

    monkeypatch.setattr(deliver, "act", act)
    delivery_claim._workspaces.forget()
    delivery_claim._Turn.suspects_first = True
    unheard._upto.clear()
    return found


def mailed(workspace: Workspace, count: int = 2, ending: str = EXIT) -> list[Customer]:
    """So many whose mail is queued, in the order of their deliveries."""
    live(workspace, ending + MAIL)
    people = {customer.pk: customer for customer in (make_customer(workspace) for _ in range(count))}
    for customer in people.values():
        happen(customer)
    settle()
    delivery_claim._workspaces.forget()
    order = Delivery.objects.order_by("due_at", "pk").values_list("customer_id", flat=True)
    return [people[id] for id in order if id in people]


def states() -> list[str]:
    return list(Delivery.objects.order_by("due_at", "pk").values_list("state", flat=True))


@pytest.mark.parametrize("ending", [EXIT, GOAL])
@pytest.mark.parametrize("threads", [1, 8])
def test_who_left_gets_nothing_and_keeps_no_other_waiting(
    workspace: Workspace, acted: list[int], ending: str, threads: int
) -> None:
    leaver, other = mailed(workspace, 2, ending)
    happen(leaver, "leave", {"n": 2})
    while deliver_batch(threads=threads):
        pass
    assert acted == [other.pk]
    settle()
    deliver_batch()
    assert acted == [other.pk]
    delivery = Delivery.objects.get(customer_id=leaver.pk)
    assert (delivery.state, delivery.attempts) == ("CANCELLED", 0)


def test_without_that_it_would_go_out(workspace: Workspace, acted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_check, "may_end", lambda runs: set())
    leaver, other = mailed(workspace)
    happen(leaver, "leave", {"n": 2})
    deliver_batch()
    assert sorted(acted) == [leaver.pk, other.pk]


def test_it_goes_out_when_the_event_ends_nothing(workspace: Workspace, acted: list[int]) -> None:
    first, _ = mailed(workspace)
    happen(first, "leave", {"n": 1})
    deliver_batch()
    assert first.pk not in acted
    settle()
    deliver_batch()
    assert first.pk in acted


@pytest.mark.parametrize("case", ["another name", "another customer", "no exit"])
def test_nothing_else_keeps_it_waiting(workspace: Workspace, acted: list[int], case: str) -> None:
    first, _ = mailed(workspace, 2, "" if case == "no exit" else EXIT)
    happen(
        make_customer(workspace) if case == "another customer" else first,
        "x" if case == "another name" else "leave",
        {"n": 2},
    )
    deliver_batch()
    assert first.pk in acted


def test_events_of_records_that_were_merged_since_count(workspace: Workspace, acted: list[int]) -> None:
    """Also by way of another: merges make chains."""
    leaver, _ = mailed(workspace)
    older, between = make_customer(workspace), make_customer(workspace)
    happen(older, "leave", {"n": 2})
    for source, into in ((older, between), (between, leaver)):
        merge_customers(actor=actor_of(workspace), source_id=source.pk, into_id=into.pk)
    deliver_batch()
    assert leaver.pk not in acted
    settle()
    assert Delivery.objects.get(customer_id=leaver.pk).state == "CANCELLED"


def test_no_stream_of_events_keeps_it_waiting(workspace: Workspace, acted: list[int]) -> None:
    """Those are heard out that there were when it was first asked for."""
    first, _ = mailed(workspace)
    for turn in range(3):
        happen(first, "leave", {"n": 1})
        deliver_batch()
        assert (first.pk in acted) == (turn > 0)
        happen(first, "leave", {"n": 1})
        route_all()


@pytest.mark.parametrize(("threads", "blocked"), [(8, 8), (1, 1)])
def test_a_pass_of_mail_goes_past_those_that_wait(
    workspace: Workspace, settings: Any, threads: int, blocked: int
) -> None:
    settings.ONWARD_DELIVERY_THREADS = threads
    for customer in mailed(workspace, 20)[:blocked]:
        happen(customer, "leave", {"n": 1})
    one_pass("mail")
    assert states() == ["QUEUED"] * blocked + ["SENT"] * (20 - blocked)


def test_work_goes_on_until_nothing_is_due(
    workspace: Workspace, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver of the first answers with an event of the second's customer."""
    settings.ONWARD_DELIVERY_THREADS = 1
    first, second = mailed(workspace)

    def act(job: Any) -> None:
        if job.customer_id == first.pk:
            happen(second, "leave", {"n": 1})
        job.outcome = Done({})

    monkeypatch.setattr(deliver, "act", act)
    drain()
    assert states() == ["SENT", "SENT"]


@pytest.mark.parametrize("analysed", [False, True])
def test_each_customer_is_looked_up_by_keys(workspace: Workspace, analysed: bool) -> None:
    """For whatever statistics, also those of a table that held one customer: nothing is read but a customer's own events."""
    first, second = make_customer(workspace), make_customer(workspace)
    happen(first, "leave")
    with transaction.atomic(), connection.cursor() as cursor:
        if analysed:
            cursor.execute("ANALYZE automations_event, automations_unrouted, accounts_customer")
        happen(second, "leave")
        switch(cursor, unheard._SWITCHES, "off")
        cursor.execute("EXPLAIN " + unheard._WAITING, [[workspace.pk] * 2, [first.pk, second.pk], ["leave"]])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "using event_of_customer on automations_event" in plan, plan
    for table in ("automations_event", "automations_unrouted", "accounts_customer"):
        assert f"Seq Scan on {table}" not in plan, plan
