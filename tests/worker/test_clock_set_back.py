"""The second look after the database's clock was set back: what a wait missed is told by the order of routing (RELIABILITY 13, PAU-04)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from automations.doctor.run import examine
from automations.models import Event, Routed, Run
from automations.worker import second_look
from automations.worker.second_look import look_again
from tests.worker.living import happen
from tests.worker.missing import held, park, ping, resumed, waiting
from tests.worker.routing import route_all, runs

pytestmark = pytest.mark.django_db(transaction=True)


def set_back(event, seconds=60):
    """What the clock showed when this event was routed was so much behind what it had shown before."""
    moved = Routed.objects.filter(event=event).update(routed_at=F("routed_at") - timedelta(seconds=seconds))
    assert moved == 1


BY_ORDER = "case when l.number is null then m.routed_at >= l.created_at else m.number >= l.number end"


class TestClockSetBack:
    """What was missed is told by the order of routing, not by times, which would deceive (RELIABILITY 13, W1)."""

    @pytest.fixture(params=["order", "times"])
    def right(self, request, monkeypatch):
        """Whether it is told by the order; else the protection is taken away."""
        if request.param == "times":
            assert BY_ORDER in second_look._EVENTS
            text = second_look._EVENTS.replace(BY_ORDER, "m.routed_at >= l.created_at")
            monkeypatch.setattr(second_look, "_EVENTS", text)
        return request.param == "order"

    def test_an_event_missed_while_the_clock_went_back_wakes(self, workspace, customer, right):
        automation = waiting(workspace)
        happen(customer)
        route_all()
        park(ping(customer))
        set_back(Event.objects.get(name="ping"))
        assert look_again() == 1
        [run] = runs(automation)
        assert (run.answer == {"event": Event.objects.get(name="ping").pk}) == right
        assert [finding.check.id for finding in examine(only=["W1"])] == ([] if right else ["W1"])

    def test_an_event_from_before_the_wait_wakes_nobody_although_its_time_is_later(self, workspace, customer, right):
        automation = waiting(workspace)
        ping(customer)()
        happen(customer)
        route_all()
        set_back(Event.objects.get(name="ping"), -60)  # what came after it has an earlier time
        park()
        assert look_again() == 1
        [run] = runs(automation)
        assert (run.status == "WAITING_FOR_EVENT") == right
        assert examine(only=["W1"]) == []

    def test_an_event_during_a_hold_wakes_when_it_is_released(self, workspace, customer, right):  # PAU-04
        automation = held(workspace, customer)
        ping(customer, {"seats": 9})()
        set_back(Event.objects.get(name="ping"))
        assert (resumed(workspace, automation).status == "COMPLETED") == right

    def test_a_wait_that_the_release_before_began_goes_by_times(self, workspace, customer):  # RELIABILITY 25
        automation = waiting(workspace)
        happen(customer)
        route_all()
        park(ping(customer))
        Run.objects.filter(automation=automation).update(wait_since=None)
        assert look_again() == 1
        [run] = runs(automation)
        assert run.status == "RUNNING"
