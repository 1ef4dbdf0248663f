"""An event that kills the worker which routes it, or the runs that it starts: found, routed alone, given up after the tenth death
(DESIGN 5.2, poison; ERR-11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from accounts.models import Workspace
from automations.models import Automation, Evaluation, Run, Unrouted, Worker
from automations.worker import at_once, poison, route
from automations.worker.poison import Holder
from automations.worker.route import route_batch
from tests.factories import make_customer
from tests.worker.living import happen, live, settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def automation(workspace: Workspace) -> Automation:
    return live(workspace, "steps: [{id: d, type: delay, duration: 3d}]")


@pytest.fixture
def events(workspace: Workspace, automation: Automation) -> list[int]:
    """Three of one customer, so of one shard, and all that came with making them routed."""
    customer = make_customer(workspace)
    settle()
    return [happen(customer) for _ in range(3)]


@pytest.fixture
def holder() -> Iterator[Holder]:
    yield poison.start()
    poison.stop()


def dies_with(events: list[int]) -> None:
    """A worker says that it is about to route these, and is gone, with its locks."""
    other = Holder()
    other.hold([-id for id in events])
    other._connection.close()


def reaped() -> None:
    while not poison.reap():  # the server notices a closed connection a moment later
        connection.ensure_connection()


def lost() -> dict[int, int]:
    return dict(Unrouted.objects.values_list("event_id", "lost"))


def starts() -> list[int]:
    return list(Run.objects.order_by("event_id").values_list("event_id", flat=True))


def test_the_events_that_are_about_to_be_routed_stand_in_the_row(
    holder: Holder, events: list[int], monkeypatch: Any
) -> None:
    seen: list[list[int]] = []
    routing = route.route

    def look(*arguments: Any) -> Any:
        seen.append(Worker.objects.get(pk=holder.id).holding)
        return routing(*arguments)

    monkeypatch.setattr(route, "route", look)
    assert route_batch() == 3
    assert seen == [[-id for id in events]]


def test_nobody_takes_up_what_a_dead_worker_held_or_what_is_behind_it(holder: Holder, events: list[int]) -> None:
    dies_with(events[1:2])
    assert route_batch() == 1
    assert starts() == events[:1]
    assert route_batch() == 0
    reaped()
    assert lost() == {events[1]: 1, events[2]: 0}


def test_a_suspect_is_routed_alone_in_its_turn_and_its_run_is_not_walked_with_it(events: list[int]) -> None:
    dies_with(events[1:2])
    reaped()
    assert [route_batch() for _ in range(4)] == [1, 1, 1, 0]
    assert starts() == events
    assert dict(Run.objects.values_list("event_id", "seq")) == {events[0]: 1, events[1]: 0, events[2]: 1}
    settle()
    assert set(Run.objects.values_list("parked_on", flat=True)) == {"timer"}


def test_deaths_alone_add_up_and_deaths_in_company_do_not(events: list[int]) -> None:
    for _ in range(4):
        dies_with(events)
        reaped()
    assert set(lost().values()) == {1}
    dies_with(events[:1])
    reaped()
    assert lost() == {events[0]: 2, events[1]: 1, events[2]: 1}


def test_at_the_tenth_death_it_is_given_up_and_the_others_are_routed(events: list[int]) -> None:
    for _ in range(poison.EVENT_DEATHS):
        assert events[0] in lost()
        dies_with(events[:1])
        reaped()
    settle()
    assert starts() == events[1:]
    assert Evaluation.objects.get(event_id=events[0]).decisions == [
        {"error": "Poison: 10 workers died while they routed this event."}
    ]
    assert lost() == {}


def test_a_run_that_kills_its_worker_at_once_is_found_by_its_claims(
    holder: Holder, events: list[int], monkeypatch: Any
) -> None:
    """The router dies of walking it; then it is only started, and from there on counted as any run."""

    def die(*_: Any) -> Any:
        raise SystemExit

    monkeypatch.setattr(at_once, "walk_all", die)
    with pytest.raises(SystemExit):
        route_batch()
    holder._connection.close()
    poison._holder = None
    reaped()
    assert lost() == dict.fromkeys(events, 1)
    assert [route_batch() for _ in range(4)] == [1, 1, 1, 0]
    assert set(Run.objects.values_list("seq", "lost")) == {(0, 0)}


def test_three_deaths_as_by_chance_cost_an_event_nothing(events: list[int]) -> None:
    """A run that three workers died with ends in sight of everybody; an event would start nothing."""
    for _ in range(poison.DEATHS):
        dies_with(events[:1])
        reaped()
    settle()
    assert starts() == events


def test_the_mark_goes_with_the_event(events: list[int]) -> None:
    dies_with(events)
    reaped()
    settle()
    assert lost() == {}
    assert poison.reap() == 0
