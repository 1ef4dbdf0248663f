"""Retries, fallbacks and failures against real receivers and mail servers: one test for each requirement of area ERR."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.api.outside import Outside
from tests.factories import make_customer
from tests.requirements.flows import BAD, PAUSE, TAG, TASK, a_pass, deliveries, enter, flow, hook, mail, started
from tests.worker.smtp_peer import Peer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock", "loopback")]
POLICY = "errorHandling: {retries: 3, retryDelay: 5m, backoffMultiplier: 2}\n"
NOTE = "{id: note, type: action, action: create_task, message: It failed}"


class Receiver:
    """Answers with the statuses in turn, then with the last one, and keeps the keys of what it got."""

    def __init__(self, server: HTTPServer) -> None:
        self.statuses = [200]
        self.keys: list[str] = []
        server.expect_request("/hook").respond_with_handler(self._answer)
        self.url = server.url_for("/hook")

    def _answer(self, request: Request) -> Response:
        self.keys.append(request.headers["Idempotency-Key"])
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return Response("{}", status, content_type="application/json")


@pytest.fixture
def receiver(httpserver: HTTPServer) -> Receiver:
    return Receiver(httpserver)


def calling(onward: Outside, receiver: Receiver, *steps: str, head: str = "", more: str = "") -> str:
    """A run that has just made its first call."""
    automation, _ = started(onward, flow(hook(receiver.url, more), *steps, head=head))
    onward.work(deliver=True)
    return automation


def test_err_01_three_retries_are_four_requests_with_one_key(onward: Outside, receiver: Receiver) -> None:  # ERR-01
    receiver.statuses = [503]
    automation = calling(onward, receiver, head=POLICY)
    for _ in range(6):
        onward.pass_time("+1h", deliver=True)
    assert (len(receiver.keys), len(set(receiver.keys))) == (4, 1)
    assert onward.execution(automation)["status"] == "failed"
    [delivery] = deliveries(onward)
    assert (delivery["state"], len(delivery["attempts"]), delivery["key"]) == ("FAILED", 4, receiver.keys[0])


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_err_01_so_many_retries_and_one_try(onward: Outside, receiver: Receiver, retries: int) -> None:  # ERR-01
    receiver.statuses = [500]
    calling(onward, receiver, head=f"errorHandling: {{retries: {retries}, retryDelay: 1m}}\n")
    for _ in range(4):
        onward.pass_time("+1h", deliver=True)
    assert len(receiver.keys) == 1 + retries


def test_err_02_the_first_retry_is_never_early(onward: Outside, receiver: Receiver) -> None:  # ERR-02
    receiver.statuses = [503]
    calling(onward, receiver, head=POLICY)
    onward.pass_time("+290s", deliver=True)
    assert len(receiver.keys) == 1
    onward.pass_time("+10s", deliver=True)
    assert len(receiver.keys) == 2


def test_err_03_the_waits_are_5_10_and_20_minutes(onward: Outside, receiver: Receiver) -> None:  # ERR-03
    receiver.statuses = [503]
    calling(onward, receiver, head=POLICY)
    counts = []
    for step in ("+4m", "+1m", "+9m", "+1m", "+19m", "+1m"):
        onward.pass_time(step, deliver=True)
        counts.append(len(receiver.keys))
    assert counts == [1, 2, 2, 3, 3, 4]
    [delivery] = deliveries(onward)
    times = [datetime.fromisoformat(attempt["at"]) for attempt in delivery["attempts"]]
    waits = [later - earlier for earlier, later in pairwise(times)]
    for wait, minutes in zip(waits, (5, 10, 20), strict=True):
        assert timedelta(minutes=minutes) <= wait < timedelta(minutes=minutes, seconds=30)


def test_err_04_success_on_a_retry_goes_on_as_usual(onward: Outside, receiver: Receiver) -> None:  # ERR-04
    receiver.statuses = [503, 200]
    automation = calling(onward, receiver, TASK, head=POLICY)
    onward.pass_time("+5m", deliver=True)
    run = onward.execution(automation)
    found = [(step["stepId"], step["attempt"], step["status"]) for step in run["steps"]]
    assert found == [("call", 1, "failed"), ("call", 2, "succeeded"), ("task", 1, "succeeded")]
    assert (run["status"], onward.tasks()) == ("completed", ["Look"])


def test_err_05_the_fallback_runs_once_when_retries_are_used_up(onward: Outside, receiver: Receiver) -> None:  # ERR-05
    receiver.statuses = [503]
    more = f", errorHandling: {{retries: 1, retryDelay: 5m}}, onError: [{NOTE}]"
    automation = calling(onward, receiver, more=more)
    assert onward.tasks() == []
    onward.pass_time("+5m", deliver=True)
    onward.pass_time("+1h", deliver=True)
    assert (onward.tasks(), len(receiver.keys)) == (["It failed"], 2)
    assert onward.execution(automation)["status"] == "completed"


ASK = """
name: Written
trigger: {type: event, event: sign}
steps:
  - type: action
    action: send_email
    template: welcome
    to: "{{customer.email}}"
    onError:
      - type: action
        action: create_task
        assignee: "{{trigger.accountOwner}}"
        message: "Email failed to send"
