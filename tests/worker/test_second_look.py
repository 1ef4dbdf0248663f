"""The second look (DESIGN 5.2): what it wakes, what it leaves, what it takes."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from automations.models import Event, Run, SecondLook
from automations.services.cancel import end_runs
from automations.worker.advance import advance_batch
from automations.worker.second_look import look_again
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, settle
from tests.worker.racing import Racer
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def customer(workspace):
    return make_customer(workspace)


def waiting(workspace, step="{id: w, type: wait_until, event: ping}"):
    """An automation that waits."""
    return on(workspace, "type: event, event: sign", steps=f"steps: [{step}, {{type: stop}}]")


def park(*missed):
    """Advance in a transaction during which other connections do `missed`."""
    with transaction.atomic():
        assert advance_batch() or advance_batch()
        for work in missed:
            Racer(work).result()


def ping(customer, payload=None, name="ping"):
    """Something that happens, and is routed, on another connection."""

    def work():
        happen(customer, name, payload)
        route_all()

    return work


def test_nothing_to_look_at(workspace):
    assert look_again() == 0


def test_a_run_that_nobody_missed_waits_on_and_its_row_is_gone(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park()
    assert SecondLook.objects.count() == 1
    assert look_again() == 1
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("WAITING_FOR_EVENT", 0)


@pytest.mark.parametrize(
    ("name", "payload", "status"),
    [
        ("ping", {"seats": 9}, "RUNNING"),
        ("ping", {"seats": 2}, "WAITING_FOR_EVENT"),
        ("pong", {"seats": 9}, "WAITING_FOR_EVENT"),
    ],
)
def test_only_what_the_wait_asks_for_wakes(workspace, customer, name, payload, status):
    automation = waiting(workspace, "{id: w, type: wait_until, event: ping, filter: event.seats > 5}")
    happen(customer)
    route_all()
    park(ping(customer, payload, name))
    look_again()
    assert runs(automation)[0].status == status


def test_the_first_of_several_missed_events_wakes(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer), ping(customer), ping(customer))
    look_again()
    [run] = runs(automation)
    assert run.answer == {"event": Event.objects.filter(name="ping").earliest("pk").pk}


def test_another_customers_event_wakes_nobody(workspace, customer):
    automation = waiting(workspace)
    other = make_customer(workspace)
    happen(customer)
    route_all()
    park(ping(other))
    look_again()
    assert runs(automation)[0].status == "WAITING_FOR_EVENT"


def test_a_run_that_was_cancelled_meanwhile_stays_so(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))
    end_runs([runs(automation)[0].pk], reason="cancelled")
    look_again()
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("CANCELLED", 0)


def test_a_run_that_somebody_holds_is_looked_at_later(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))
    with transaction.atomic():
        Run.objects.select_for_update(no_key=True).get(automation=automation)
        assert Racer(look_again).result() == 0
    assert SecondLook.objects.count() == 1
    assert look_again() == 1
    assert runs(automation)[0].status == "RUNNING"


def test_a_row_left_by_a_dead_worker_is_taken_by_any_other(workspace, customer):  # DESIGN 5.2
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))  # the worker dies here
    settle()
    assert runs(automation)[0].status == "COMPLETED"


def test_two_lookers_wake_a_run_once(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))
    racers = [Racer(look_again) for _ in range(3)]
    assert sum(racer.result() for racer in racers) >= 1
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("RUNNING", 0)


def test_many_runs_take_as_many_queries_as_one(workspace):
    waiting(workspace)
    counts = []
    for size in (1, 12):
        people = [make_customer(workspace) for _ in range(size)]
        for who in people:
            happen(who)
        route_all()
        park(lambda people=people: [ping(who)() for who in people])
        with CaptureQueriesContext(connection) as queries:
            assert look_again() == size
        counts.append(len(queries))
        settle()
    assert counts[1] <= counts[0] + 1  # the bell is rung once in 50 ms
