"""Actions, tried from outside (ACT-01, 04, 05, 06, 09, 10, 11, 37)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook

from automations.worker.deliver import deliver_batch
from tests.api.outside import Outside
from tests.requirements.flows import deliveries, enter, flow, read_customer
from tests.requirements.shop import call_up, issued, manual, on, post, read, say, settle_up, visit_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


@pytest.mark.parametrize("to", ["", ", to: team@example.com"])
def test_act_01_a_templated_mail_to_the_recipient(onward: Outside, to: str) -> None:  # ACT-01
    text = {"slug": "welcome_note", "subject": "Welcome {{customer.name}}", "body": "<p>Plan: {{customer.plan}}</p>"}
    post(onward, "/email-templates", text)
    onward.activate(flow(f"{{type: action, action: send_email, template: welcome_note{to}}}"))
    ana = onward.customer(name="Ana", plan="pro")
    onward.emit("sign", ana["id"])
    onward.work()
    [row] = deliveries(onward)
    assert (row["state"], row["subject"]) == ("QUEUED", "Welcome Ana")
    assert row["to"] == ("team@example.com" if to else ana["email"])
    assert "<p>Plan: pro</p>" in read(onward, f"/deliveries/{row['id']}")["body"]


def hooked(onward: Outside, server: HTTPServer, status: int) -> tuple[str, dict[str, Any]]:
    """A run that called a receiver, which answered with a status."""
    server.expect_request("/hook").respond_with_data("{}", status=status)
    automation = onward.activate(
        flow(f"{{id: call, type: action, action: send_webhook, url: '{server.url_for('/hook')}'}}")
    )
    customer = enter(onward, order="A-17")
    onward.work(deliver=True)
    return automation, customer


@pytest.mark.usefixtures("loopback")
def test_act_04_the_receiver_gets_one_signed_request(onward: Outside, httpserver: HTTPServer) -> None:  # ACT-04
    automation, customer = hooked(onward, httpserver, 200)
    [(request, _)] = httpserver.log
    headers = {name.lower(): value for name, value in request.headers.items()}
    data = Webhook(read(onward, "/workspace")["webhookSecret"]).verify(request.get_data(), headers)["data"]
    found = onward.execution(automation)
    assert (data["execution"], data["automation"], data["step"]) == (found["id"], automation, "call")
    assert data["customer"]["id"] == customer["id"]
    assert data["trigger"]["order"] == "A-17"
    assert (found["status"], visit_of(onward, automation, "call")["output"]["status"]) == ("completed", 200)


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("status", [400, 404, 410])
def test_act_04_another_answer_is_a_failed_step(onward: Outside, httpserver: HTTPServer, status: int) -> None:
    # ACT-04
    automation, _ = hooked(onward, httpserver, status)
    found = onward.execution(automation)
    assert (found["status"], visit_of(onward, automation, "call")["status"]) == ("failed", "failed")
    assert str(status) in json.dumps(found["error"])


CARDS = [
    ("card_ok", "paid", ["payment.succeeded"], "paid"),
    ("card_decline_soft", "open", ["payment.failed"], "declined"),
    ("card_decline_hard", "open", ["payment.failed"], "declined"),
]


@pytest.mark.django_db(transaction=True)  # the charge is made on connections of its own
@pytest.mark.parametrize(("card", "status", "events", "result"), CARDS)
def test_act_05_a_payment_is_tried_again(
    onward: Outside, card: str, status: str, events: list[str], result: str
) -> None:  # ACT-05
    automation = onward.activate(manual("{id: again, type: action, action: retry_payment}"))
    ana = onward.customer()
    post(onward, f"/customers/{ana['id']}/payment-methods", {"card": card, "default": True})
    invoice = issued(onward, ana, autoAdvance=False)
    call_up(onward, automation, invoice=invoice["id"])
    onward.work()
    deliver_batch(kinds=["charge"])
    onward.work()
    assert read(onward, f"/invoices/{invoice['id']}")["status"] == status
    names = [row["name"] for row in onward.api.get("/events?limit=100").json()["events"]]
    assert [name for name in names if name.startswith("payment.")] == events
    output = visit_of(onward, automation, "again")["output"]
    assert output["result"] == result
    assert bool(output.get("failureReason")) is (result == "declined")


@pytest.mark.parametrize("paid", [False, True])
def test_act_06_an_open_invoice_is_voided_and_a_paid_one_is_not(onward: Outside, paid: bool) -> None:  # ACT-06
    automation = onward.activate(manual("{id: waive, type: action, action: void_invoice, reason: Goodwill}"))
    invoice = issued(onward, onward.customer())
    if paid:
        settle_up(onward, invoice)
    call_up(onward, automation, invoice=invoice["id"])
    onward.work()
    row = visit_of(onward, automation, "waive")
    assert read(onward, f"/invoices/{invoice['id']}")["status"] == ("paid" if paid else "void")
    assert row["status"] == ("failed" if paid else "succeeded")
    if paid:
        assert "paid" in row["error"]["message"]
        assert onward.execution(automation)["status"] == "failed"


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ("{segment: enterprise}", "segment", "enterprise"),
        ("{plan: pro, country: DE}", "plan", "pro"),
        ("{name: '{{trigger.who}}'}", "name", "Bo"),
        ("{metadata: {demo: 'yes'}}", "metadata", {"source": "web", "demo": "yes"}),
        ("{segment: null}", "segment", None),
    ],
)
def test_act_09_fields_of_the_customer(onward: Outside, fields: str, name: str, expected: Any) -> None:  # ACT-09
    onward.activate(flow(f"{{type: action, action: update_customer, fields: {fields}}}"))
    ana = onward.customer(name="Ana", segment="smb", metadata={"source": "web"})
    onward.emit("sign", ana["id"], payload={"who": "Bo"})
    onward.work()
    assert read_customer(onward, ana)[name] == expected


@pytest.mark.parametrize("runs", [1, 2])
def test_act_10_a_tag_is_had_once(onward: Outside, runs: int) -> None:  # ACT-10
    automation = onward.activate(flow("{type: action, action: add_tag, tag: at-risk}"))
    ana = onward.customer()
    for _ in range(runs):
        onward.emit("sign", ana["id"])
        onward.work()
    assert read_customer(onward, ana)["tags"] == ["at-risk"]
    assert [row["status"] for row in onward.executions(automation)] == ["completed"] * runs


def test_act_11_one_open_task_with_assignee_and_message(onward: Outside) -> None:  # ACT-11
    step = "{type: action, action: create_task, assignee: mara@northwind.example, message: Call Ana}"
    onward.activate(flow(step))
    ana = enter(onward)
    [task] = read(onward, "/tasks?state=open")["tasks"]
    assert (task["assignee"], task["message"], task["state"]) == ("mara@northwind.example", "Call Ana", "open")
    assert ana["id"] in json.dumps(task)


def test_act_37_actions_and_delays_in_order_with_their_gaps(onward: Outside) -> None:  # ACT-37
    delays = ["{id: d1, type: delay, duration: 1d}", "{id: d2, type: delay, duration: 2h}"]
    steps = ", ".join([say("first", "a1"), delays[0], say("second", "a2"), delays[1], say("third", "a3")])
    automation = onward.activate(on("payment.failed", steps))
    onward.emit("payment.failed", onward.customer()["id"], payload={"failureCount": 1})
    onward.work()
    seen = [onward.tasks()]
    for step in ("+23h", "+1h", "+119m", "+1m"):
        onward.pass_time(step)
        seen.append(onward.tasks())
    assert [len(tasks) for tasks in seen] == [1, 1, 2, 2, 3]
    assert seen[-1] == ["first", "second", "third"]
    assert onward.steps(automation) == ["a1", "d1", "a2", "d2", "a3"]
