"""Pausing and resuming over REST: one test for each requirement PAU-01, 02 and 04 to 12."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.outside import Outside
from tests.requirements.flows import PAUSE, TAG, TASK, a_pass, enter, flow

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
PRIORITISED = "billing.invoice_overdue"


def state(onward: Outside, automation: str) -> str:
    """As the list shows it."""
    rows = onward.api.get("/automations").json()["automations"]
    return str({row["id"]: row["state"] for row in rows}[automation])


def pause(onward: Outside, automation: str, how: str | None = None) -> dict[str, Any]:
    answer = onward.api.post(f"/automations/{automation}/pause", {"inFlight": how} if how else {})
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def resume(onward: Outside, automation: str, **body: str) -> dict[str, Any]:
    answer = onward.api.post(f"/automations/{automation}/resume", body)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def three(onward: Outside) -> str:
    """An automation with three unfinished runs."""
    automation = onward.activate(flow(PAUSE, TASK))
    for _ in range(3):
        onward.emit("sign", onward.customer()["id"])
    onward.work()
    return automation


def statuses(onward: Outside, automation: str) -> list[str]:
    return sorted(row["runStatus"] for row in onward.executions(automation))


def test_pau_01_pause_and_resume_show_in_the_list(onward: Outside) -> None:  # PAU-01
    automation = onward.activate(flow(TAG))
    assert pause(onward, automation)["automation"]["state"] == state(onward, automation) == "PAUSED"
    assert resume(onward, automation)["automation"]["state"] == state(onward, automation) == "ACTIVE"


def test_pau_02_paused_does_not_trigger(onward: Outside) -> None:  # PAU-02
    automation = onward.activate(flow(TAG))
    pause(onward, automation)
    enter(onward)
    assert onward.executions(automation) == []
    resume(onward, automation)
    ana = enter(onward)
    assert [row["profileId"] for row in onward.executions(automation)] == [ana["id"]]


@pytest.mark.parametrize("how", ["finish", None])
def test_pau_04_and_07_runs_finish(onward: Outside, how: str | None) -> None:  # PAU-04; PAU-07 without a stated choice
    automation = three(onward)
    assert pause(onward, automation, how)["runs"] == {"unfinished": 3, "cancelled": 0, "held": 0}
    assert statuses(onward, automation) == ["RUNNING"] * 3
    onward.pass_time("+2d")
    assert (statuses(onward, automation), len(onward.tasks())) == (["COMPLETED"] * 3, 3)
    assert state(onward, automation) == "PAUSED"


def test_pau_05_and_08_all_are_cancelled_at_once(onward: Outside) -> None:  # PAU-05, PAU-08
    automation = three(onward)
    assert pause(onward, automation, "cancel")["runs"] == {"unfinished": 0, "cancelled": 3, "held": 0}
    assert statuses(onward, automation) == ["CANCELLED"] * 3  # before any pass
    assert {row["endReason"] for row in onward.executions(automation)} == {"cancelled_on_pause"}
    onward.pass_time("+5d")
    assert onward.tasks() == []


def test_pau_06_with_the_same_version_and_priority(onward: Outside) -> None:  # PAU-06
    ids = [onward.activate(flow(TASK, event=PRIORITISED, name=name)) for name in ("One", "Two")]
    before = onward.api.get(f"/automations/{ids[1]}").json()
    assert (before["priority"], before["activeVersion"]) == (2, 1)
    pause(onward, ids[1])
    onward.pass_time("+30d")
    after = resume(onward, ids[1])["automation"]
    assert [after[name] for name in ("state", "priority", "activeVersion")] == ["ACTIVE", 2, 1]
    assert onward.api.get(f"/priorities/{PRIORITISED}").status_code == 200


def test_pau_09_nothing_is_made_up_for(onward: Outside) -> None:  # PAU-09
    automation = onward.activate(flow(TAG))
    pause(onward, automation)
    for _ in range(2):
        enter(onward)
    resume(onward, automation)
    onward.work()
    onward.pass_time("+1d")
    assert onward.executions(automation) == []


def test_pau_09_nor_what_was_recorded_but_not_routed_before(
    onward: Outside,
) -> None:  # PAU-09: a schedule skips its fires
    text = "name: S\ntrigger: {type: schedule, interval: 24h}\nsteps: [" + TASK + "]"
    automation = onward.activate(text)
    pause(onward, automation)
    onward.pass_time("+3d")
    resume(onward, automation)
    onward.work()
    assert onward.executions(automation) == []
    onward.pass_time("+1d")
    assert len(onward.executions(automation)) == 1


@pytest.mark.parametrize("runs", [0, 3])
def test_pau_10_it_says_how_many_are_unfinished(onward: Outside, runs: int) -> None:  # PAU-10
    automation = three(onward) if runs else onward.activate(flow(PAUSE, TASK))
    assert onward.api.get(f"/automations/{automation}").json()["runs"]["unfinished"] == runs
    assert pause(onward, automation)["runs"]["unfinished"] == runs


@pytest.mark.parametrize("runs", [0, 3])
def test_pau_10_a_resume_asks_only_where_runs_are_held(onward: Outside, runs: int) -> None:  # PAU-10
    automation = three(onward) if runs else onward.activate(flow(PAUSE, TASK))
    pause(onward, automation, "hold")
    answer = onward.api.post(f"/automations/{automation}/resume")
    assert answer.status_code == (409 if runs else 200)
    if runs:
        assert (answer.json()["code"], answer.json()["details"]["held"]) == ("choice_required", 3)


def test_pau_11_one_of_three(onward: Outside) -> None:  # PAU-11
    automation = three(onward)
    chosen = onward.executions(automation)[1]["id"]
    answer = onward.api.post(f"/executions/{chosen}/cancel", {"reason": "asked on the phone"})
    assert (answer.status_code, answer.json()["endReason"]) == (200, "cancelled")
    assert statuses(onward, automation) == ["CANCELLED", "RUNNING", "RUNNING"]
    onward.pass_time("+2d")
    assert {row["id"]: row["runStatus"] for row in onward.executions(automation)}[chosen] == "CANCELLED"
    assert statuses(onward, automation) == ["CANCELLED", "COMPLETED", "COMPLETED"]


def test_pau_12_hold_freezes_and_continue_goes_on(onward: Outside) -> None:  # PAU-12
    automation = three(onward)
    onward.pass_time("+1d")
    assert pause(onward, automation, "hold")["runs"] == {"unfinished": 3, "cancelled": 0, "held": 3}
    for _ in range(3):
        onward.pass_time("+2d")
        a_pass()
    assert {(row["parkedOn"], row["currentStepId"]) for row in onward.executions(automation)} == {("hold", "pause")}
    resume(onward, automation, held="continue")
    onward.pass_time("+23h")
    assert statuses(onward, automation) == ["RUNNING"] * 3  # the day that was left is kept
    onward.pass_time("+1h")
    assert (statuses(onward, automation), len(onward.tasks())) == (["COMPLETED"] * 3, 3)


@pytest.mark.parametrize("held", ["skip", "reanchor"])
def test_pau_12_the_other_ways_on(onward: Outside, held: str) -> None:  # PAU-12
    automation = three(onward)
    pause(onward, automation, "hold")
    onward.pass_time("+5d")
    resume(onward, automation, held=held)
    onward.work()
    assert statuses(onward, automation) == ["COMPLETED"] * 3
