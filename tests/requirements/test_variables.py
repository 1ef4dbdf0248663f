"""Variables, tried from outside: one test for each requirement of area VAR that this stage has."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tests.api.outside import YAML, Outside
from tests.factories import make_member, owner_of
from tests.requirements.flows import deliveries, flow
from tests.requirements.shop import (
    ask,
    call_up,
    decline,
    issued,
    manual,
    on,
    post,
    read,
    say,
    settle_up,
    stage,
    subscribe,
    visit_of,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

#: Variable, other spelling, and where REST shows the value of the object.
VARIABLES = [
    ("invoice.id", "invoice.id", "invoice id"),  # VAR-01
    ("invoice.total", "invoice.total", "invoice total"),  # VAR-02
    ("invoice.currency", "invoice.currency", "invoice currency"),  # VAR-03
    ("invoice.dueDate", "invoice.due_date", "invoice dueDate"),  # VAR-05
    ("invoice.customer.name", "invoice.customer.name", "customer name"),  # VAR-06
    ("invoice.customer.email", "invoice.customer.email", "customer email"),  # VAR-07
    ("payment.id", "payment.id", "payment id"),  # VAR-08
    ("payment.amount", "payment.amount", "payment amount"),  # VAR-09
    ("payment.status", "payment.status", "payment status"),  # VAR-10
    ("payment.failureReason", "payment.failure_reason", "payment failureReason"),  # VAR-11
    ("payment.failureCount", "payment.failure_count", "payment failureCount"),  # VAR-12
    ("customer.id", "customer.id", "customer id"),  # VAR-13
    ("customer.name", "customer.name", "customer name"),  # VAR-14
    ("customer.email", "customer.email", "customer email"),  # VAR-15
    ("customer.segment", "customer.segment", "customer segment"),  # VAR-16
    ("customer.createdAt", "customer.created_at", "customer createdAt"),  # VAR-17
    ("trigger.failureCount", "trigger.failure_count", "payment failureCount"),  # VAR-18
    ("trigger.customer.email", "trigger.customer.email", "customer email"),  # VAR-19
    ("trigger.accountOwner", "trigger.account_owner", "customer owner"),  # VAR-20
    ("invoice.amount", "invoice.amount", "invoice total"),  # VAR-29
]


def owned(onward: Outside, **fields: Any) -> dict[str, Any]:
    """A customer with everything that a variable may show."""
    owner = owner_of(onward.workspace).email
    return onward.customer(name="Ana Ruiz", segment="enterprise", country="DE", owner=owner, **fields)


def tasks_of(onward: Outside, automation: str) -> dict[str, str]:
    """What each step's template was rendered to."""
    return {row["stepId"]: (row["input"] or {})["message"] for row in onward.execution(automation)["steps"]}


@pytest.mark.parametrize("root", ["invoice", "payment", "customer", "trigger"])
def test_var_01_to_20_and_29_each_gives_the_value_of_its_object(onward: Outside, root: str) -> None:
    # VAR-01 VAR-02 VAR-03 VAR-05 VAR-06 VAR-07 VAR-08 VAR-09 VAR-10 VAR-11 VAR-12 VAR-13 VAR-14 VAR-15 VAR-16 VAR-17
    # VAR-18 VAR-19 VAR-20 VAR-24 VAR-29
    mine = [row for row in VARIABLES if row[0].startswith(root)]
    steps = [
        say(f"{{{{{source}}}}}", f"{prefix}{number}")
        for number, row in enumerate(mine)
        for prefix, source in (("camel", row[0]), ("snake", row[1]))
    ]
    automation = onward.activate(on("payment.failed", ", ".join(steps)))
    ana = owned(onward)
    invoice = issued(onward, ana, "1500.00", dueDate="2030-11-30")
    payment = decline(onward, invoice, failureReason="Insufficient funds")
    onward.work()
    objects = {
        "invoice": read(onward, f"/invoices/{invoice['id']}"),
        "payment": read(onward, f"/payments/{payment['id']}"),
        "customer": read(onward, f"/customers/{ana['id']}"),
    }
    rendered = tasks_of(onward, automation)
    for number, (name, _, place) in enumerate(mine):
        kind, field = place.split()
        assert rendered[f"camel{number}"] == str(objects[kind][field]) != "", name
        assert rendered[f"snake{number}"] == rendered[f"camel{number}"], name


