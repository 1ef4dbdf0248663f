"""Marks and the rows that follow them: freezing, releasing, chunks, and what is left alone (DESIGN 5.5)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now, set_clock
from accounts.models import Workspace
from automations.models import Automation, Run, SecondLook
from automations.services.inflight import follow, follow_all, follow_marks, freeze
from automations.services.pause import last_run, pause_automation, resume_automation, unfinished_runs
from automations.worker.loop import drain
from tests.automations import LISTENING, TAGGING, WAITING, fresh, published, queue, started
from tests.factories import actor_of
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def mark(automation: Automation, **fields: object) -> None:
    Automation.objects.filter(pk=automation.pk).update(sweep=True, **fields)


def test_freezing_keeps_everything_that_releasing_needs(workspace: Workspace) -> None:
    [run] = started(published(workspace, LISTENING))
    due = run.due_at
    freeze([run.pk], evaluation_now())
    held = fresh(run).held
    assert held is not None
    assert set(held) == {"by", "status", "parkedOn", "dueAt", "remaining", "waitName", "waitKey", "deafSince"}
    assert (held["status"], held["parkedOn"], held["waitName"]) == ("WAITING_FOR_EVENT", "event", "reply")
    assert abs(held["remaining"] - timedelta(days=7).total_seconds()) < 10
    assert held["waitKey"] == f"customer:{run.customer_id}"
    assert due is not None


def test_a_run_that_was_due_is_due_again(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    set_clock("+3d")
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    set_clock("+5d")
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    assert abs(fresh(run).due_at - evaluation_now()) < timedelta(seconds=10)
    settle()
    assert fresh(run).status == "COMPLETED"


def test_only_runs_up_to_the_mark_are_touched(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    old, new = started(automation, 2)
    mark(automation, cancel_mark=old.pk, cancel_reason="cancelled_on_publish")
    follow_all(automation.pk)
    assert (fresh(old).end_reason, fresh(new).status) == ("cancelled_on_publish", "RUNNING")


def test_only_runs_of_that_automation_are_touched(workspace: Workspace) -> None:
    here = published(workspace, WAITING, trigger="{type: event, event: here}")
    there = published(workspace, WAITING, trigger="{type: event, event: there}")
    [first], [second] = started(here, event="here"), started(there, event="there")
    mark(here, cancel_mark=second.pk + 1, cancel_reason="cancelled_on_pause")
    follow_marks()
    assert (fresh(first).status, fresh(second).status) == ("CANCELLED", "RUNNING")


def test_many_automations_are_followed_in_one_call(workspace: Workspace) -> None:
    automations = [published(workspace, WAITING, trigger=f"{{type: event, event: e{number}}}") for number in range(3)]
    runs = [started(automation, event=f"e{number}")[0] for number, automation in enumerate(automations)]
    for automation in automations:
        mark(automation, cancel_mark=max(run.pk for run in runs), cancel_reason="cancelled_on_pause")
    assert follow_marks() == 3
    assert follow_marks() == 0
    assert not Automation.objects.filter(sweep=True).exists()


def test_without_a_mark_there_is_one_cheap_question(workspace: Workspace) -> None:
    published(workspace, WAITING)
    with CaptureQueriesContext(connection) as queries:
        assert follow_marks() == 0
    assert len(queries) == 1


def test_a_chunk_takes_the_same_few_statements_whatever_its_size(workspace: Workspace) -> None:
    counts = []
    for number in (1, 9):
        automation = published(workspace, WAITING, trigger=f"{{type: event, event: n{number}}}")
        runs = started(automation, number, event=f"n{number}")
        mark(automation, cancel_mark=runs[-1].pk, cancel_reason="cancelled_on_pause")
        with CaptureQueriesContext(connection) as queries:
            assert follow(automation.pk) == number
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_hold_by_something_else_is_not_released_by_a_resume(workspace: Workspace) -> None:
    # DESIGN 5.5: holds on a customer or invoice are the same mechanism with another owner
    automation = published(workspace, WAITING)
    ours, theirs = started(automation, 2)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    held = {**(fresh(theirs).held or {}), "by": "customer"}
    Run.objects.filter(pk=theirs.pk).update(held=held)
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    assert (fresh(ours).parked_on, fresh(theirs).parked_on) == ("timer", "hold")


def test_a_run_on_a_delivery_keeps_its_row_and_is_stopped_by_the_mark(workspace: Workspace) -> None:
    automation = published(
        workspace, "steps: [{id: pause, type: delay, duration: 3d}, {id: after, type: action, action: add_tag, tag: x}]"
    )
    [run] = started(automation)
    Run.objects.filter(pk=run.pk).update(parked_on="delivery", due_at=None)
    delivery = queue(run)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    assert (fresh(run).parked_on, fresh(run).held, fresh(delivery).due_at) == ("delivery", None, None)
    # its delivery settles although it was held: the run comes due and the mark stops it
    Run.objects.filter(pk=run.pk).update(parked_on=None, due_at=evaluation_now())
    drain(deliver=False)
    assert fresh(run).parked_on == "hold"
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    assert fresh(delivery).due_at is not None
    assert fresh(run).parked_on is None


def test_a_pending_second_look_is_not_forgotten_by_a_hold(workspace: Workspace) -> None:
    # DESIGN 5.2: an event that was routed while the run parked counts, however long it is held then
    automation = published(workspace, LISTENING)
    [run] = started(automation)
    earlier = run.recorded_at - timedelta(minutes=5)
    SecondLook.objects.create(run=run, workspace_id=workspace.pk, customer_id=run.customer_id, since=0)
    SecondLook.objects.filter(run=run).update(created_at=earlier)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    assert not SecondLook.objects.exists()
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    assert SecondLook.objects.get().created_at == earlier


def test_what_a_delay_is_released_to_needs_no_second_look(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    started(automation)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    assert not SecondLook.objects.exists()


@pytest.mark.parametrize("held", ["continue", "skip", "reanchor"])
def test_every_way_on_leaves_a_row_that_the_database_accepts(workspace: Workspace, held: str) -> None:
    # one of each standing at once
    bodies = {"timer": WAITING, "event": LISTENING, "endless": LISTENING.replace(", timeout: 7d", "")}
    automation = published(workspace, TAGGING)
    runs = []
    for number, body in enumerate(bodies.values()):
        here = published(workspace, body, trigger=f"{{type: event, event: s{number}}}")
        runs += started(here, event=f"s{number}")
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(automation=automation)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    assert {fresh(run).parked_on for run in runs} == {"hold"}
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held=held)
    assert [fresh(run).parked_on for run in runs] == ["timer", "event", "event"]
    dues = [fresh(run).due_at is not None for run in runs]
    assert dues == [True, True, held == "skip"]


def test_counts_and_marks_look_at_unfinished_runs_alone(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    assert (unfinished_runs(automation), last_run(automation)) == (0, 0)
    runs = started(automation, 3)
    set_clock("+3d")
    settle()
    assert (unfinished_runs(automation), last_run(automation)) == (0, 0)
    [later] = started(automation)
    assert (unfinished_runs(automation), last_run(automation)) == (1, later.pk)
    assert later.pk > runs[-1].pk


def test_an_event_during_a_release_in_chunks_is_not_lost(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    automation = published(workspace, LISTENING)
    runs = started(automation, 3)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    monkeypatch.setattr("automations.services.pause.follow_all", lambda automation_id: follow(automation_id, 1))
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    for run in runs:
        happen(run.customer, "reply")
    settle()
    assert {fresh(run).status for run in runs} == {"COMPLETED"}
