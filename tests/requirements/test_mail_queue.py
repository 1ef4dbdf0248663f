"""The queue of e-mails: one test for each requirement EML-01 to 05 and 08; and suppression, SUP-01, 05, 07 and 09."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.actor import system_actor
from accounts.services.consent import record_consent
from tests.api.outside import YAML, Outside
from tests.requirements.flows import (
    PAUSE,
    TASK,
    a_pass,
    deliveries,
    flow,
    mail,
    mail_job,
    started,
)
from tests.worker.smtp_peer import Peer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
NOTE = "{id: note, type: action, action: create_task, message: It failed}"


def unsubscribe(onward: Outside, customer: dict[str, Any]) -> None:
    """As the link in a mail does it."""
    record_consent(actor=system_actor(onward.workspace.pk), address=customer["email"], state="unsubscribed")


def test_eml_01_a_row_is_queued(onward: Outside) -> None:  # EML-01
    step = "{id: m, type: action, action: send_email, subject: 'Hi {{customer.name}}', body: '<p>Dear {{customer.name}}</p>'}"
    automation = onward.activate(flow(step))
    ana = onward.customer(name="Ana")
    onward.emit("sign", ana["id"])
    a_pass()
    [row] = deliveries(onward)
    shown = onward.api.get(f"/deliveries/{row['id']}").json()
    assert (shown["kind"], shown["state"], shown["to"]) == ("email", "QUEUED", ana["email"])
    assert (shown["executionId"], shown["stepId"]) == (onward.execution(automation)["id"], "m")
    assert (shown["subject"], "Dear Ana" in shown["body"]) == ("Hi Ana", True)


def test_eml_02_the_mail_job_hands_it_over(onward: Outside, gateway: Peer) -> None:  # EML-02
    _, ana = started(onward, flow(mail("Hello")))
    assert mail_job() == 1
    [message] = gateway.messages
    assert (message["To"], message["Subject"]) == (ana["email"], "Hello")
    [row] = deliveries(onward)
    assert (row["state"], row["sentAt"] is not None) == ("SENT", True)
    assert (mail_job(), len(gateway.messages)) == (0, 1)


def test_eml_03_the_step_does_not_wait_for_the_gateway(onward: Outside, settings: Any) -> None:  # EML-03
    settings.ONWARD_SMTP_URL = "smtp://127.0.0.1:9"  # nobody listens there
    automation, _ = started(onward, flow(mail("m"), PAUSE, TASK))
    run = onward.execution(automation)
    assert (run["currentStepId"], run["steps"][0]["status"]) == ("pause", "succeeded")
    mail_job()
    assert onward.execution(automation)["currentStepId"] == "pause"
    assert deliveries(onward)[0]["state"] == "QUEUED"  # tried, and to be tried again


def test_eml_03_with_a_fallback_it_waits_for_the_hand_over(onward: Outside, gateway: Peer) -> None:  # EML-03, C-45
    automation, _ = started(onward, flow(mail("m", f", onError: [{NOTE}]"), TASK))
    run = onward.execution(automation)
    assert (run["currentStepId"], run["runStatus"], onward.tasks()) == ("m", "RUNNING", [])
    mail_job()
    onward.work()
    assert (onward.steps(automation), onward.tasks()) == (["m", "task"], ["Look"])


@pytest.mark.parametrize("event", ["email_opened", "email_clicked"])
def test_eml_04_a_wait_follows_the_mail(onward: Outside, gateway: Peer, event: str) -> None:  # EML-04
    automation, _ = started(onward, flow(mail("m"), f"{{id: u, type: wait_until, event: {event}}}", TASK))
    mail_job()
    onward.pass_time("+20d")
    assert onward.execution(automation)["runStatus"] == "WAITING_FOR_EVENT"
    onward.emit(event, delivery=deliveries(onward)[0]["id"])
    onward.work()
    assert onward.steps(automation) == ["m", "u", "task"]


def test_eml_05_only_verified_senders_are_offered(onward: Outside) -> None:  # EML-05
    made = onward.api.post("/senders", {"address": "news@elsewhere.example", "name": "News"})
    assert (made.status_code, made.json()["verified"]) == (201, False)
    offered = onward.api.get("/senders?verified=true").json()["senders"]
    assert [sender["verified"] for sender in offered] == [True]
    for sender, fine in ((made.json(), False), (offered[0], True)):
        text = flow(mail("m", f", sender: '{sender['address']}'"))
        draft = onward.api.post("/automations", text, content_type=YAML).json()
        answer = onward.api.post(f"/automations/{draft['id']}/activate")
        assert (answer.status_code == 200) is fine, answer.content
        if not fine:
            assert answer.json()["code"] == "invalid_definition"
            assert "news@elsewhere.example" in answer.content.decode()


def test_eml_08_passes_of_the_automation_job_send_nothing(onward: Outside, gateway: Peer) -> None:  # EML-08
    started(onward, flow(mail("one"), "{id: d, type: delay, duration: 1d}", mail("two")))
    for step in ("+1d", "+1d"):
        onward.pass_time(step)
        a_pass()
    assert ({row["state"] for row in deliveries(onward)}, gateway.connections) == ({"QUEUED"}, 0)
    mail_job()
    assert len(gateway.messages) == 2


@pytest.mark.parametrize("step", [PAUSE, "{id: u, type: wait_until, event: reply}"])
def test_sup_01_a_parked_run_is_cancelled_at_once(onward: Outside, step: str) -> None:  # SUP-01
    automation, ana = started(onward, flow(step, TASK))
    unsubscribe(onward, ana)
    run = onward.execution(automation)  # without a pass
    assert (run["runStatus"], run["endReason"], run["nextStepAt"]) == ("CANCELLED", "unsubscribed", None)
    onward.emit("reply", ana["id"])
    onward.pass_time("+10d")
    assert onward.tasks() == []


def test_sup_01_a_transactional_run_goes_on_without_mail(onward: Outside, gateway: Peer) -> None:  # SUP-01, C-15
    automation, ana = started(onward, flow(PAUSE, mail("m"), TASK, head="settings: {transactional: true}\n"))
    unsubscribe(onward, ana)
    assert onward.execution(automation)["runStatus"] == "RUNNING"
    onward.pass_time("+2d", deliver=True)
    assert (onward.tasks(), gateway.messages) == (["Look"], [])
    assert [row["state"] for row in deliveries(onward)] == ["SUPPRESSED"]


def test_sup_05_a_pause_that_cancels(onward: Outside) -> None:  # SUP-05
    automation = onward.activate(flow(PAUSE, TASK))
    for _ in range(3):
        onward.emit("sign", onward.customer()["id"])
    onward.work()
    answer = onward.api.post(f"/automations/{automation}/pause", {"inFlight": "cancel"}).json()
    assert answer["runs"] == {"unfinished": 0, "cancelled": 3, "held": 0}
    assert {row["runStatus"] for row in onward.executions(automation)} == {"CANCELLED"}


@pytest.mark.parametrize("transactional", ["true", "false"])
def test_sup_07_a_queued_mail_is_not_sent(onward: Outside, gateway: Peer, transactional: str) -> None:  # SUP-07
    _, ana = started(onward, flow(mail("m"), PAUSE, head=f"settings: {{transactional: {transactional}}}\n"))
    assert deliveries(onward)[0]["state"] == "QUEUED"
    unsubscribe(onward, ana)
    mail_job()
    assert ([row["state"] for row in deliveries(onward)], gateway.messages) == (["SUPPRESSED"], [])


def test_sup_07_of_a_completed_run_too(onward: Outside, gateway: Peer) -> None:  # SUP-07
    automation, ana = started(onward, flow(mail("m")))
    assert onward.execution(automation)["status"] == "completed"
    unsubscribe(onward, ana)
    mail_job()
    assert ([row["state"] for row in deliveries(onward)], gateway.messages) == (["SUPPRESSED"], [])


@pytest.mark.parametrize("moment", ["before queuing", "before sending"])
def test_sup_09_suppression_is_asked_twice(onward: Outside, gateway: Peer, moment: str) -> None:  # SUP-09
    onward.activate(flow(mail("m")))
    ana = onward.customer()
    if moment == "before queuing":
        unsubscribe(onward, ana)
    onward.emit("sign", ana["id"])
    a_pass()
    if moment == "before sending":
        assert deliveries(onward)[0]["state"] == "QUEUED"
        unsubscribe(onward, ana)
    mail_job()
    assert ([row["state"] for row in deliveries(onward)], gateway.messages) == (["SUPPRESSED"], [])