@pytest.mark.parametrize(("paid", "text"), [(False, "unpaid"), (True, "paid")])
def test_var_04_an_open_invoice_reads_unpaid(onward: Outside, paid: bool, text: str) -> None:  # VAR-04
    automation = onward.activate(manual(say("{{invoice.status}}")))
    invoice = issued(onward, onward.customer())
    if paid:
        settle_up(onward, invoice)
    call_up(onward, automation, invoice=invoice["id"])
    onward.work()
    assert onward.tasks() == [text]


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_var_18_the_failure_count_of_the_trigger(onward: Outside, failures: int) -> None:  # VAR-18
    onward.activate(on("payment.failed", say("{{trigger.failureCount}}")))
    invoice = issued(onward, onward.customer())
    for _ in range(failures):
        decline(onward, invoice)
        onward.work()
    assert onward.tasks() == [str(number) for number in range(1, failures + 1)]


def test_var_19_the_address_of_the_triggers_customer(onward: Outside) -> None:  # VAR-19
    mail = "{type: action, action: send_email, subject: Hello, body: Hi, to: '{{trigger.customer.email}}'}"
    onward.activate(on("payment.failed", mail))
    decline(onward, issued(onward, onward.customer(email="ana@example.com")))
    onward.work()
    assert [row["to"] for row in deliveries(onward)] == ["ana@example.com"]


def test_var_20_the_owner_of_the_account_is_assigned(onward: Outside) -> None:  # VAR-20
    person = make_member(onward.workspace, "operator")
    step = "{type: action, action: create_task, message: Call, assignee: '{{trigger.accountOwner}}'}"
    onward.activate(on("payment.failed", step))
    decline(onward, issued(onward, onward.customer(owner=person.email)))
    onward.work()
    [task] = read(onward, "/tasks")["tasks"]
    assert task["assignee"] == person.email


@pytest.mark.parametrize("name", ["Ana", "Zoë Ängström", "李雷", "O'Hara & Sons"])
def test_var_21_the_subject_has_variables(onward: Outside, name: str) -> None:  # VAR-21
    mail = "{type: SEND_EMAIL, subject: 'Hi {{customer.name}}', body: Hello}"
    onward.activate(flow(mail))
    onward.emit("sign", onward.customer(name=name)["id"])
    onward.work()
    assert [row["subject"] for row in deliveries(onward)] == [f"Hi {name}"]


@pytest.mark.usefixtures("loopback")
def test_var_22_a_variable_in_every_place(onward: Outside, httpserver: HTTPServer) -> None:  # VAR-22
    httpserver.expect_request("/hook/gold").respond_with_json({})
    mail = "{type: action, action: send_email, to: '{{trigger.to}}', subject: 'S {{trigger.word}}', body: 'B {{trigger.word}}'}"
    task = "{type: action, action: create_task, message: 'M {{trigger.word}}', assignee: '{{trigger.to}}'}"
    url = httpserver.url_for("/hook/") + "{{trigger.word}}"
    call = f"{{type: action, action: send_webhook, url: '{url}', body: {{w: 'P {{{{trigger.word}}}}'}}}}"
    onward.activate(flow(mail, task, call))
    onward.emit("sign", onward.customer()["id"], payload={"to": "team@example.com", "word": "gold"})
    onward.work()
    from automations.worker.deliver import deliver_batch

    deliver_batch(kinds=["http"])
    [sent] = [row for row in deliveries(onward) if row["kind"] == "email"]
    assert (sent["to"], sent["subject"]) == ("team@example.com", "S gold")
    assert "B gold" in read(onward, f"/deliveries/{sent['id']}")["body"]
    [made] = read(onward, "/tasks")["tasks"]
    assert (made["message"], made["assignee"]) == ("M gold", "team@example.com")
    [(request, _)] = httpserver.log
    assert request.json == {"w": "P gold"}


FACTS = [
    "email_opened == true",
    "email_clicked == true",
    "pageview_count == 2",
    'country == "DE"',
    'profile.plan == "pro"',
    'profile.subscriptionStatus == "active"',
    'bucket == "Churned"',
]


