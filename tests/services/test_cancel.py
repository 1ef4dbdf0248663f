"""Cancelling: one run, many by a filter, and what goes with a run (PAU-11, EXE-18, DESIGN 5.3)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from accounts.errors import Refusal
from accounts.models import Audit, Workspace
from automations.models import Entry, Run, RunInput, SecondLook
from automations.services.cancel import cancel_run, cancel_runs, end_runs, preview_cancel
from automations.services.executions import RunFilter, filtered, read_status
from tests.automations import TAGGING, WAITING, fresh, published, queue, started
from tests.factories import actor_of
from tests.worker.living import pass_time, settle, steps_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def test_one_of_three_is_cancelled(workspace: Workspace) -> None:
    # PAU-11, RUN-10
    automation = published(workspace, WAITING)
    first, second, third = started(automation, 3)
    run = cancel_run(actor=actor_of(workspace), run_id=second.pk, reason="asked by phone")
    assert (run.status, run.end_reason, run.due_at, run.parked_on) == ("CANCELLED", "cancelled", None, None)
    assert run.ended_at is not None
    assert run.ended_at >= run.started_at
    assert {fresh(first).status, fresh(third).status} == {"RUNNING"}
    entry = Audit.objects.get(action="run.cancel")
    assert (entry.object, entry.after) == (f"exec_{second.pk}", {"reason": "asked by phone"})


def test_a_cancelled_run_never_goes_on(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    cancel_run(actor=actor_of(workspace), run_id=run.pk)
    pass_time("+4d")
    assert (fresh(run).status, steps_of(run)) == ("CANCELLED", [])


def test_cancelling_again_changes_nothing(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    ended = cancel_run(actor=actor_of(workspace), run_id=run.pk).ended_at
    assert cancel_run(actor=actor_of(workspace), run_id=run.pk).ended_at == ended
    assert Audit.objects.filter(action="run.cancel").count() == 1


def test_a_run_that_ended_otherwise_cannot_be_cancelled(workspace: Workspace) -> None:
    [run] = started(published(workspace, TAGGING))
    with pytest.raises(Refusal) as refused:
        cancel_run(actor=actor_of(workspace), run_id=run.pk)
    assert (refused.value.code, refused.value.details) == ("wrong_state", {"runStatus": "COMPLETED"})


def test_what_the_run_held_goes_with_it(workspace: Workspace) -> None:
    # RUN-23: the key is free again; DESIGN 5.3: queued deliveries are cancelled, others finished
    automation = published(workspace, "settings: {reentry: one_at_a_time}\n" + WAITING)
    [run] = started(automation)
    RunInput.objects.create(run=run, workspace_id=workspace.pk)
    SecondLook.objects.create(run=run, workspace_id=workspace.pk, since=0)
    states = {
        state: queue(run, state, visit=visit) for visit, state in enumerate(["QUEUED", "UNKNOWN", "SENT", "REVIEW"], 1)
    }
    cancel_run(actor=actor_of(workspace), run_id=run.pk)
    assert not Entry.objects.filter(run_id=run.pk).exists()
    assert not RunInput.objects.filter(run=run).exists()
    assert not SecondLook.objects.filter(run=run).exists()
    assert [fresh(delivery).state for delivery in states.values()] == ["CANCELLED", "UNKNOWN", "SENT", "REVIEW"]


def test_a_key_kept_for_ever_stays(workspace: Workspace) -> None:
    automation = published(workspace, "settings: {reentry: once}\n" + WAITING)
    [run] = started(automation)
    cancel_run(actor=actor_of(workspace), run_id=run.pk)
    assert Entry.objects.filter(run_id=run.pk, once=True).count() == 1


def test_ending_as_failed_leaves_deliveries_to_be_made(workspace: Workspace) -> None:
    # DESIGN 5.3: those of a COMPLETED or FAILED run are still made
    [run] = started(published(workspace, WAITING))
    delivery = queue(run)
    assert end_runs([run.pk], status="FAILED", reason="max_age") == [run.pk]
    assert (fresh(run).status, fresh(delivery).state) == ("FAILED", "QUEUED")


def test_ended_runs_are_left_alone_by_the_bulk(workspace: Workspace) -> None:
    done = started(published(workspace, TAGGING), 2)
    waiting = started(published(workspace, WAITING), 2)
    assert end_runs([run.pk for run in [*done, *waiting]], reason="cancelled") == [run.pk for run in waiting]
    assert end_runs([], reason="cancelled") == []


def test_many_runs_end_in_the_same_few_statements(workspace: Workspace) -> None:
    # no query in a loop
    counts = []
    for number in (1, 8):
        runs = started(published(workspace, WAITING), number)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            end_runs([run.pk for run in runs], reason="cancelled")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_preview_counts_and_changes_nothing(workspace: Workspace) -> None:
    one = published(workspace, WAITING, trigger="{type: event, event: one}")
    two = published(workspace, WAITING, trigger="{type: event, event: two}")
    runs = [*started(one, 2, "one"), *started(two, 1, "two")]
    preview = preview_cancel(actor=actor_of(workspace), filter=RunFilter())
    assert preview == {"runs": 3, "more": False, "byAutomation": {one.public_id: 2, two.public_id: 1}}
    assert {fresh(run).status for run in runs} == {"RUNNING"}


def test_many_are_cancelled_only_when_the_number_is_confirmed(workspace: Workspace) -> None:
    # CONTRACTS 8: /executions/cancel {filter, preview, confirm}
    automation = published(workspace, WAITING)
    runs = started(automation, 3)
    wanted = RunFilter(automation_id=automation.pk)
    for confirm in (None, 2, 4):
        with pytest.raises(Refusal) as refused:
            cancel_runs(actor=actor_of(workspace), filter=wanted, confirm=confirm)
        assert (refused.value.code, refused.value.details) == ("choice_required", {"runs": 3})
    assert {fresh(run).status for run in runs} == {"RUNNING"}
    assert cancel_runs(actor=actor_of(workspace), filter=wanted, confirm=3) == {"cancelled": 3}
    assert {fresh(run).status for run in runs} == {"CANCELLED"}


@pytest.mark.parametrize("field", ["automation", "customer", "step", "since", "until", "status"])
def test_each_part_of_the_filter_restricts(workspace: Workspace, field: str) -> None:
    # EXE-18
    automation, other = (
        published(workspace, WAITING, trigger="{type: event, event: one}"),
        published(workspace, TAGGING),
    )
    [waiting] = started(automation, event="one")
    [done] = started(other)
    Run.objects.filter(pk=done.pk).update(started_at=evaluation_now() - timedelta(days=2), ended_at=evaluation_now())
    cut = evaluation_now() - timedelta(days=1)
    filters = {
        "automation": (RunFilter(automation_id=automation.pk), waiting),
        "customer": (RunFilter(customer_id=done.customer_id), done),
        "step": (RunFilter(step="pause"), waiting),
        "since": (RunFilter(since=cut), waiting),
        "until": (RunFilter(until=cut), done),
        "status": (RunFilter(statuses=("COMPLETED",)), done),
    }
    wanted, expected = filters[field]
    assert list(filtered(actor_of(workspace), wanted)) == [expected]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RUNNING", ("RUNNING",)),
        ("running", ("RUNNING", "WAITING_FOR_EVENT")),
        ("Running", ("RUNNING", "WAITING_FOR_EVENT")),
        ("WAITING_FOR_EVENT", ("WAITING_FOR_EVENT",)),
        ("Waiting for event", ("WAITING_FOR_EVENT",)),
        ("success", ("COMPLETED",)),
        ("Success", ("COMPLETED",)),
        ("completed", ("COMPLETED",)),
        ("COMPLETED", ("COMPLETED",)),
        ("failed", ("FAILED",)),
        ("cancelled", ("CANCELLED",)),
        ("CANCELLED", ("CANCELLED",)),
        ("done", None),
        ("", None),
    ],
)
def test_a_status_may_be_spelled_as_stored_as_in_the_api_or_as_on_screen(text: str, found: object) -> None:
    # C-02: filters take any of the spellings
    assert read_status(text) == found


def test_foreign_runs_are_not_there(workspace: Workspace, other: Workspace) -> None:
    [run] = started(published(other, WAITING))
    with pytest.raises(Refusal) as refused:
        cancel_run(actor=actor_of(workspace), run_id=run.pk)
    assert refused.value.code == "not_found"
    assert preview_cancel(actor=actor_of(workspace), filter=RunFilter())["runs"] == 0
    assert fresh(run).status == "RUNNING"


def test_cancelling_needs_its_role(workspace: Workspace) -> None:
    [run] = started(published(workspace, WAITING))
    viewer = actor_of(workspace, "viewer")
    for attempt in (
        lambda: cancel_run(actor=viewer, run_id=run.pk),
        lambda: preview_cancel(actor=viewer, filter=RunFilter()),
        lambda: cancel_runs(actor=viewer, filter=RunFilter(), confirm=1),
    ):
        with pytest.raises(Refusal) as refused:
            attempt()
        assert refused.value.code == "role_missing"
    settle()
    assert fresh(run).status == "RUNNING"
