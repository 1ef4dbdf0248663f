"""Executions over REST: one test for each requirement EXE-08 to 20."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from accounts.clock import evaluation_now
from tests.api.outside import YAML, Outside
from tests.billing.helpers import make_invoice
from tests.factories import ApiClient, make_api_client, make_customer, make_workspace
from tests.requirements.flows import BAD, PAUSE, TAG, TASK, UNTIL, enter, flow, started

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
RECEIPT = flow(
    TAG, "{id: seg, type: action, action: update_customer, fields: {segment: payer}}", TASK, event="invoice.paid"
)


@pytest.fixture
def paid(onward: Outside) -> dict[str, Any]:
    """The execution of a three-step automation on `invoice.paid`, as the list shows it."""
    automation = onward.activate(RECEIPT)
    invoice = make_invoice(make_customer(onward.workspace))
    assert onward.api.post(f"/invoices/{invoice.public_id}/pay").status_code == 200
    onward.work()
    [row] = onward.executions(automation)
    return row


def test_exe_08_an_automations_executions(onward: Outside) -> None:  # EXE-08
    automation, other = onward.activate(flow(TAG)), onward.activate(flow(TASK, event="else"))
    enter(onward), enter(onward), enter(onward, "else")
    answer = onward.api.get(f"/automations/{automation}/executions")
    assert (answer.status_code, len(answer.json()["executions"])) == (200, 2)
    assert {row["automationId"] for row in answer.json()["executions"]} == {automation} != {other}


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("ow_wrong_wrong", 401), ("nonsense", 401), ("right", 200)])
def test_exe_09_a_key_is_needed(onward: Outside, key: str | None, status: int) -> None:  # EXE-09
    automation = onward.activate(flow(TAG))
    client = onward.api if key == "right" else ApiClient(key)
    assert client.get(f"/automations/{automation}/executions").status_code == status


def test_exe_09_a_foreign_key_finds_nothing(onward: Outside) -> None:  # EXE-09
    automation, _ = started(onward, flow(TAG))
    foreign = make_api_client(make_workspace())
    for path in (f"/automations/{automation}/executions", f"/executions/{onward.execution(automation)['id']}"):
        assert (foreign.get(path).status_code, foreign.get(path).json()["code"]) == (404, "not_found")


def test_exe_10_an_id_with_its_prefix(paid: dict[str, Any]) -> None:  # EXE-10
    assert re.fullmatch(r"exec_\d+", paid["id"])


def test_exe_11_completed(paid: dict[str, Any]) -> None:  # EXE-11
    assert paid["status"] == "completed"


def test_exe_12_triggered_by_the_name_of_the_event(paid: dict[str, Any]) -> None:  # EXE-12
    assert paid["triggeredBy"] == "invoice.paid"


@pytest.mark.parametrize("field", ["triggeredAt", "completedAt"])
def test_exe_13_and_14_times_in_utc(paid: dict[str, Any], field: str) -> None:  # EXE-13, EXE-14
    assert ISO.fullmatch(paid[field])
    assert abs(datetime.fromisoformat(paid[field]) - evaluation_now()) < timedelta(minutes=1)


def test_exe_14_null_while_running(onward: Outside) -> None:  # EXE-14
    automation, _ = started(onward, flow(PAUSE))
    assert (onward.execution(automation)["completedAt"], onward.execution(automation)["status"]) == (None, "running")


def test_exe_15_the_number_of_steps(paid: dict[str, Any]) -> None:  # EXE-15
    assert paid["stepsExecuted"] == 3


def test_exe_16_within_seconds(paid: dict[str, Any]) -> None:  # EXE-16
    begun, ended = (datetime.fromisoformat(paid[name]) for name in ("triggeredAt", "completedAt"))
    assert timedelta(0) <= ended - begun <= timedelta(seconds=5)
    assert (paid["status"], paid["stepsExecuted"]) == ("completed", 3)


CASES = [
    (flow(PAUSE), "running", "RUNNING"),
    (flow(UNTIL), "running", "WAITING_FOR_EVENT"),
    (flow(TAG), "completed", "COMPLETED"),
    (flow(BAD), "failed", "FAILED"),
]


@pytest.mark.parametrize(("text", "status", "exact"), CASES)
def test_exe_17_two_names_of_a_state(onward: Outside, text: str, status: str, exact: str) -> None:  # EXE-17
    automation, _ = started(onward, text)
    assert [(row["status"], row["runStatus"]) for row in onward.executions(automation)] == [(status, exact)]


def test_exe_17_cancelled(onward: Outside) -> None:  # EXE-17
    automation, _ = started(onward, flow(PAUSE))
    answer = onward.api.post(f"/executions/{onward.execution(automation)['id']}/cancel")
    assert (answer.json()["status"], answer.json()["runStatus"]) == ("cancelled", "CANCELLED")


def many(onward: Outside, count: int, failing: int) -> str:
    """An automation with so many runs, the first of which failed."""
    check = "{id: c, type: condition, if: trigger.bad == true, then: [" + BAD + "]}"
    automation = onward.activate(flow(check))
    people = [make_customer(onward.workspace) for _ in range(count)]
    events = [
        {"name": "sign", "customer": person.public_id, "payload": {"bad": number < failing}}
        for number, person in enumerate(people)
    ]
    assert onward.api.post("/events", {"events": events}).status_code == 202
    onward.work()
    return automation


def test_exe_18_filtered_and_paged(onward: Outside) -> None:  # EXE-18
    automation = many(onward, 60, 30)
    page = onward.api.get(f"/executions?status=failed&automation={automation}&limit=25").json()
    assert (len(page["executions"]), page["nextCursor"] is not None) == (25, True)
    rest = onward.api.get(f"/executions?status=failed&automation={automation}&cursor={page['nextCursor']}").json()
    assert (len(rest["executions"]), rest["nextCursor"]) == (5, None)
    found = page["executions"] + rest["executions"]
    assert {row["status"] for row in found} == {"failed"}
    assert len({row["id"] for row in found}) == 30


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=failed", 1),
        ("status=FAILED", 1),
        ("status=success", 2),
        ("status=running", 0),
        ("from=2001-01-01", 3),
        ("from=2990-01-01", 0),
        ("to=2001-01-01", 0),
        ("automation=auto_999999", 0),
    ],
)
def test_exe_18_by_status_time_and_automation(onward: Outside, query: str, count: int) -> None:  # EXE-18
    many(onward, 3, 1)
    assert len(onward.api.get(f"/executions?{query}").json()["executions"]) == count


def test_exe_19_all_that_a_key_can_do(onward: Outside) -> None:  # EXE-19
    api, manual = onward.api, f"name: M\ntrigger: {{type: manual}}\nsteps: [{TAG}]"
    made = api.post("/automations", manual, content_type=YAML)  # create
    address = f"/automations/{made.json()['id']}"
    read = api.get(address)
    saved = api.put(
        f"{address}/draft", manual.replace("add_tag, tag: done", "create_task, message: T"), content_type=YAML
    )
    checked = api.post(f"{address}/validate")
    tried = api.post(f"{address}/test")
    active = api.post(f"{address}/activate")
    paused = api.post(f"{address}/pause")
    resumed = api.post(f"{address}/resume")
    ran = api.post(f"{address}/trigger", {"customer": onward.customer()["id"]})
    answers = [made, read, saved, checked, tried, active, paused, resumed, ran]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 200, 200, 200, 201]
    assert (read.json()["state"], checked.json()["valid"], tried.json()["status"]) == ("DRAFT", True, "completed")
    later = [active.json()["state"], paused.json()["automation"]["state"], resumed.json()["automation"]["state"]]
    assert later == ["ACTIVE", "PAUSED", "ACTIVE"]
    onward.work()
    assert (onward.tasks(), onward.execution(made.json()["id"])["triggeredBy"]) == (["T"], "manual")


def test_exe_20_one_execution_with_its_log(onward: Outside, paid: dict[str, Any]) -> None:  # EXE-20
    found = onward.api.get(f"/executions/{paid['id']}").json()
    assert [step["stepId"] for step in found["steps"]] == ["tag", "seg", "task"]
    for step in found["steps"]:
        assert {"name", "startedAt", "endedAt", "status", "input", "output", "error"} <= set(step)
        assert (step["status"], ISO.fullmatch(step["startedAt"]) is not None) == ("succeeded", True)
    assert onward.api.get(f"/executions/{paid['id']}/steps").json()["steps"] == found["steps"]
    assert {name: found[name] for name in paid} == paid


def test_exe_20_an_error_stands_at_its_step(onward: Outside) -> None:  # EXE-20
    automation, _ = started(onward, flow(TAG, BAD))
    steps = onward.execution(automation)["steps"]
    assert [(step["status"], step["error"] is None) for step in steps] == [("succeeded", True), ("failed", False)]
    assert steps[1]["error"]["message"]
    assert onward.execution(automation)["error"]["code"] == steps[1]["error"]["code"]