@pytest.mark.parametrize("known", [True, False])
def test_var_23_facts_of_the_profile(onward: Outside, known: bool) -> None:  # VAR-23
    mail = "{type: action, action: send_email, subject: Hello, body: Hi}"
    asks = [ask(source).replace("id: asked", f"id: asked{number}") for number, source in enumerate(FACTS)]
    automation = onward.activate(flow(mail, "{type: delay, duration: 1h}", *asks))
    ana = onward.customer(**({"country": "DE", "plan": "pro"} if known else {}))
    onward.emit("sign", ana["id"])
    onward.work()
    if known:
        stage(onward, ana, "CUSTOMER", bucket="Churned")
        subscribe(onward, ana)
        onward.emit("email_clicked", ana["id"], delivery=deliveries(onward)[0]["id"])
        post(onward, "/events", {"events": [{"name": "pageview", "customer": ana["id"]}] * 2}, 202)
    onward.pass_time("+1h")
    ports = [row["port"] for row in onward.execution(automation)["steps"] if row["stepId"].startswith("asked")]
    assert ports == ["true" if known else "false"] * len(FACTS)


def test_var_25_the_snapshot_and_the_moment_of_use(onward: Outside) -> None:  # VAR-25
    show = say("{{trigger.invoice.status}} {{invoice.status}}", "show")
    automation = onward.activate(on("invoice.issued", f"{{type: delay, duration: 1d}}, {show}"))
    invoice = issued(onward, onward.customer())
    onward.work()
    settle_up(onward, invoice)
    onward.pass_time("+1d")
    old, new = visit_of(onward, automation, "show")["input"]["message"].split()
    assert (old, new) == ("unpaid", "paid")


def test_var_25_profile_and_customer_are_read_at_the_moment_of_use(onward: Outside) -> None:  # VAR-25
    show = say("{{trigger.customer.name}} {{customer.name}} {{profile.name}}")
    onward.activate(flow("{type: delay, duration: 1d}", show))
    ana = onward.customer(name="Old")
    onward.emit("sign", ana["id"])
    onward.work()
    onward.api.patch(f"/customers/{ana['id']}", {"name": "New"})
    onward.pass_time("+1d")
    assert onward.tasks() == ["Old New New"]


@pytest.mark.parametrize("name", ["invoice.nope", "customer.nope", "payment.nope"])
def test_var_26_an_unknown_variable_is_flagged_and_empty(onward: Outside, name: str) -> None:  # VAR-26
    text = on("payment.failed", say(f"[{{{{{name}}}}}]"))
    answer = onward.api.post("/automations/validate", text, content_type=YAML).json()
    [problem] = [row for row in answer["problems"] if row["code"] == "unknown_variable"]
    assert (answer["valid"], problem["severity"]) == (True, "warning")
    automation = onward.activate(text)
    decline(onward, issued(onward, onward.customer()))
    onward.work()
    assert onward.tasks() == ["[]"]
    assert any(name in warning["message"] for warning in visit_of(onward, automation, "say")["warnings"])


def test_var_27_escaped_for_a_mail(onward: Outside) -> None:  # VAR-27
    onward.activate(flow("{type: action, action: send_email, subject: Hello, body: '<p>{{customer.name}}</p>'}"))
    onward.emit("sign", onward.customer(name="<b>x</b>")["id"])
    onward.work()
    body = read(onward, f"/deliveries/{deliveries(onward)[0]['id']}")["body"]
    assert "&lt;b&gt;x&lt;/b&gt;" in body
    assert "<b>x</b>" not in body


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("name", ["a&b=c", 'say "hi"', "x/../y?z#q", "line\nbreak"])
def test_var_27_escaped_for_an_address_and_for_json(onward: Outside, httpserver: HTTPServer, name: str) -> None:
    # VAR-27
    httpserver.expect_request("/hook").respond_with_json({})
    url = httpserver.url_for("/hook") + "?name={{trigger.name}}&end=1"
    onward.activate(
        flow(f"{{type: action, action: send_webhook, url: '{url}', body: {{n: 'N {{{{trigger.name}}}}'}}}}")
    )
    onward.emit("sign", onward.customer()["id"], payload={"name": name})
    onward.work(deliver=True)
    [(request, _)] = httpserver.log
    assert (request.args["name"], request.args["end"], request.json) == (name, "1", {"n": f"N {name}"})


@pytest.mark.parametrize(
    "source", ["customer.name.upper()", "customer.__class__", "''.join([])", "range(9)", "customer | attr('x')"]
)
def test_var_27_a_template_runs_no_code(onward: Outside, source: str) -> None:  # VAR-27
    body = {"name": "C", "trigger": {"type": "event", "event": "sign"}}
    step = {"type": "action", "action": "create_task", "message": f"{{{{{source}}}}}"}
    answer = onward.api.post("/automations/validate", body | {"steps": [step]}).json()
    errors = [row["code"] for row in answer["problems"] if row["severity"] == "error"]
    assert (answer["valid"], errors) == (False, ["bad_template"])
