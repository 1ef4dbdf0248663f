"""What a run is and how it moves: one test for each requirement RUN-01 to 25; see test_run_endings.py for the others."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import pytest

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.services.consent import record_consent
from tests.api.outside import Outside
from tests.requirements.flows import (
    BAD,
    PAUSE,
    TAG,
    TASK,
    UNTIL,
    a_pass,
    deliveries,
    enter,
    flow,
    mail,
    runs_of,
    started,
)
from tests.worker.smtp_peer import Peer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
TICK = "settings: {pacing: tick}\n"


def test_run_01_a_run_for_the_profile(onward: Outside) -> None:  # RUN-01
    automation, ana = started(onward, flow(TAG))
    assert [row["profileId"] for row in onward.executions(automation)] == [ana["id"]]


@pytest.mark.parametrize(
    ("requirement", "field"),
    [("02", "automationId"), ("03", "profileId"), ("04", "currentStepId"), ("05", "runStatus"), ("06", "nextStepAt")],
)
def test_run_02_to_06_fields_of_a_run_in_a_wait(onward: Outside, requirement: str, field: str) -> None:  # RUN-02 to 06
    automation, ana = started(onward, flow(PAUSE, TASK))
    expected = {"automationId": automation, "profileId": ana["id"], "currentStepId": "pause", "runStatus": "RUNNING"}
    run = onward.execution(automation)
    if field in expected:
        assert run[field] == expected[field]
    else:
        assert datetime.fromisoformat(run[field]) > evaluation_now() + timedelta(days=1, hours=23)


def test_run_07_running_in_a_wait(onward: Outside) -> None:  # RUN-07
    automation, _ = started(onward, flow(PAUSE, TASK))
    run = onward.execution(automation)
    assert (run["runStatus"], run["status"], run["parkedOn"]) == ("RUNNING", "running", "timer")
    assert datetime.fromisoformat(run["nextStepAt"]) > evaluation_now()


def test_run_07_running_while_an_outcome_is_awaited(onward: Outside) -> None:  # RUN-07
    automation, _ = started(
        onward, flow("{id: h, type: action, action: send_webhook, url: 'https://x.example/'}", TASK)
    )
    run = onward.execution(automation)
    assert (run["runStatus"], run["parkedOn"], run["currentStepId"]) == ("RUNNING", "delivery", "h")


def test_run_08_waiting_for_an_event(onward: Outside) -> None:  # RUN-08
    automation, _ = started(onward, flow(UNTIL, TASK))
    run = onward.execution(automation)
    assert (run["runStatus"], run["status"], run["currentStepId"]) == ("WAITING_FOR_EVENT", "running", "until")


def test_run_09_completed_with_an_end(onward: Outside) -> None:  # RUN-09
    automation, _ = started(onward, flow(PAUSE, TASK))
    onward.pass_time("+2d")
    run = onward.execution(automation)
    assert (run["runStatus"], run["completedAt"] is not None, run["nextStepAt"]) == ("COMPLETED", True, None)
    assert run["currentStepId"] is None or run["currentStepId"] == "task"


def test_run_10_left_early_by_an_unsubscribe(onward: Outside) -> None:  # RUN-10
    automation, ana = started(onward, flow(PAUSE, TASK))
    record_consent(actor=system_actor(onward.workspace.pk), address=ana["email"], state="unsubscribed")
    run = onward.execution(automation)
    assert (run["runStatus"], run["endReason"]) == ("CANCELLED", "unsubscribed")


def test_run_10_left_early_by_a_pause(onward: Outside) -> None:  # RUN-10
    automation, _ = started(onward, flow(PAUSE, TASK))
    onward.api.post(f"/automations/{automation}/pause", {"inFlight": "cancel"})
    run = onward.execution(automation)
    assert (run["runStatus"], run["endReason"]) == ("CANCELLED", "cancelled_on_pause")


def test_run_11_failed_with_its_error(onward: Outside) -> None:  # RUN-11
    automation, _ = started(onward, flow(BAD, TASK))
    run = onward.execution(automation)
    assert (run["runStatus"], run["endReason"], onward.tasks()) == ("FAILED", "failed", [])
    assert run["error"]["message"]


def test_run_12_a_draft_does_not_run(onward: Outside) -> None:  # RUN-12
    made = onward.make(flow(TAG))
    enter(onward)
    assert (made["state"], onward.executions(made["id"])) == ("DRAFT", [])


def test_run_13_active_enrols_every_profile_that_matches(onward: Outside) -> None:  # RUN-13
    automation = onward.activate(flow(TAG, head="filter: trigger.seats > 3\n"))
    inside, _ = enter(onward, seats=5), enter(onward, seats=1)
    again = enter(onward, seats=9)
    assert set(runs_of(onward, automation)) == {inside["id"], again["id"]}


def test_run_13_only_from_now_on(onward: Outside) -> None:  # RUN-13
    made = onward.make(flow(TAG))
    enter(onward)
    onward.api.post(f"/automations/{made['id']}/activate")
    onward.work()
    assert onward.executions(made["id"]) == []


def test_run_14_paused_lets_runs_finish_and_nobody_in(onward: Outside) -> None:  # RUN-14
    automation, ana = started(onward, flow(PAUSE, TASK))
    onward.api.post(f"/automations/{automation}/pause")
    enter(onward)
    onward.pass_time("+2d")
    assert {name: row["status"] for name, row in runs_of(onward, automation).items()} == {ana["id"]: "completed"}
    assert onward.tasks() == ["Look"]


def test_run_15_one_step_at_a_time(onward: Outside) -> None:  # RUN-15
    steps = [f"{{id: t{number}, type: action, action: create_task, message: T{number}}}" for number in range(3)]
    automation = onward.activate(flow(*steps, head=TICK))
    onward.emit("sign", onward.customer()["id"])
    seen = []
    for _ in range(3):
        a_pass()
        seen.append((onward.execution(automation)["currentStepId"], len(onward.tasks())))
    assert seen[:2] == [("t1", 1), ("t2", 2)]
    assert seen[2][1] == 3


def test_run_16_profiles_are_independent(onward: Outside) -> None:  # RUN-16
    automation, ana = started(onward, flow(PAUSE, TASK))
    onward.pass_time("+1d")
    bo = enter(onward)
    onward.api.post(f"/executions/{runs_of(onward, automation)[ana['id']]['id']}/cancel")
    before = runs_of(onward, automation)[bo["id"]]
    assert (before["runStatus"], before["currentStepId"]) == ("RUNNING", "pause")
    onward.pass_time("+2d")
    found = {name: row["status"] for name, row in runs_of(onward, automation).items()}
    assert (found, onward.tasks()) == ({ana["id"]: "cancelled", bo["id"]: "completed"}, ["Look"])


def test_run_17_a_wait_is_now_and_its_length(onward: Outside) -> None:  # RUN-17
    automation, _ = started(onward, flow(PAUSE, TASK))
    run = onward.execution(automation)
    due, begun = (datetime.fromisoformat(run[name]) for name in ("nextStepAt", "triggeredAt"))
    assert run["runStatus"] == "RUNNING"
    assert timedelta(0) <= due - begun - timedelta(days=2) < timedelta(seconds=5)


def test_run_18_the_event_flips_the_run_back(onward: Outside) -> None:  # RUN-18
    automation, ana = started(onward, flow(UNTIL, TASK))
    onward.emit("reply", onward.customer()["id"])
    onward.work()
    assert onward.execution(automation)["runStatus"] == "WAITING_FOR_EVENT"  # somebody else's event
    onward.emit("reply", ana["id"])
    from automations.worker.route import route_batch

    route_batch()
    run = onward.execution(automation)
    assert (run["runStatus"], run["parkedOn"]) == ("RUNNING", None)
    assert datetime.fromisoformat(run["nextStepAt"]) <= evaluation_now()
    onward.work()
    assert (onward.steps(automation), onward.tasks()) == (["until", "task"], ["Look"])


@pytest.mark.parametrize(("seats", "target"), [(9, "yes"), (1, "no")])
def test_run_19_the_matching_edge_is_followed(onward: Outside, seats: int, target: str) -> None:  # RUN-19
    arms = f"then: [{TASK.replace('id: task', 'id: yes')}], else: [{TASK.replace('id: task', 'id: no')}]"
    automation = onward.activate(flow(f"{{id: c, type: condition, if: trigger.seats > 5, {arms}}}", head=TICK))
    onward.emit("sign", onward.customer()["id"], payload={"seats": seats})
    a_pass()
    run = onward.execution(automation)
    assert (run["currentStepId"], onward.tasks()) == (target, [])
    assert (run["steps"][0]["port"], run["steps"][0]["output"]["result"]) == (str(seats == 9).lower(), seats == 9)


def test_run_20_the_split_can_be_computed_by_anybody(onward: Outside) -> None:  # RUN-20
    arms = f"a: [{TASK.replace('id: task', 'id: a1')}], b: [{TASK.replace('id: task', 'id: b1')}]"
    automation = onward.activate(flow(f"{{id: split, type: percentage_split, percent: 50, {arms}}}"))
    for _ in range(6):
        enter(onward)
    for row in onward.executions(automation):
        steps = onward.api.get(f"/executions/{row['id']}").json()["steps"]
        number = int.from_bytes(hashlib.sha256(f"{row['id']}split".encode()).digest(), "big") % 100
        assert steps[0]["output"]["bucket"] == number
        assert (steps[0]["output"]["threshold"], steps[0]["port"]) == (50, "a" if number < 50 else "b")
        assert steps[1]["stepId"] == ("a1" if number < 50 else "b1")


def test_run_21_a_mail_is_queued_and_sent_by_its_job(onward: Outside, gateway: Peer) -> None:  # RUN-21
    onward.activate(flow(mail("m")))
    onward.emit("sign", onward.customer()["id"])
    a_pass()
    assert ([row["state"] for row in deliveries(onward)], gateway.connections) == (["QUEUED"], 0)


@pytest.mark.parametrize("event", ["email_opened", "email_clicked"])
def test_run_22_what_the_latest_mail_has_seen_counts(onward: Outside, event: str) -> None:  # RUN-22
    automation = onward.activate(flow(mail("m"), TAG, f"{{id: u, type: wait_until, event: {event}}}", TASK, head=TICK))
    ana = onward.customer()
    onward.emit("sign", ana["id"])
    a_pass()
    assert onward.execution(automation)["currentStepId"] == "tag"  # the wait is not reached yet
    [sent] = deliveries(onward)
    onward.emit(event, delivery=sent["id"])
    for _ in range(2):
        a_pass()
    run = onward.execution(automation)
    assert (run["runStatus"], run["currentStepId"]) == ("RUNNING", "task")


@pytest.mark.django_db(transaction=True)  # routing and parking must be transactions of their own
def test_run_22_any_other_event_must_come_after_the_wait_is_reached(onward: Outside) -> None:  # RUN-22
    automation = onward.activate(flow(mail("m"), TAG, UNTIL, TASK, head=TICK))
    ana = onward.customer()
    onward.emit("sign", ana["id"])
    a_pass()
    onward.emit("reply", ana["id"])
    for _ in range(2):
        a_pass()
    run = onward.execution(automation)
    assert (run["runStatus"], run["currentStepId"]) == ("WAITING_FOR_EVENT", "until")


@pytest.mark.parametrize(
    ("reentry", "while_parked", "afterwards"), [("always", 2, 3), ("one_at_a_time", 1, 2), ("once", 1, 1)]
)
def test_run_23_reentry(onward: Outside, reentry: str, while_parked: int, afterwards: int) -> None:  # RUN-23
    automation, ana = started(onward, flow(PAUSE, head=f"settings: {{reentry: {reentry}}}\n"))
    onward.emit("sign", ana["id"])
    onward.work()
    assert len(onward.executions(automation)) == while_parked
    onward.pass_time("+2d")
    assert {row["status"] for row in onward.executions(automation)} == {"completed"}
    onward.emit("sign", ana["id"])
    onward.work()
    assert len(onward.executions(automation)) == afterwards


def test_run_25_a_label_stands_in_the_log(onward: Outside) -> None:  # RUN-25
    split = "{id: s, name: did they upgrade yet?, type: condition, if: trigger.upgraded == true}"
    automation, _ = started(onward, flow(split, TASK), upgraded=True)
    assert [step["name"] for step in onward.execution(automation)["steps"]] == ["did they upgrade yet?", None]
