"""After a small batch the next one gathers: a batch costs nearly the same, whatever its size (PERFORMANCE W3; DESIGN 5.4)."""

from __future__ import annotations

import pytest

from automations.models import Run
from automations.worker import loop as module
from automations.worker.loop import GATHER, Loop
from automations.worker.route import MOST_EVENTS
from tests.factories import make_customer
from tests.worker.living import happen
from tests.worker.routing import on, runs

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def worker():
    worker = Loop(deliver=False)
    yield worker
    worker.stop()


def test_an_event_that_comes_to_a_worker_at_rest_is_routed_at_once(clock, worker, workspace):  # PERFORMANCE W5
    automation = on(workspace, "type: event, event: purchase")
    happen(make_customer(workspace), "purchase")
    assert worker.left_to_gather() <= 0
    assert worker._all([]) > 0
    assert len(runs(automation)) == 1


def test_one_that_comes_just_behind_a_small_batch_waits_for_others(clock, worker, workspace):
    automation = on(workspace, "type: event, event: purchase")
    happen(make_customer(workspace), "purchase")
    worker._all([])
    happen(make_customer(workspace), "purchase")
    clock.now += GATHER * 0.9
    worker._all([])
    assert len(runs(automation)) == 1
    assert 0 < worker.left_to_gather() <= GATHER * 0.11
    clock.now += GATHER * 0.2
    worker._all([])
    assert len(runs(automation)) == 2


def test_behind_a_full_batch_nothing_waits(clock, worker, monkeypatch):
    sizes = iter([MOST_EVENTS, 3, 7])
    monkeypatch.setattr(module, "route_batch", lambda: next(sizes))
    assert [worker._route(), worker._route(), worker._route()] == [MOST_EVENTS, 3, 0]
    clock.now += GATHER
    assert worker._route() == 7


@pytest.mark.parametrize("ticker", [True, False])
def test_what_gathers_is_taken_without_another_ring(clock, worker, workspace, settings, ticker):
    """Its own ring was heard when it was too soon."""
    settings.ONWARD_TICKER = ticker
    automation = on(workspace, "type: event, event: purchase")
    happen(make_customer(workspace), "purchase")
    worker._all([])
    happen(make_customer(workspace), "purchase")
    worker._all([])
    waited = []

    class Silent:
        def heard(self, seconds):
            assert not waited, "it listens for ever"
            waited.append(seconds)
            clock.now += seconds
            return False

    worker._listen(Silent())
    assert waited == [pytest.approx(GATHER)]
    worker._all([])
    assert len(runs(automation)) == 2


def test_what_is_due_by_the_clock_does_not_wait_meanwhile(clock, worker, workspace):
    automation = on(workspace, "type: event, event: purchase")
    happen(make_customer(workspace), "purchase")
    worker._all([])
    Run.objects.filter(automation=automation).update(due_at="2026-01-01T00:00Z")
    assert worker.left_to_gather() > 0
    worker._all([])
    assert {run.status for run in runs(automation)} == {"COMPLETED"}
