"""Pausing closes entry and asks what becomes of runs in flight; resume asks how held ones go on (C-03, PAU-01 to 12)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.clock import evaluation_now, set_clock
from accounts.errors import Refusal
from accounts.models import Audit, Workspace
from automations.models import Automation, Entry, Run, SecondLook
from automations.services import inflight
from automations.services.pause import pause_automation, resume_automation
from automations.worker.loop import one_pass
from tests.automations import LISTENING, WAITING, fresh, made, published, queue, started
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, pass_time, settle, steps_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def pause(automation: Automation, how: str = "finish") -> object:
    return pause_automation(actor=actor_of(automation.workspace), automation_id=automation.pk, in_flight=how)


def resume(automation: Automation, held: str | None = None) -> object:
    return resume_automation(actor=actor_of(automation.workspace), automation_id=automation.pk, held=held)


def near(moment, expected, seconds: int = 5) -> bool:
    return abs(moment - expected) < timedelta(seconds=seconds)


def test_pause_and_resume_are_audited_and_keep_version_and_priority(workspace: Workspace) -> None:
    # PAU-01, PAU-06
    automation = published(workspace)
    version = automation.active_version_id
    pause(automation)
    paused = fresh(automation)
    assert (paused.state, paused.in_flight) == ("PAUSED", "finish")
    assert paused.paused_at is not None
    resume(automation)
    again = fresh(automation)
    assert (again.state, again.paused_at, again.active_version_id) == ("ACTIVE", None, version)
    actions = Audit.objects.filter(object=automation.public_id).order_by("pk").values_list("action", flat=True)
    assert list(actions)[-2:] == ["automation.pause", "automation.resume"]


def test_a_paused_automation_does_not_start_and_nothing_is_made_up_for(workspace: Workspace) -> None:
    # PAU-02, PAU-09
    automation = published(workspace)
    pause(automation)
    assert started(automation, 2) == []
    resume(automation)
    settle()
    assert not Run.objects.filter(automation=automation).exists()
    assert len(started(automation)) == 1


def test_without_a_choice_runs_finish(workspace: Workspace) -> None:
    # PAU-04, PAU-07
    automation = published(workspace, WAITING)
    runs = started(automation, 3)
    done = pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
    assert (done.unfinished, done.cancelled, done.held) == (3, 0, 0)
    pass_time("+3d")
    assert {fresh(run).status for run in runs} == {"COMPLETED"}


def test_cancelling_ends_all_at_once(workspace: Workspace) -> None:
    # PAU-05, PAU-08, SUP-05
    automation = published(workspace, "settings: {reentry: one_at_a_time}\n" + WAITING)
    runs = started(automation, 3)
    mail = queue(runs[0])
    assert Entry.objects.filter(automation=automation).count() == 3
    done = pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="cancel")
    assert (done.unfinished, done.cancelled) == (0, 3)
    assert {(fresh(run).status, fresh(run).end_reason) for run in runs} == {("CANCELLED", "cancelled_on_pause")}
    assert fresh(mail).state == "CANCELLED"
    assert not Entry.objects.filter(automation=automation).exists()
    assert (fresh(automation).cancel_mark, fresh(automation).sweep) == (None, False)


def test_the_mark_is_obeyed_before_its_row_is_reached(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    # DESIGN 5.5: claims obey the mark from that moment; a process that dies between loses nothing
    automation = published(workspace, WAITING)
    [run] = started(automation)
    monkeypatch.setattr("automations.services.pause.follow_all", lambda automation_id: None)
    pause(automation, "cancel")
    assert fresh(run).status == "RUNNING"
    set_clock("+3d")
    from automations.worker.advance import advance_batch

    advance_batch()
    assert (fresh(run).status, fresh(run).end_reason) == ("CANCELLED", "cancelled_on_pause")
    assert steps_of(run) == []


def test_rows_follow_in_chunks_and_the_mark_goes_when_none_is_left(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    automation = published(workspace, WAITING)
    started(automation, 5)
    monkeypatch.setattr("automations.services.pause.follow_all", lambda automation_id: None)
    pause(automation, "cancel")
    assert [inflight.follow_marks(2) for _ in range(4)] == [2, 2, 1, 0]
    assert (fresh(automation).sweep, fresh(automation).cancel_mark) == (False, None)
    assert inflight.follow_marks() == 0


def test_hold_freezes_a_run_that_comes_due(workspace: Workspace) -> None:
    # PAU-12
    automation = published(workspace, WAITING)
    [run] = started(automation)
    done = pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    assert (done.unfinished, done.held) == (1, 1)
    held = fresh(run)
    assert (held.status, held.parked_on, held.due_at) == ("RUNNING", "hold", None)
    set_clock("+10d")
    for _pass in range(3):
        one_pass("automation", command=True)
    assert (fresh(run).parked_on, steps_of(run)) == ("hold", [])
    resume(automation, "continue")
    pass_time("+3d")
    assert (fresh(run).status, steps_of(run)) == ("COMPLETED", ["pause", "after"])


def test_continue_keeps_the_time_that_was_left(workspace: Workspace) -> None:
    # CONTRACTS 8, hold and resume
    automation = published(workspace, WAITING)
    [run] = started(automation)
    set_clock("+1d")
    pause(automation, "hold")
    set_clock("+10d")
    resume(automation, "continue")
    again = fresh(run)
    assert (again.parked_on, again.held) == ("timer", None)
    assert near(again.due_at, evaluation_now() + timedelta(days=2))


def test_reanchor_takes_the_time_it_would_have_had(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    would = run.due_at
    pause(automation, "hold")
    set_clock("+1d")
    resume(automation, "reanchor")
    assert fresh(run).due_at == would


def test_reanchor_goes_on_at_once_when_that_time_is_past(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    pause(automation, "hold")
    set_clock("+9d")
    resume(automation, "reanchor")
    assert near(fresh(run).due_at, evaluation_now())
    settle()
    assert fresh(run).status == "COMPLETED"


def test_skip_ends_the_wait_that_the_run_stands_on(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    pause(automation, "hold")
    resume(automation, "skip")
    settle()
    assert (fresh(run).status, steps_of(run)) == ("COMPLETED", ["pause", "after"])


def test_resume_after_a_hold_asks(workspace: Workspace) -> None:
    # DESIGN 5.5: resume after a hold asks
    automation = published(workspace, WAITING)
    started(automation, 2)
    pause(automation, "hold")
    with pytest.raises(Refusal) as refused:
        resume(automation)
    assert refused.value.code == "choice_required"
    assert (refused.value.details["held"], fresh(automation).state) == (2, "PAUSED")


def test_resume_after_a_hold_of_nobody_asks_nothing(workspace: Workspace) -> None:
    # PAU-10: the question is asked only when there are unfinished runs
    automation = published(workspace)
    pause(automation, "hold")
    resume(automation)
    assert fresh(automation).state == "ACTIVE"


def test_an_event_does_not_wake_a_held_wait_and_counts_after_resume(workspace: Workspace) -> None:
    # DESIGN 5.2: a wait matches events routed after its step began; none is lost by a hold
    automation = published(workspace, LISTENING)
    [run] = started(automation)
    assert run.status == "WAITING_FOR_EVENT"
    pause(automation, "hold")
    assert (fresh(run).wait_name, fresh(run).parked_on) == (None, "hold")
    happen(run.customer, "reply")
    settle()
    assert fresh(run).parked_on == "hold"
    resume(automation, "continue")
    settle()
    assert fresh(run).status == "COMPLETED"
    assert not SecondLook.objects.exists()


def test_a_held_wait_without_a_timeout_stays_a_wait(workspace: Workspace) -> None:
    automation = published(workspace, LISTENING.replace(", timeout: 7d", ""))
    [run] = started(automation)
    pause(automation, "hold")
    resume(automation, "continue")
    again = fresh(run)
    assert (again.status, again.parked_on, again.due_at, again.wait_name) == (
        "WAITING_FOR_EVENT",
        "event",
        None,
        "reply",
    )
    happen(run.customer, "reply")
    settle()
    assert fresh(run).status == "COMPLETED"


def test_skipping_a_wait_takes_its_timeout(workspace: Workspace) -> None:
    steps = (
        "steps:\n  - {id: wait, type: wait_until, event: reply, timeout: 7d, onEvent: [{type: stop}], "
        "onTimeout: [{id: late, type: action, action: add_tag, tag: late}]}"
    )
    automation = published(workspace, steps)
    [run] = started(automation)
    pause(automation, "hold")
    resume(automation, "skip")
    settle()
    assert steps_of(run) == ["wait", "late"]


def test_queued_deliveries_of_held_runs_wait(workspace: Workspace) -> None:
    # DESIGN 5.5: deliveries not yet SENDING wait; one that may have been sent is finished
    automation = published(workspace, WAITING)
    [run] = started(automation)
    queued, unknown = queue(run), queue(run, "UNKNOWN", visit=2)
    type(unknown).objects.filter(pk=unknown.pk).update(due_at=evaluation_now())
    pause(automation, "hold")
    assert (fresh(queued).state, fresh(queued).due_at) == ("QUEUED", None)
    assert fresh(unknown).due_at is not None
    resume(automation, "continue")
    assert near(fresh(queued).due_at, evaluation_now())


def test_a_run_started_after_the_resume_is_not_held(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [old] = started(automation)
    pause(automation, "hold")
    resume(automation, "continue")
    [new] = started(automation)
    assert (fresh(old).parked_on, fresh(new).parked_on) == ("timer", "timer")


def test_holding_can_turn_into_cancelling(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    pause(automation, "hold")
    pause(automation, "cancel")
    assert (fresh(run).status, fresh(run).held) == ("CANCELLED", None)
    resume(automation)
    assert fresh(automation).state == "ACTIVE"


def test_holding_again_before_all_were_released_holds_all(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    automation = published(workspace, WAITING)
    runs = started(automation, 2)
    pause(automation, "hold")
    monkeypatch.setattr(
        "automations.services.pause.follow_all", lambda automation_id: inflight.follow(automation_id, 1)
    )
    resume(automation, "continue")
    assert sorted(fresh(run).parked_on for run in runs) == ["hold", "timer"]
    monkeypatch.undo()
    pause(automation, "hold")
    assert {fresh(run).parked_on for run in runs} == {"hold"}
    resume(automation, "continue")
    assert {fresh(run).parked_on for run in runs} == {"timer"}


def test_an_exit_ends_a_held_run(workspace: Workspace) -> None:
    automation = published(workspace, "exits: [{event: left}]\n" + WAITING)
    [run] = started(automation)
    pause(automation, "hold")
    happen(run.customer, "left")
    settle()
    assert (fresh(run).status, fresh(run).end_reason) == ("CANCELLED", "left")


def test_a_schedule_that_was_paused_does_not_catch_up(workspace: Workspace) -> None:
    # PAU-09
    automation = published(
        workspace,
        "steps: [{type: action, action: create_task, message: Look}]",
        trigger="{type: schedule, interval: 24h}",
    )
    pause(automation)
    pass_time("+3d")
    resume(automation)
    settle()
    assert not Run.objects.filter(automation=automation).exists()
    assert fresh(automation).next_fire_at > evaluation_now()
    pass_time("+1d")
    assert Run.objects.filter(automation=automation).count() == 1


@pytest.mark.parametrize("state", ["DRAFT", "ACTIVE"])
def test_only_what_fits_the_state(workspace: Workspace, state: str) -> None:
    automation = made(workspace) if state == "DRAFT" else published(workspace)
    attempts = [lambda: resume(automation)] + ([lambda: pause(automation)] if state == "DRAFT" else [])
    for attempt in attempts:
        with pytest.raises(Refusal) as refused:
            attempt()
        assert refused.value.code == "wrong_state"
    assert fresh(automation).state == state


def test_pausing_a_paused_one_again_changes_nothing(workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    pause(automation)
    at = fresh(automation).paused_at
    pause(automation)
    assert (fresh(automation).paused_at, fresh(run).parked_on) == (at, "timer")


@pytest.mark.parametrize(("call", "wrong"), [(pause, "explode"), (resume, "rewind")])
def test_an_unknown_choice_is_refused(workspace: Workspace, call, wrong: str) -> None:
    automation = published(workspace)
    with pytest.raises(Refusal) as refused:
        call(automation, wrong)
    assert refused.value.code == "invalid"
    assert fresh(automation).state == "ACTIVE"


def test_operating_needs_its_role_and_its_workspace(workspace: Workspace, other: Workspace) -> None:
    automation = published(workspace)
    for actor, code in ((actor_of(workspace, "viewer"), "role_missing"), (actor_of(other), "not_found")):
        for attempt in (pause_automation, resume_automation):
            with pytest.raises(Refusal) as refused:
                attempt(actor=actor, automation_id=automation.pk)
            assert refused.value.code == code
    assert (
        pause_automation(actor=actor_of(workspace, "operator"), automation_id=automation.pk).automation.state
        == "PAUSED"
    )


def test_a_customer_met_during_the_pause_can_enter_after_it(workspace: Workspace) -> None:
    automation = published(workspace, "settings: {reentry: one_at_a_time}\n" + WAITING)
    [run] = started(automation)
    pause(automation, "cancel")
    resume(automation)
    happen(run.customer)
    settle()
    assert Run.objects.filter(automation=automation, ended_at=None).count() == 1
    assert make_customer(workspace).pk != run.customer_id
