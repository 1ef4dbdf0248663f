"""Versions of automations, tried from outside: one test for each requirement of area VER."""

from __future__ import annotations

import pytest

from automations.models import Delivery
from tests.api.outside import YAML, Outside
from tests.requirements.flows import MAIL, PARKED, PAUSE, TAG, TASK, enter, flow, publish, started

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def states(onward: Outside, automation: str) -> dict[int, str]:
    rows = onward.api.get(f"/automations/{automation}/versions").json()["versions"]
    return {row["number"]: row["state"] for row in rows}


def test_ver_01_a_draft_is_work_in_progress(onward: Outside) -> None:  # VER-01
    automation = onward.activate(flow(TAG))
    onward.api.put(f"/automations/{automation}/draft", flow(TASK), content_type=YAML)
    assert states(onward, automation) == {1: "active", 2: "draft"}
    enter(onward)
    assert (onward.steps(automation), onward.tasks()) == (["tag"], [])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ver_02_at_most_one_version_is_active(onward: Outside, count: int) -> None:  # VER-02
    automation = onward.activate(flow(TAG))
    for number in range(1, count):
        publish(onward, automation, flow(TAG, TASK.replace("Look", f"Look {number}")))
    found = states(onward, automation)
    assert len(found) == count
    assert [number for number, state in found.items() if state == "active"] == [count]


def test_ver_02_none_is_active_while_none_ever_was(onward: Outside) -> None:  # VER-02
    made = onward.make(flow(TAG))
    assert (states(onward, made["id"]), made["state"]) == ({1: "draft"}, "DRAFT")


def test_ver_03_the_one_before_becomes_inactive(onward: Outside) -> None:  # VER-03
    automation = onward.activate(flow(TAG))
    publish(onward, automation, flow(TASK))
    assert states(onward, automation) == {1: "inactive", 2: "active"}


def test_ver_04_an_upgrade_does_not_disturb_the_run_before_it(onward: Outside) -> None:  # VER-04
    automation, first = started(onward, flow(PAUSE, TASK))
    publish(onward, automation, flow(TAG))
    second = enter(onward)
    onward.pass_time("+2d")
    walked = {
        row["profileId"]: [step["stepId"] for step in onward.api.get(f"/executions/{row['id']}").json()["steps"]]
        for row in onward.executions(automation)
    }
    assert walked == {first["id"]: ["pause", "task"], second["id"]: ["tag"]}


def test_ver_05_all_versions_are_listed_and_each_can_be_read(onward: Outside) -> None:  # VER-05
    automation = onward.activate(flow(TAG, name="One"))
    publish(onward, automation, flow(TASK, name="Two"))
    onward.api.put(f"/automations/{automation}/draft", flow(PAUSE, name="Three"), content_type=YAML)
    rows = onward.api.get(f"/automations/{automation}/versions").json()["versions"]
    assert sorted((row["number"], row["state"]) for row in rows) == [(1, "inactive"), (2, "active"), (3, "draft")]
    assert all({"author", "activatedAt"} <= set(row) for row in rows)
    assert [row["activatedAt"] is not None for row in sorted(rows, key=lambda row: row["number"])] == [
        True,
        True,
        False,
    ]
    names = [
        onward.api.get(f"/automations/{automation}/versions/{number}").json()["definition"]["nodes"][0]["id"]
        for number in (1, 2, 3)
    ]
    assert names == ["tag", "task", "pause"]


def test_ver_06_restoring_makes_a_draft_and_changes_nothing_that_runs(onward: Outside) -> None:  # VER-06
    automation, _ = started(onward, flow(PAUSE, TASK))
    publish(onward, automation, flow(TAG))
    answer = onward.api.post(f"/automations/{automation}/versions/1/restore")
    assert answer.status_code == 201
    first = onward.api.get(f"/automations/{automation}/versions/1").json()["definition"]
    assert answer.json()["definition"]["nodes"] == first["nodes"]
    assert states(onward, automation) == {1: "inactive", 2: "active", 3: "draft"}
    assert [row["version"] for row in onward.executions(automation)] == [1]
    enter(onward)
    assert [row["version"] for row in onward.executions(automation)] == [2, 1]
    onward.api.post(f"/automations/{automation}/activate")
    enter(onward)
    assert [row["version"] for row in onward.executions(automation)] == [3, 2, 1]
    assert onward.executions(automation)[0]["currentStepId"] == "pause"


def test_ver_07_an_inactive_version_is_not_put_in_force_again(onward: Outside) -> None:  # VER-07
    automation = onward.activate(flow(TAG))
    publish(onward, automation, flow(TASK))
    refused = onward.api.post(f"/automations/{automation}/activate")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert "restore" in refused.json()["message"]
    direct = onward.api.post(f"/automations/{automation}/versions/1/activate")
    assert direct.status_code == 404  # there is no such operation
    assert states(onward, automation) == {1: "inactive", 2: "active"}


