"""Variables in every place, and what becomes of errors, tried from outside (VAR-10 to 29, ERR-01 to 11)."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from accounts.actor import system_actor
from accounts.models import Customer, Workspace
from automations.models import Delivery
from billing.services.payments import record_payment
from tests.api.outside import Outside
from tests.billing.helpers import make_invoice
from tests.factories import make_customer, make_member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

FAILED = "{type: event, event: payment.failed}"


@pytest.fixture
def onward(workspace: Workspace) -> Outside:
    return Outside.of(workspace)


@pytest.fixture
def peer(httpserver: HTTPServer, settings: Any) -> HTTPServer:
    """A receiver on loopback that deliveries may reach."""
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    return httpserver


def failing(onward: Outside, step: str, customer: Customer | None = None, more: str = "") -> tuple[str, Customer]:
    """An automation on failed payments with one step, and a payment that failed twice."""
    automation = onward.activate(f"name: V\ntrigger: {FAILED}\n{more}steps: [{step}]")
    buyer = customer or make_customer(onward.workspace, name="Ana", segment="smb")
    invoice = make_invoice(buyer)
    onward.emit("payment.failed", invoice=invoice.public_id, payload={"failureCount": 2})
    onward.work()
    return automation, buyer


def said(onward: Outside, template: str, customer: Customer | None = None) -> tuple[str, Customer]:
    """What a task's message made of a template."""
    _, buyer = failing(onward, f'{{id: t, type: action, action: create_task, message: "[{template}]"}}', customer)
    [message] = onward.tasks()
    return message[1:-1], buyer


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{customer.name}}", "Ana"),  # VAR-14
        ("{{customer.segment}}", "smb"),  # VAR-16
        ("{{trigger.failureCount}}", "2"),  # VAR-18
        ("{{invoice.due_date | default('none')}}{{invoice.dueDate | default('none')}}", "nonenone"),  # VAR-24
        ("{{invoice.amount}}={{invoice.total}}", "129.00=129.00"),  # VAR-29
        ("{{ trigger.failureCount + 1 }}", "3"),
        ("{% if trigger.failureCount > 1 %}again{% else %}first{% endif %}", "again"),
        ("{% for n in ['a', 'b'] %}{{n}};{% endfor %}", "a;b;"),
    ],
)
def test_a_text_with_variables(onward: Outside, template: str, expected: str) -> None:
    assert said(onward, template)[0] == expected


def test_var_13_15_and_17_of_the_customer(onward: Outside) -> None:
    text, buyer = said(onward, "{{customer.id}} {{customer.email}} {{customer.createdAt | date}}")
    assert text.startswith(f"{buyer.public_id} {buyer.email} ")


def test_var_10_to_12_of_a_payment_of_ours(onward: Outside) -> None:
    onward.activate(
        f"name: P\ntrigger: {FAILED}\nsteps: [{{type: action, action: create_task, "
        "message: '{{payment.id}} {{payment.status}} {{payment.amount}} {{trigger.failureCount}}'}]"
    )
    invoice = make_invoice(make_customer(onward.workspace))
    payment = record_payment(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk, status="failed")
    onward.work()
    assert onward.tasks() == [f"{payment.public_id} failed 129.00 1"]


def test_var_19_and_21_recipient_and_subject_of_a_mail(onward: Outside) -> None:
    step = "{type: action, action: send_email, to: '{{trigger.customer.email}}', subject: 'Hi {{customer.name}}', body: '<p>x</p>'}"
    _, buyer = failing(onward, step)
    [mail] = onward.api.get("/deliveries").json()["deliveries"]
    assert (mail["to"], mail["subject"]) == (buyer.email, "Hi Ana")


def test_var_20_the_account_owner_gets_the_task(onward: Outside) -> None:
    owner = make_member(onward.workspace, "operator")
    buyer = make_customer(onward.workspace)
    Customer.objects.filter(pk=buyer.pk).update(owner=owner)
    failing(onward, "{type: action, action: create_task, assignee: '{{trigger.accountOwner}}', message: Call}", buyer)
    [task] = onward.api.get("/tasks").json()["tasks"]
    assert task["assignee"] == owner.email


def test_var_22_address_headers_and_body_of_a_call(onward: Outside, peer: HTTPServer) -> None:
    peer.expect_oneshot_request("/hooks/Ana", method="POST").respond_with_json({"ok": True})
    step = (
        f"{{id: call, type: action, action: send_webhook, url: '{peer.url_for('/hooks')}/{{{{customer.name}}}}', "
        "headers: {X-Count: '{{trigger.failureCount}}'}, body: {count: '{{trigger.failureCount}}', name: '{{customer.name}}'}}"
    )
    automation, _ = failing(onward, step)
    onward.work(deliver=True)
    [(request, _response)] = peer.log
    assert request.headers["X-Count"] == "2"
    assert request.get_json() == {"count": 2, "name": "Ana"}
    assert onward.execution(automation)["steps"][0]["output"]["status"] == 200


def test_var_25_the_snapshot_stays_and_live_objects_do_not(onward: Outside) -> None:
    steps = "{type: delay, duration: 1d}, {type: action, action: create_task, message: '{{trigger.customer.name}} {{customer.name}}'}"
    _, buyer = failing(onward, steps)
    Customer.objects.filter(pk=buyer.pk).update(name="Renamed")
    onward.pass_time("+1d")
    assert onward.tasks() == ["Ana Renamed"]