"""


def test_err_06_a_failed_mail_becomes_a_task_for_the_owner(onward: Outside, gateway: Peer) -> None:  # ERR-06
    gateway.rcpt = ["550 no such user"]
    started(onward, ASK, accountOwner="mara@northwind.example")
    onward.work(deliver=True)
    [task] = onward.api.get("/tasks").json()["tasks"]
    assert (task["message"], task["assignee"]) == ("Email failed to send", "mara@northwind.example")
    assert gateway.messages == []


@pytest.mark.parametrize(("fallback", "status", "walked"), [(True, "completed", 3), (False, "failed", 1)])
def test_err_07_with_and_without_a_fallback(
    onward: Outside, receiver: Receiver, fallback: bool, status: str, walked: int
) -> None:  # ERR-07
    receiver.statuses = [400]
    automation = calling(onward, receiver, TASK, more=f", onError: [{NOTE}]" if fallback else "")
    run = onward.execution(automation)
    assert (run["status"], len(run["steps"])) == (status, walked)
    assert onward.tasks() == (["It failed", "Look"] if fallback else [])
    assert (run["error"] is None) is fallback
    if not fallback:
        assert (run["runStatus"], run["endReason"], run["error"]["code"]) == ("FAILED", "failed", "http_status")


def test_err_08_a_failing_fallback_ends_the_run_with_both_errors(onward: Outside, receiver: Receiver) -> None:  # ERR-08
    receiver.statuses = [400]
    automation = calling(onward, receiver, TASK, head=POLICY, more=f", onError: [{BAD}]")
    onward.pass_time("+1d", deliver=True)
    run = onward.execution(automation)
    assert (run["status"], onward.tasks()) == ("failed", [])
    assert [(step["stepId"], step["fallback"]) for step in run["steps"]] == [("call", False), ("bad", True)]
    assert all(step["error"]["message"] for step in run["steps"])
    assert run["steps"][0]["error"]["code"] != run["steps"][1]["error"]["code"]


def test_err_08_the_fallback_is_not_retried_by_the_automations_settings(
    onward: Outside, receiver: Receiver
) -> None:  # ERR-08
    receiver.statuses = [503]
    automation, _ = started(onward, flow(BAD.replace("}'}", "}', onError: [" + hook(receiver.url) + "]}"), head=POLICY))
    onward.work(deliver=True)
    onward.pass_time("+1d", deliver=True)
    assert (len(receiver.keys), onward.execution(automation)["status"]) == (1, "failed")


def test_err_08_unless_it_has_settings_of_its_own(onward: Outside, receiver: Receiver) -> None:  # ERR-08
    receiver.statuses = [503, 200]
    own = hook(receiver.url, ", errorHandling: {retries: 2, retryDelay: 1m}")
    automation, _ = started(onward, flow(BAD.replace("}'}", "}', onError: [" + own + "]}")))
    onward.work(deliver=True)
    onward.pass_time("+1m", deliver=True)
    assert (len(receiver.keys), onward.execution(automation)["status"]) == (2, "completed")


@pytest.mark.parametrize(("own", "tries"), [(", errorHandling: {retries: 0}", 1), ("", 4)])
def test_err_09_the_step_overrides_the_automation(
    onward: Outside, receiver: Receiver, own: str, tries: int
) -> None:  # ERR-09
    receiver.statuses = [503]
    automation = calling(onward, receiver, head=POLICY, more=own)
    for _ in range(5):
        onward.pass_time("+1h", deliver=True)
    assert (len(receiver.keys), onward.execution(automation)["status"]) == (tries, "failed")


def test_err_10_an_invalid_recipient_is_tried_once(onward: Outside, gateway: Peer) -> None:  # ERR-10
    gateway.rcpt = ["550 no such user"]
    automation, _ = started(onward, flow(mail("m", f", onError: [{NOTE}]"), head=POLICY))
    onward.work(deliver=True)
    onward.pass_time("+1d", deliver=True)
    [delivery] = deliveries(onward)
    assert (delivery["state"], len(delivery["attempts"])) == ("FAILED", 1)
    assert (onward.steps(automation), onward.tasks()) == (["m", "note"], ["It failed"])


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (401, 1), (404, 1), (422, 1), (429, 4), (500, 4), (503, 4)])
def test_err_10_what_repetition_cannot_mend_is_not_repeated(
    onward: Outside, receiver: Receiver, status: int, tries: int
) -> None:  # ERR-10
    receiver.statuses = [status]
    calling(onward, receiver, head=POLICY)
    for _ in range(4):
        onward.pass_time("+1h", deliver=True)
    assert len(receiver.keys) == tries


def test_err_11_an_error_stays_in_its_run(onward: Outside) -> None:  # ERR-11
    automation = onward.activate(flow(PAUSE, "{id: x, type: action, action: add_tag, tag: '{{trigger.tag}}'}"))
    people = [make_customer(onward.workspace) for _ in range(10)]
    for number, person in enumerate(people):
        onward.emit("sign", person.public_id, payload={} if number == 4 else {"tag": "fine"})
    onward.work()
    from accounts.clock import set_clock

    set_clock("+2d")
    a_pass()
    rows = onward.executions(automation)
    assert sorted(row["status"] for row in rows) == ["completed"] * 9 + ["failed"]
    [failed] = [row for row in rows if row["status"] == "failed"]
    assert (failed["profileId"], failed["error"]["message"] != "") == (people[4].public_id, True)


def test_err_11_a_later_run_of_the_same_automation_is_not_touched(onward: Outside) -> None:  # ERR-11
    automation, _ = started(onward, flow(TAG.replace("done", "'{{trigger.tag}}'")))
    good = enter(onward, tag="fine")
    assert {row["profileId"]: row["status"] for row in onward.executions(automation)}[good["id"]] == "completed"
    assert [row["status"] for row in onward.executions(automation)] == ["completed", "failed"]