@pytest.mark.parametrize("drafted", [False, True])
@pytest.mark.parametrize("rest", [{}, {"preview": True}, {"enrolExisting": True}, {"runs": "cancel"}])
def test_ver_07_an_inactive_version_asked_for_by_its_number(  # VER-07; CONTRACTS 1, version_inactive
    onward: Outside, rest: dict[str, object], drafted: bool
) -> None:
    automation = onward.activate(flow(TAG))
    publish(onward, automation, flow(TASK))
    if drafted:
        onward.api.put(f"/automations/{automation}/draft", flow(PAUSE), content_type=YAML)
    before = states(onward, automation)
    refused = onward.api.post(f"/automations/{automation}/activate", {"version": 1, **rest})
    assert (refused.status_code, refused.json()["code"]) == (409, "version_inactive")
    assert "restore it" in refused.json()["message"]
    assert refused.json()["details"] == {"version": 1, "activeVersion": 2}
    assert states(onward, automation) == before


def test_ver_07_the_number_guards_what_is_put_in_force(onward: Outside) -> None:  # VER-07
    automation = onward.activate(flow(TAG))
    path = f"/automations/{automation}/activate"
    onward.api.put(f"/automations/{automation}/draft", flow(TASK), content_type=YAML)
    active = onward.api.post(path, {"version": 1})
    assert (active.status_code, active.json()["code"]) == (409, "wrong_state")
    assert onward.api.post(path, {"version": 3}).status_code == 404
    for wrong in (0, "x", 2**31):
        assert onward.api.post(path, {"version": wrong}).status_code == 422
    assert states(onward, automation) == {1: "active", 2: "draft"}
    assert onward.api.post(path, {"version": 2}).status_code == 200
    assert states(onward, automation) == {1: "inactive", 2: "active"}
    assert onward.api.post(path, {"version": 2, "enrolExisting": True}).status_code == 200  # goes on enrolling


def test_ver_08_a_change_goes_to_a_draft(onward: Outside) -> None:  # VER-08
    automation = onward.activate(flow(TAG))
    before = onward.api.get(f"/automations/{automation}/versions/1").json()
    for text in (flow(TASK), flow(PAUSE)):
        answer = onward.api.put(f"/automations/{automation}/draft", text, content_type=YAML)
        assert answer.status_code == 200
    assert onward.api.get(f"/automations/{automation}/versions/1").json() == before
    assert states(onward, automation) == {1: "active", 2: "draft"}
    nodes = onward.api.get(f"/automations/{automation}/draft").json()["definition"]["nodes"]
    assert [node["id"] for node in nodes] == ["pause"]


@pytest.mark.parametrize("method", ["put", "patch", "delete", "post"])
def test_ver_08_no_request_changes_a_version(onward: Outside, method: str) -> None:  # VER-08
    automation = onward.activate(flow(TAG))
    address = f"/automations/{automation}/versions/1"
    before = onward.api.get(address).json()
    assert getattr(onward.api, method)(address, {"definition": {}}).status_code == 405
    assert onward.api.get(address).json() == before


def test_ver_09_each_run_names_its_version(onward: Outside) -> None:  # VER-09
    automation, first = started(onward, "name: V\ntrigger: {type: event, event: sign}\n" + PARKED)
    publish(onward, automation, flow(TAG))
    second = enter(onward)
    found = {row["profileId"]: row["version"] for row in onward.executions(automation)}
    assert found == {first["id"]: 1, second["id"]: 2}
    assert [onward.api.get(f"/executions/{row['id']}").json()["version"] for row in onward.executions(automation)] == [
        2,
        1,
    ]


def test_ver_10_a_test_shows_results_and_does_nothing(onward: Outside) -> None:  # VER-10
    call = "{id: call, type: action, action: send_webhook, url: 'https://receiver.example/hook'}"
    made = onward.make(flow(MAIL, call, PAUSE, TAG, TASK))
    answer = onward.api.post(f"/automations/{made['id']}/test", {"payload": {"seats": 4}})
    assert answer.status_code == 200, answer.content
    assert [step["stepId"] for step in answer.json()["steps"]] == ["mail", "call", "pause", "tag", "task"]
    assert answer.json()["steps"][0]["rendered"][0]["subject"] == "Hello"
    assert (onward.tasks(), Delivery.objects.count()) == ([], 0)
    assert onward.api.get("/executions").json()["executions"] == []
    assert onward.api.get(f"/automations/{made['id']}").json()["state"] == "DRAFT"
