"""Definitions, tried from outside: one test for each requirement of area DEF that this stage has (DEF-01 to 29 but 07 and 26)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from accounts.models import Workspace
from tests.api.outside import Outside
from tests.billing.helpers import make_card, make_invoice, make_subscription
from tests.billing.helpers import reload as again
from tests.factories import make_customer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

SIGN = "trigger: {type: event, event: sign}\n"
TAG = "{type: action, action: add_tag, tag: done}"


@pytest.fixture
def onward(workspace: Workspace) -> Outside:
    return Outside.of(workspace)


def test_def_03_from_an_event_or_from_a_schedule(onward: Outside) -> None:
    event = onward.activate(
        "name: E\ntrigger: {type: event, event: invoice.paid}\nsteps: [{type: action, action: create_task, message: Paid}]"
    )
    schedule = onward.activate(
        "name: S\ntrigger: {type: schedule, interval: 24h}\nsteps: [{type: action, action: create_task, message: Daily}]"
    )
    invoice = make_invoice(make_customer(onward.workspace), status="open")
    from accounts.actor import system_actor
    from billing.services.payments import pay_invoice

    make_card(invoice.customer)
    pay_invoice(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk)
    onward.work()
    assert (len(onward.executions(event)), len(onward.executions(schedule))) == (1, 0)
    onward.pass_time("+24h")
    assert (len(onward.executions(event)), len(onward.executions(schedule))) == (1, 1)
    assert onward.execution(schedule)["triggeredBy"] == "schedule"


def test_def_04_a_false_condition_performs_no_action(onward: Outside) -> None:
    automation = onward.activate(
        f"name: C\n{SIGN}steps: [{{id: c, type: condition, if: trigger.seats > 5, then: [{TAG}]}}]"
    )
    ana = onward.customer()
    onward.emit("sign", ana["id"], payload={"seats": 1})
    onward.work()
    assert onward.steps(automation) == ["c"]
    assert onward.api.get(f"/customers/{ana['id']}").json()["tags"] == []


def test_def_05_mail_record_and_call(onward: Outside, httpserver: HTTPServer, settings: Any) -> None:
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    httpserver.expect_oneshot_request("/hook", method="POST").respond_with_json({"ok": True})
    automation = onward.activate(
        f"name: Three\n{SIGN}steps:\n"
        "  - {id: mail, type: action, action: send_email, subject: Hello, body: '<p>Hi</p>', to: '{{customer.email}}'}\n"
        "  - {id: record, type: action, action: update_customer, fields: {segment: vip}}\n"
        f"  - {{id: call, type: action, action: send_webhook, url: '{httpserver.url_for('/hook')}'}}\n"
    )
    ana = onward.customer()
    onward.emit("sign", ana["id"])
    onward.work()
    kinds = {row["kind"]: row["state"] for row in onward.api.get("/deliveries").json()["deliveries"]}
    assert kinds == {"email": "QUEUED", "http": "QUEUED"}
    assert onward.api.get(f"/customers/{ana['id']}").json()["segment"] == "vip"
    from automations.worker.deliver import deliver_batch

    deliver_batch(kinds=["http"])
    onward.work()
    assert len(httpserver.log) == 1
    assert onward.execution(automation)["status"] == "completed"


def test_def_06_a_branch_inside_a_loop(onward: Outside) -> None:
    automation = onward.activate(
        f"name: L\n{SIGN}steps:\n"
        "  - id: all\n    type: loop\n    over: '{{trigger.items}}'\n    as: item\n    steps:\n"
        "      - id: big\n        type: condition\n        if: item.n > 1\n"
        "        then: [{id: yes, type: action, action: create_task, message: 'big {{item.n}}'}]\n"
    )
    onward.emit("sign", onward.customer()["id"], payload={"items": [{"n": 1}, {"n": 2}, {"n": 3}]})
    onward.work()
    rows = [step for step in onward.execution(automation)["steps"] if step["stepId"] == "big"]
    assert [row["port"] for row in rows] == ["false", "true", "true"]
    assert len({row["iteration"] for row in rows}) == 3
    assert onward.tasks() == ["big 2", "big 3"]


def test_def_08_four_kinds_of_steps_and_no_fifth(onward: Outside) -> None:
    loop = f"{{type: loop, over: '{{{{trigger.x}}}}', steps: [{TAG}]}}"
    steps = f"[{TAG}, {{type: condition, if: '1 == 1'}}, {{type: delay, duration: 1h}}, {loop}]"
    answer = onward.api.post("/automations/validate", f"name: K\n{SIGN}steps: {steps}", content_type="application/yaml")
    assert answer.status_code == 200
    assert answer.json()["valid"], answer.json()
    fifth = onward.api.post(
        "/automations", f"name: K\n{SIGN}steps: [{{type: juggle}}]", content_type="application/yaml"
    )
    assert (fifth.status_code, fifth.json()["code"]) == (422, "invalid_definition")


def test_def_10_an_event_trigger_starts_one_run(onward: Outside) -> None:
    automation = onward.activate(
        "name: P\ntrigger: {type: event, event: payment.failed}\nsteps: [{type: action, action: create_task, message: Failed}]"
    )
    onward.emit("payment.failed", onward.customer()["id"], payload={"failureCount": 1})
    onward.work()
    assert [row["triggeredBy"] for row in onward.executions(automation)] == ["payment.failed"]


def test_def_11_top_to_bottom(onward: Outside) -> None:
    tasks = ", ".join(
        f"{{id: t{number}, type: action, action: create_task, message: T{number}}}" for number in range(3)
    )
    automation = onward.activate(f"name: T\n{SIGN}steps: [{tasks}]")
    onward.emit("sign", onward.customer()["id"])
    onward.work()
    assert onward.steps(automation) == ["t0", "t1", "t2"]
    assert onward.tasks() == ["T0", "T1", "T2"]


def test_def_12_parameters_are_siblings_of_the_action(onward: Outside) -> None:
    onward.activate(
        f"name: M\n{SIGN}steps: [{{type: action, action: send_email, template: payment_failed_first, to: a@x.test}}]"
    )
    onward.emit("sign", onward.customer()["id"])
    onward.work()
    [mail] = onward.api.get("/deliveries").json()["deliveries"]
    assert (mail["to"], mail["state"], bool(mail["subject"])) == ("a@x.test", "QUEUED", True)


@pytest.mark.parametrize(("seats", "walked"), [(1, ["c", "no", "after"]), (9, ["c", "yes", "after"])])
def test_def_13_and_14_then_and_else_fall_through(onward: Outside, seats: int, walked: list[str]) -> None:
    task = "{{id: {0}, type: action, action: create_task, message: {0}}}"
    automation = onward.activate(
        f"name: B\n{SIGN}steps: [{{id: c, type: condition, if: trigger.seats > 5, then: [{task.format('yes')}], "
        f"else: [{task.format('no')}]}}, {task.format('after')}]"
    )
    onward.emit("sign", onward.customer()["id"], payload={"seats": seats})
    onward.work()
    assert onward.steps(automation) == walked


def test_def_13_without_else_the_next_step_follows(onward: Outside) -> None:
    automation = onward.activate(
        f"name: B\n{SIGN}steps: [{{id: c, type: condition, if: 'false', then: [{TAG}]}}, {{id: after, type: stop}}]"
    )
    onward.emit("sign", onward.customer()["id"])
    onward.work()
    assert onward.steps(automation) == ["c", "after"]


def test_def_15_a_delay_is_never_early(onward: Outside) -> None:
    automation = onward.activate(
        f"name: D\n{SIGN}steps: [{{id: d, type: delay, duration: 3d}}, {{id: after, type: stop}}]"
    )
    onward.emit("sign", onward.customer()["id"])
    onward.work()
    onward.pass_time("+71h")
    assert onward.execution(automation)["currentStepId"] == "d"
    onward.pass_time("+1h")
    assert onward.steps(automation) == ["d", "after"]


@pytest.mark.parametrize(
    ("duration", "fine"),
    [
        ("3d", True),
        ("5m", True),
        ("2h", True),
        ("1w", True),
        ("1mo", True),
        ("30s", True),
        ("1d12h", True),
        ("3x", False),
        ("", False),
    ],
)
def test_def_16_durations(onward: Outside, duration: str, fine: bool) -> None:
    body = f"name: D\n{SIGN}steps: [{{type: delay, duration: '{duration}'}}]"
    assert onward.api.post("/automations/validate", body, content_type="application/yaml").json()["valid"] is fine


def test_def_17_and_29_once_per_line_of_an_invoice(onward: Outside) -> None:
    from billing.services.drafts import NewLine

    automation = onward.activate(
        "name: Lines\ntrigger: {type: manual}\nsteps:\n  - type: loop\n    over: '{{invoice.lines}}'\n    as: line\n"
        "    steps: [{type: action, action: create_task, message: '{{loop.index}}: {{line.description}}'}]\n"
    )
    lines = [NewLine(name, "10.00") for name in ("Seats", "Storage", "Support")]
    invoice = make_invoice(make_customer(onward.workspace), lines=lines)
    answer = onward.api.post(f"/automations/{automation}/trigger", {"invoice": invoice.public_id})
    assert answer.status_code == 201
    onward.work()
    assert [task.split(": ")[1] for task in onward.tasks()] == ["Seats", "Storage", "Support"]


def test_def_18_on_error_is_the_fallback(onward: Outside) -> None:
    automation = onward.activate(
        f"name: F\n{SIGN}steps: [{{id: bad, type: action, action: add_tag, tag: '{{{{trigger.none}}}}', "
        "onError: [{id: instead, type: action, action: create_task, message: It failed}]}]"
    )
    onward.emit("sign", onward.customer()["id"])
    onward.work()
    assert onward.steps(automation) == ["bad", "instead"]
    assert (onward.execution(automation)["status"], onward.tasks()) == ("completed", ["It failed"])


def test_def_19_error_handling_is_kept_and_governs_retries(
    onward: Outside, httpserver: HTTPServer, settings: Any
) -> None:
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    httpserver.expect_request("/hook").respond_with_data("no", status=503)
    policy = {"retries": 3, "retryDelay": "5m", "backoffMultiplier": 2}
    call = f"{{id: call, type: action, action: send_webhook, url: '{httpserver.url_for('/hook')}'}}"
    body = f"name: R\n{SIGN}errorHandling: {json.dumps(policy)}\nsteps: [{call}]"
    automation = onward.activate(body)
    found = onward.api.get(f"/automations/{automation}/versions/1").json()["definition"]
    assert found["settings"]["errorHandling"] == policy
    onward.emit("sign", onward.customer()["id"])
    onward.work(deliver=True)
    for step, calls in (("+4m", 1), ("+1m", 2), ("+9m", 2), ("+1m", 3), ("+20m", 4), ("+1h", 4)):
        onward.pass_time(step, deliver=True)
        assert len(httpserver.log) == calls, step
    assert onward.execution(automation)["status"] == "failed"


@pytest.mark.django_db(transaction=True)  # the charge is made on connections of its own
def test_def_20_the_quick_start_walks_from_failure_to_retry(onward: Outside) -> None:
    text = Path("docs/samples/quick-start.yaml").read_text()
    automation = onward.activate(text)
    assert onward.api.get(f"/automations/{automation}").json()["trigger"] == {
        "type": "event",
        "event": "payment.failed",
    }
    buyer = make_customer(onward.workspace)
    make_card(buyer, "card_ok")
    invoice = make_invoice(buyer, subscription=make_subscription(buyer))
    onward.emit("payment.failed", invoice=invoice.public_id, payload={"failureCount": 1})
    onward.work()
    assert onward.steps(automation) == ["condition", "send_email"]
    onward.pass_time("+3d")
    from automations.worker.deliver import deliver_batch

    deliver_batch(kinds=["charge"])
    onward.work()
    assert onward.steps(automation)[-1] == "retry_payment"
    assert again(invoice).status == "paid"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{type: schedule, cron: '0 9 * * 1'}", None),
        ("{type: schedule, cron: '0 9 * * 1', interval: 24h}", "bad_config"),
        ("{type: schedule}", "missing_config"),
        ("{type: schedule, cron: 'every monday'}", "bad_cron"),
        ("{type: schedule, calendar: first day of month}", None),
        ("{type: schedule, cron: '0 0 30 2 *'}", "impossible_schedule"),
    ],
)
def test_def_21_schedules_in_yaml(onward: Outside, body: str, code: str | None) -> None:
    text = f"name: S\ntrigger: {body}\nsteps: [{{type: action, action: create_task, message: x}}]"
    answer = onward.api.post("/automations", text, content_type="application/yaml")
    codes = [p["code"] for p in (answer.json().get("problems") or answer.json().get("details", {}).get("problems", []))]
    assert ([code] if code else []) == codes[:1]
    if code is None:
        here = answer.json()["id"]
        assert onward.api.post(f"/automations/{here}/activate").json()["nextFireAt"] is not None


def test_def_22_a_manual_trigger_is_called_and_hears_no_event(onward: Outside) -> None:
    automation = onward.activate(f"name: M\ntrigger: {{type: manual}}\nsteps: [{TAG}]")
    ana = onward.customer()
    onward.emit("sign", ana["id"])
    onward.work()
    assert onward.executions(automation) == []
    assert onward.api.post(f"/automations/{automation}/trigger", {"customer": ana["id"]}).status_code == 201
    onward.work()
    assert onward.execution(automation)["status"] == "completed"


def test_def_23_underneath_it_is_an_acyclic_graph(onward: Outside) -> None:
    made = onward.make(
        f"name: G\n{SIGN}steps: [{{id: c, type: condition, if: '1 == 1', then: [{TAG}]}}, {{id: last, type: stop}}]"
    )
    graph = onward.api.get(f"/automations/{made['id']}/draft").json()["definition"]
    ids = [node["id"] for node in graph["nodes"]]
    place = {"trigger": -1, **{name: index for index, name in enumerate(ids)}}
    assert len(set(ids)) == len(ids)
    assert all(place[edge["from"]] < place[edge["to"]] for edge in graph["edges"])
    ring = {**graph, "edges": [*graph["edges"], {"from": ids[1], "port": "error", "to": ids[0]}]}
    answer = onward.api.post("/automations/validate", ring)
    assert "cycle" in [problem["code"] for problem in answer.json()["problems"]]


def test_def_24_import_export_import(onward: Outside) -> None:
    text = Path("docs/samples/quick-start.yaml").read_text()
    first = onward.make(text)["id"]
    graph = onward.api.get(f"/automations/{first}/draft").json()["definition"]
    onward.api.put(f"/automations/{first}/draft", graph)
    exported = onward.api.get(f"/automations/{first}/draft", headers={"Accept": "application/yaml"}).content.decode()
    second = onward.make(exported)["id"]
    assert onward.api.get(f"/automations/{second}/draft").json()["definition"] == graph


def test_def_25_errors_with_their_places_all_at_once(onward: Outside) -> None:
    body = (
        "name: Bad\ntrigger: {type: event, event: payment.faild}\nsteps:\n"
        "  - {type: action, action: start_automation, automation: nowhere}\n  - {type: delay, duration: 3x}\n"
    )
    made = onward.make(body)
    found = {problem["code"]: problem for problem in made["problems"]}
    assert {"unknown_event", "unknown_automation", "bad_duration"} <= set(found)
    assert (found["unknown_event"]["line"], found["bad_duration"]["line"]) == (2, 5)
    assert "payment.failed" in found["unknown_event"]["help"] + found["unknown_event"]["message"]
    assert onward.api.post(f"/automations/{made['id']}/activate").status_code == 422
    assert onward.api.get(f"/automations/{made['id']}").json()["state"] == "DRAFT"


def test_def_25_an_unknown_action_is_named_with_the_nearest_one(onward: Outside) -> None:
    made = onward.make(f"name: x\n{SIGN}steps:\n  - {{type: action, action: send_emial}}\n")
    [problem] = [problem for problem in made["problems"] if problem["code"] == "unknown_action"]
    assert (problem["severity"], problem["line"]) == ("error", 4)
    assert "send_email" in problem["help"] + problem["message"]


def test_def_27_two_triggers_are_two_automations(onward: Outside) -> None:
    two = "name: T\ntrigger:\n  - {type: event, event: subscription_trial}\n  - {type: event, event: subscription_paid}\nsteps: []\n"
    assert onward.api.post("/automations", two, content_type="application/yaml").status_code == 422
    ids = [
        onward.activate(f"name: {event}\ntrigger: {{type: event, event: {event}}}\nsteps: [{TAG}]")
        for event in ("subscription_trial", "subscription_paid")
    ]
    ana = onward.customer()["id"]
    for event in ("subscription_trial", "subscription_paid"):
        onward.emit(event, ana)
    onward.work()
    assert [len(onward.executions(name)) for name in ids] == [1, 1]


def test_cnd_18_metadata_set_over_rest_is_read_back_and_by_a_filter(onward: Outside) -> None:
    onward.activate(
        f"name: V\ntrigger: {{type: event, event: sign}}\nfilter: customer.metadata.tier == 'gold'\nsteps: [{TAG}]"
    )
    ana, bo = onward.customer(metadata={"tier": "silver"}), onward.customer()
    onward.api.patch(f"/customers/{ana['id']}", {"metadata": {"tier": "gold"}})
    assert onward.api.get(f"/customers/{ana['id']}").json()["metadata"] == {"tier": "gold"}
    invoice = make_invoice(make_customer(onward.workspace))
    onward.api.patch(f"/invoices/{invoice.public_id}", {"metadata": {"po": "required"}})
    assert onward.api.get(f"/invoices/{invoice.public_id}").json()["metadata"] == {"po": "required"}
    for customer in (ana, bo):
        onward.emit("sign", customer["id"])
    onward.work()
    assert [row["profileId"] for row in onward.api.get("/executions").json()["executions"]] == [ana["id"]]
    paid = onward.activate(
        "name: I\ntrigger: {type: manual}\nfilter: invoice.metadata.po == 'required'\n"
        "steps: [{type: action, action: create_task, message: x}]"
    )
    assert onward.api.post(f"/automations/{paid}/trigger", {"invoice": invoice.public_id}).status_code == 201
    other = make_invoice(make_customer(onward.workspace))
    assert onward.api.post(f"/automations/{paid}/trigger", {"invoice": other.public_id}).status_code == 409
