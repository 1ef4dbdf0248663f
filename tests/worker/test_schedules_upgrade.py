"""Schedules whose version cannot be compiled for a while, as during an upgrade: they come back by themselves (TRG-18, VER-04)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from accounts.clock import evaluation_now, set_clock
from accounts.models import Installation, Workspace
from automations.doctor.run import examine
from automations.engine.registry import registry
from automations.models import Automation
from automations.services.pause import pause_automation, resume_automation
from automations.worker import plans
from automations.worker.loop import one_pass
from automations.worker.plans import forget_plans
from automations.worker.run import walk_through
from automations.worker.schedules import find_lost_times, fire_schedules
from tests.factories import actor_of, make_workspace
from tests.worker.living import settle
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db(transaction=True)
TAG = "steps: [{type: action, action: create_task, message: Call}]"
HOURLY = "type: schedule, interval: 1h"


@pytest.fixture
def workspace(settings: Any) -> Iterator[Workspace]:
    settings.ONWARD_ALLOW_CLOCK = True
    yield make_workspace()
    forget_plans()
    Installation.objects.update(clock_offset=timedelta())


@contextmanager
def without(action: str) -> Iterator[None]:
    """Another process, whose code does not know this action (yet, or any more)."""
    forget_plans()
    taken = registry.actions.pop(action)
    try:
        yield
    finally:
        registry.actions[action] = taken


def next_of(automation: Automation) -> Any:
    return Automation.objects.get(pk=automation.pk).next_fire_at


def found(*ids: str) -> dict[str, list[str]]:
    return {finding.check.id: finding.rows for finding in examine(only=ids, at_rest=True)}


def test_what_cannot_be_compiled_keeps_its_time_and_fires_once_when_it_can(workspace: Workspace) -> None:  # TRG-18
    automation = on(workspace, HOURLY, steps=TAG)
    due = next_of(automation)
    set_clock("+3h")
    with without("create_task"):
        settle()
        assert (runs(automation), next_of(automation)) == ([], due)
    forget_plans()  # a new process, which knows it again
    settle()
    assert len(runs(automation)) == 1
    assert next_of(automation) > evaluation_now()


def test_the_same_process_tries_again_after_a_minute(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    automation = on(workspace, HOURLY, steps=TAG)
    set_clock("+1h")
    with without("create_task"):
        assert fire_schedules() == 0
    assert fire_schedules() == 0
    later = time.monotonic() + plans.RETRY + 1
    monkeypatch.setattr("automations.worker.plans.time.monotonic", lambda: later)
    assert fire_schedules() == 1
    route_all()
    assert len(runs(automation)) == 1


def test_it_keeps_no_other_schedule_from_its_time(workspace: Workspace) -> None:
    bad = on(workspace, HOURLY, steps=TAG)
    set_clock("+10m")
    good = on(workspace, HOURLY, steps="steps: [{type: stop}]")
    set_clock("+2h")
    with without("create_task"):
        assert (fire_schedules(), fire_schedules()) == (1, 0)
        route_all()
        assert (len(runs(bad)), len(runs(good))) == (0, 1)


def test_whatever_the_older_text_raises(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    automation = on(workspace, HOURLY, steps=TAG)
    due = next_of(automation)
    set_clock("+1h")
    forget_plans()

    def defect(*_: Any) -> None:
        raise KeyError("a field that newer code wants")

    with monkeypatch.context() as upgrade:
        upgrade.setattr(plans, "compile_plan", defect)
        assert fire_schedules() == 0
        assert next_of(automation) == due


def test_a_walk_through_time_passes_by_what_it_cannot_read(workspace: Workspace) -> None:
    automation = on(workspace, HOURLY, steps=TAG)
    due = next_of(automation)
    with without("create_task"):
        walk_through("+5h")
    assert next_of(automation) == due < evaluation_now()


def test_the_doctor_shows_it_meanwhile(workspace: Workspace) -> None:
    automation = on(workspace, HOURLY, steps=TAG)
    assert found("A9", "T3") == {}
    with without("create_task"):
        assert found("A9", "T3") == {"A9": [f"auto_{automation.pk} version 1"]}


@pytest.mark.parametrize("back", [settle, lambda: one_pass("automation")])
def test_a_schedule_that_lost_its_time_gets_it_back(workspace: Workspace, back: Any) -> None:
    """As versions before this one left it behind, or a zone that was away from the table."""
    automation = on(workspace, HOURLY, steps=TAG)
    other = on(workspace, "type: event, event: sign", steps=TAG)
    Automation.objects.update(next_fire_at=None)
    set_clock("+90m")
    assert found("A9", "T3") == {"T3": [f"auto_{automation.pk}"]}
    back()
    assert timedelta(minutes=29) < next_of(automation) - evaluation_now() <= timedelta(minutes=30)
    assert (next_of(other), runs(automation), found("T3")) == (None, [], {})
    assert find_lost_times() == 0


def test_one_without_any_next_time_is_looked_at_later(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    automation = on(workspace, "type: schedule, cron: '0 9 * * *'", steps=TAG)
    Workspace.objects.filter(pk=workspace.pk).update(time_zone="Mars/Olympus")  # it has left the table of zones
    set_clock("+25h")
    assert fire_schedules() == 1  # it cannot even be named, so this time is missed
    assert next_of(automation) is None
    assert (find_lost_times(), settle()) == (0, 0)
    assert "has no next time" in caplog.text
    Workspace.objects.filter(pk=workspace.pk).update(time_zone="Europe/Berlin")
    settle()
    assert next_of(automation) > evaluation_now()


def test_a_pause_that_ends_while_it_cannot_be_compiled(workspace: Workspace) -> None:  # PAU-09
    automation = on(workspace, HOURLY, steps=TAG)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
    set_clock("+90m")
    with without("create_task"):
        resume_automation(actor=actor_of(workspace), automation_id=automation.pk)
    assert timedelta(minutes=29) < next_of(automation) - evaluation_now() <= timedelta(minutes=30)