def test_var_26_an_unknown_one_is_empty_with_a_warning(onward: Outside) -> None:
    automation, _ = failing(onward, "{type: action, action: create_task, message: 'x{{trigger.nonsense}}y'}")
    [row] = onward.execution(automation)["steps"]
    assert (onward.tasks(), [warning["code"] for warning in row["warnings"]]) == (["xy"], ["missing_value"])


def test_var_27_values_are_escaped_for_their_place(onward: Outside, peer: HTTPServer) -> None:
    nasty = make_customer(onward.workspace, name='<b>"x"</b> & Co')
    peer.expect_request("/hook").respond_with_json({})
    failing(
        onward,
        "{type: action, action: send_email, subject: 'Hi {{customer.name}}', body: '<p>{{customer.name}}</p>'}, "
        f"{{type: action, action: send_webhook, url: '{peer.url_for('/hook')}?q={{{{customer.name}}}}', "
        "body: {n: '{{customer.name}}'}}",
        nasty,
    )
    from automations.engine.registry import registry
    from automations.worker.deliver import deliver_batch
    from automations.worker.envelopes import from_json

    mail = Delivery.objects.get(kind="email")
    action: Any = registry.actions["send_email"]
    names = ("kind", "to", "subject", "customer_mail", "waits", "money")
    envelope = from_json(mail.envelope, **{name: getattr(mail, name) for name in names})
    html = action.html(action.complete([(mail.workspace_id, envelope)])[0])
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert mail.subject == 'Hi <b>"x"</b> & Co'
    deliver_batch(kinds=["http"])
    [(request, _response)] = peer.log
    assert request.args["q"] == '<b>"x"</b> & Co'
    assert request.get_json() == {"n": '<b>"x"</b> & Co'}


class TestErrors:
    """A failed step: repeated, then its fallback, then the run fails (ERR-01 to 11)."""

    def call(self, peer: HTTPServer, more: str = "") -> str:
        return f"{{id: call, type: action, action: send_webhook, url: '{peer.url_for('/hook')}'{more}}}"

    def walk(self, onward: Outside, *steps: str) -> None:
        onward.work(deliver=True)
        for step in steps:
            onward.pass_time(step, deliver=True)

    def test_err_01_to_03_as_often_and_as_late_as_written(self, onward: Outside, peer: HTTPServer) -> None:
        peer.expect_request("/hook").respond_with_data("no", status=503)
        failing(onward, self.call(peer, ", errorHandling: {retries: 2, retryDelay: 10m, backoffMultiplier: 3}"))
        counts = []
        for step in ("+0s", "+9m", "+1m", "+29m", "+1m", "+5h"):
            self.walk(onward, step)
            counts.append(len(peer.log))
        assert counts == [1, 1, 2, 2, 3, 3]

    def test_err_a_success_in_between_goes_on(self, onward: Outside, peer: HTTPServer) -> None:
        peer.expect_ordered_request("/hook").respond_with_data("no", status=503)
        peer.expect_ordered_request("/hook").respond_with_json({"ok": True})
        automation, _ = failing(
            onward, self.call(peer, ", errorHandling: {retries: 3, retryDelay: 1m, backoffMultiplier: 1}")
        )
        self.walk(onward, "+1m")
        assert onward.execution(automation)["status"] == "completed"

    def test_err_10_a_permanent_error_is_not_repeated(self, onward: Outside, peer: HTTPServer) -> None:
        peer.expect_request("/hook").respond_with_data("no", status=404)
        automation, _ = failing(
            onward, self.call(peer, ", errorHandling: {retries: 5, retryDelay: 1m, backoffMultiplier: 1}")
        )
        self.walk(onward, "+1h")
        run = onward.execution(automation)
        assert (len(peer.log), run["status"], run["steps"][0]["error"]["temporary"]) == (1, "failed", False)

    def test_err_the_fallback_follows_the_last_try(self, onward: Outside, peer: HTTPServer) -> None:
        peer.expect_request("/hook").respond_with_data("no", status=503)
        policy = ", errorHandling: {retries: 1, retryDelay: 1m, backoffMultiplier: 1}"
        fallback = ", onError: [{id: instead, type: action, action: create_task, message: Look}]"
        automation, _ = failing(onward, self.call(peer, policy + fallback))
        self.walk(onward, "+1m")
        rows = onward.execution(automation)["steps"]
        assert [row["stepId"] for row in rows][-1] == "instead"
        assert rows[-1]["fallback"] is True
        assert (onward.tasks(), onward.execution(automation)["status"]) == (["Look"], "completed")

    def test_err_the_policy_of_the_automation_is_the_default(self, onward: Outside, peer: HTTPServer) -> None:
        peer.expect_request("/hook").respond_with_data("no", status=503)
        more = "settings: {errorHandling: {retries: 1, retryDelay: 1m, backoffMultiplier: 1}}\n"
        automation, _ = failing(onward, self.call(peer), more=more)
        self.walk(onward, "+1m", "+1h")
        assert (len(peer.log), onward.execution(automation)["status"]) == (2, "failed")

    def test_err_a_local_step_is_not_repeated_for_a_permanent_error(self, onward: Outside) -> None:
        policy = "errorHandling: {retries: 3, retryDelay: 1m, backoffMultiplier: 1}"
        step = f"{{id: t, type: action, action: add_tag, tag: '{{{{trigger.none}}}}', {policy}}}"
        automation, _ = failing(onward, step)
        self.walk(onward, "+1h")
        assert len(onward.execution(automation)["steps"]) == 1
        assert onward.execution(automation)["endReason"] == "failed"
