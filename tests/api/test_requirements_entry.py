"""Triggers, conditions, variables and entry, tried from outside (TRG-01 to 18, CND-01 to 28, RUN-12 to 24, 28, VAR)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.models import Workspace
from billing.services.drafts import NewLine
from billing.services.invoices import finalize_invoice, void_invoice
from billing.services.payments import record_payment
from billing.services.subscriptions import cancel_subscription
from tests.api.outside import Outside
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import make_customer, make_stage_entry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

LOOK = "steps: [{id: t, type: action, action: create_task, message: Look}]"
WAIT = "steps: [{id: d, type: delay, duration: 2d}, {id: t, type: action, action: create_task, message: Look}]"


@pytest.fixture
def onward(workspace: Workspace) -> Outside:
    return Outside.of(workspace)


def on(onward: Outside, trigger: str, more: str = "", steps: str = LOOK) -> str:
    return onward.activate(f"name: A\ntrigger: {trigger}\n{more}{steps}")


class TestTriggers:
    def test_trg_01_one_event_one_run(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: demo_booked}")
        customer = onward.customer()["id"]
        onward.emit("demo_booked", customer)
        onward.emit("something_else", customer)
        onward.work()
        assert len(onward.executions(automation)) == 1

    def test_trg_03_a_call_with_a_payload(self, onward: Outside) -> None:
        automation = on(onward, "{type: manual}")
        answer = onward.api.post(f"/automations/{automation}/trigger", {"payload": {"why": "asked", "n": 3}})
        shown = answer.json()["execution"]
        assert (shown["triggeredBy"], shown["trigger"]["data"]) == ("manual", {"why": "asked", "n": 3})

    @pytest.mark.parametrize("event", ["invoice.issued", "invoice.paid", "payment.failed", "payment.succeeded"])
    def test_trg_04_05_07_08_what_happens_to_an_invoice(self, onward: Outside, event: str) -> None:
        automation = on(onward, f"{{type: event, event: {event}}}")
        actor = system_actor(onward.workspace.pk)
        invoice = make_invoice(make_customer(onward.workspace), status="draft")
        onward.work()
        finalize_invoice(actor=actor, invoice_id=invoice.pk)
        if event != "invoice.issued":
            status = "failed" if event == "payment.failed" else "succeeded"
            record_payment(actor=actor, invoice_id=invoice.pk, status=status)
        onward.work()
        onward.work()
        run = onward.execution(automation)
        assert (run["triggeredBy"], run["subject"]["invoice"]) == (event, invoice.public_id)
        assert run["trigger"]["data"]["id"].split("_")[0] in ("inv", "pay")

    def test_trg_06_overdue_by_time_alone(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: invoice.overdue}")
        due = evaluation_now() + timedelta(days=3)
        invoice = make_invoice(make_customer(onward.workspace), due=due, collection_method="send_invoice")
        onward.pass_time("+2d")
        assert onward.executions(automation) == []
        onward.pass_time("+3d")
        assert onward.execution(automation)["subject"]["invoice"] == invoice.public_id

    def test_trg_10_a_cancelled_subscription(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: subscription.canceled}")
        subscription = make_subscription(make_customer(onward.workspace))
        cancel_subscription(actor=system_actor(onward.workspace.pk), subscription_id=subscription.pk, at="now")
        onward.work()
        assert onward.execution(automation)["subject"]["subscription"] == subscription.public_id

    def test_trg_11_a_new_customer_and_no_visitor(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: customer.created}")
        customer = onward.customer()
        onward.work()
        assert onward.execution(automation)["profileId"] == customer["id"]

    def test_trg_15_and_18_intervals_and_a_missed_one(self, onward: Outside) -> None:
        automation = on(onward, "{type: schedule, interval: 24h}")
        for expected in (1, 2):
            onward.pass_time("+24h")
            assert len(onward.executions(automation)) == expected
        onward.pass_time("+72h")
        assert len(onward.executions(automation)) == 3
        following = onward.api.get(f"/automations/{automation}").json()["nextFireAt"]
        assert datetime.fromisoformat(following) > evaluation_now()

    def test_trg_41_and_42_entering_a_stage(self, onward: Outside) -> None:
        every = on(onward, "{type: event, event: stage_enter}")
        churned = on(onward, "{type: event, event: stage_enter, stage: CUSTOMER, where: bucket=Churned}")
        ana, bo = make_customer(onward.workspace), make_customer(onward.workspace)
        make_stage_entry(ana, "TRIAL")
        make_stage_entry(ana, "CUSTOMER", "Churned")
        make_stage_entry(bo, "CUSTOMER", "Retained")
        onward.work()
        assert len(onward.executions(every)) == 3
        assert [row["profileId"] for row in onward.executions(churned)] == [ana.public_id]

    def test_trg_50_the_same_event_twice_is_one(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: sign}")
        customer = onward.customer()["id"]
        body = {"id": "order-1", "name": "sign", "customer": customer}
        answers = [onward.api.post("/events", body).json() for _ in range(2)]
        onward.work()
        assert [answer["status"] for answer in answers] == ["accepted", "duplicate"]
        assert answers[0]["id"] == answers[1]["id"]
        assert len(onward.executions(automation)) == 1

    def test_trg_52_a_name_within_a_group_must_be_known(self, onward: Outside) -> None:
        answer = onward.api.post("/events", {"name": "payment.faild", "customer": onward.customer()["id"]})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_event")


class TestEntry:
    @pytest.mark.parametrize(
        ("total", "segment", "starts"),
        [("2000.00", "enterprise", True), ("900.00", "enterprise", False), ("2000.00", "smb", False)],
    )
    def test_cnd_01_if_and_then_continue_else_skip(
        self, onward: Outside, total: str, segment: str, starts: bool
    ) -> None:
        rule = 'filter: invoice.amount > 1000 AND customer.segment = "enterprise"\n'
        automation = on(onward, "{type: event, event: invoice.issued}", rule)
        make_invoice(make_customer(onward.workspace, segment=segment), lines=[NewLine("Plan", total)])
        onward.work()
        assert bool(onward.executions(automation)) is starts
        [event] = [row for row in onward.api.get("/events").json()["events"] if row["name"] == "invoice.issued"]
        [decision] = onward.api.get(f"/events/{event['id']}").json()["decisions"]
        assert (decision["outcome"], decision["gate"]) == (("started", None) if starts else ("skipped", "filter"))

    @pytest.mark.parametrize("state", ["DRAFT", "ACTIVE", "PAUSED"])
    def test_run_12_to_14_the_state_decides(self, onward: Outside, state: str) -> None:
        text = f"name: A\ntrigger: {{type: event, event: sign}}\n{LOOK}"
        automation = onward.make(text)["id"] if state == "DRAFT" else onward.activate(text)
        if state == "PAUSED":
            onward.api.post(f"/automations/{automation}/pause")
        onward.emit("sign", onward.customer()["id"])
        onward.work()
        assert bool(onward.executions(automation)) is (state == "ACTIVE")

    def test_run_16_each_run_is_independent(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: sign}", steps=WAIT)
        for _number in range(2):
            onward.emit("sign", onward.customer()["id"])
        onward.work()
        first, second = (row["id"] for row in onward.executions(automation))
        onward.api.post(f"/executions/{first}/cancel")
        onward.pass_time("+2d")
        states = {row["id"]: row["status"] for row in onward.executions(automation)}
        assert states == {first: "cancelled", second: "completed"}

    @pytest.mark.parametrize(("rule", "during", "after"), [("always", 2, 3), ("one_at_a_time", 1, 2), ("once", 1, 1)])
    def test_run_23_re_entry(self, onward: Outside, rule: str, during: int, after: int) -> None:
        automation = on(onward, "{type: event, event: sign}", f"settings: {{reentry: {rule}}}\n", WAIT)
        customer = onward.customer()["id"]
        for _number in range(2):
            onward.emit("sign", customer)
            onward.work()
        assert len(onward.executions(automation)) == during
        onward.pass_time("+2d")
        onward.emit("sign", customer)
        onward.work()
        assert len(onward.executions(automation)) == after

    def test_run_24_its_own_effect_does_not_start_it_again(self, onward: Outside) -> None:
        body = "steps: [{type: action, action: update_customer, fields: {email: 'new@example.com'}}]"
        automation = on(onward, "{type: event, event: customer.created}", steps=body)
        onward.customer()
        onward.work()
        assert len(onward.executions(automation)) == 1

    def test_run_28_an_exit_of_the_same_object_only(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: payment.failed}", "exits: [{event: invoice.paid}]\n", WAIT)
        buyer = make_customer(onward.workspace)
        invoice, other = make_invoice(buyer), make_invoice(buyer)
        onward.emit("payment.failed", invoice=invoice.public_id, payload={"failureCount": 1})
        onward.work()
        actor = system_actor(onward.workspace.pk)
        record_payment(actor=actor, invoice_id=other.pk, status="succeeded")
        onward.work()
        assert onward.execution(automation)["status"] == "running"
        record_payment(actor=actor, invoice_id=invoice.pk, status="succeeded")
        onward.work()
        assert (onward.execution(automation)["runStatus"], onward.execution(automation)["endReason"]) == (
            "CANCELLED",
            "invoice_paid",
        )

    def test_an_object_that_is_over_starts_nothing(self, onward: Outside) -> None:
        automation = on(onward, "{type: event, event: payment.failed}", "exits: [{event: invoice.voided}]\n")
        invoice = make_invoice(make_customer(onward.workspace))
        void_invoice(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk)
        event = onward.emit("payment.failed", invoice=invoice.public_id, payload={"failureCount": 1})
        onward.work()
        [decision] = onward.api.get(f"/events/{event}").json()["decisions"]
        assert (onward.executions(automation), decision["gate"]) == ([], "already_over")


class TestConditions:
    """The split conditions of the sources, each judged on live data (CND-03 to 27)."""

    def judged(
        self, onward: Outside, condition: str, customer: dict[str, Any], payload: dict[str, Any] | None = None
    ) -> bool:
        step = f"steps: [{{id: c, type: condition, if: {condition!r}, then: [{{id: yes, type: stop}}], else: [{{id: no, type: stop}}]}}]"
        automation = on(onward, "{type: manual}", steps=step)
        made = onward.customer(**customer)
        onward.api.post(f"/automations/{automation}/trigger", {"customer": made["id"], "payload": payload or {}})
        onward.work()
        walked = onward.steps(automation)
        assert walked in (["c", "yes"], ["c", "no"])  # CND-25: exactly one is followed
        return walked[1] == "yes"

    @pytest.mark.parametrize(("segment", "expected"), [("enterprise", True), ("smb", False)])
    @pytest.mark.parametrize("sign", ["=", "=="])
    def test_cnd_03_and_07(self, onward: Outside, segment: str, expected: bool, sign: str) -> None:
        assert self.judged(onward, f'customer.segment {sign} "enterprise"', {"segment": segment}) is expected

    @pytest.mark.parametrize(("amount", "expected"), [(1000.01, True), (1000, False), (999, False)])
    def test_cnd_04(self, onward: Outside, amount: float, expected: bool) -> None:
        assert self.judged(onward, "trigger.amount > 1000", {}, {"amount": amount}) is expected

    @pytest.mark.parametrize(("email", "expected"), [("a@acme.test", True), ("a@x.test", False)])
    def test_cnd_05(self, onward: Outside, email: str, expected: bool) -> None:
        assert self.judged(onward, 'customer.email contains "@acme."', {"email": email}) is expected

    @pytest.mark.parametrize("a", [True, False])
    @pytest.mark.parametrize("b", [True, False])
    @pytest.mark.parametrize("c", [True, False])
    def test_cnd_06(self, onward: Outside, a: bool, b: bool, c: bool) -> None:
        payload = {"a": int(a), "b": int(b), "c": int(c)}
        condition = "trigger.a == 1 AND (trigger.b == 1 OR trigger.c == 1)"
        assert self.judged(onward, condition, {}, payload) is (a and (b or c))

    @pytest.mark.parametrize(("count", "expected"), [(1, True), (2, False)])
    def test_cnd_08(self, onward: Outside, count: int, expected: bool) -> None:
        assert self.judged(onward, "{{trigger.failureCount}} == 1", {}, {"failureCount": count}) is expected

    @pytest.mark.parametrize(("country", "expected"), [("US", True), ("CA", True), ("DE", False)])
    def test_cnd_21(self, onward: Outside, country: str, expected: bool) -> None:
        assert self.judged(onward, 'country in ["US", "CA"]', {"country": country}) is expected

    @pytest.mark.parametrize(("plan", "expected"), [("pro", True), ("hobby", False)])
    def test_cnd_22(self, onward: Outside, plan: str, expected: bool) -> None:
        assert self.judged(onward, 'profile.plan == "pro"', {"plan": plan}) is expected

    def test_cnd_24_the_state_at_that_moment(self, onward: Outside) -> None:
        steps = "steps: [{type: delay, duration: 1d}, {id: c, type: condition, if: profile.plan == 'pro', then: [{id: yes, type: stop}]}]"
        automation = on(onward, "{type: event, event: sign}", steps=steps)
        customer = onward.customer(plan="hobby")
        onward.emit("sign", customer["id"])
        onward.work()
        onward.api.patch(f"/customers/{customer['id']}", {"plan": "pro"})
        onward.pass_time("+1d")
        assert onward.steps(automation)[-1] == "yes"

    @pytest.mark.parametrize(("sign", "expected"), [("==", False), ("!=", True), (">", False)])
    def test_cnd_27_what_is_missing(self, onward: Outside, sign: str, expected: bool) -> None:
        assert self.judged(onward, f'profile.plan {sign} "pro"', {}) is expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{{invoice.id}}", "{invoice}"),  # VAR-01
        ("{{invoice.total}}", "129.00"),  # VAR-02
        ("{{invoice.currency}}", "EUR"),  # VAR-03
        ("{{invoice.status}}", "unpaid"),  # VAR-04
        ("{{invoice.dueDate | date}}", "Jan 2, 2030"),  # VAR-05
        ("{{invoice.customer.name}}", "Ana Ruiz"),  # VAR-06
        ("{{invoice.customer.email}}", "{email}"),  # VAR-07
        ("{{customer.name}}", "Ana Ruiz"),
        ("{{profile.email}}", "{email}"),
        ("{{customer.segment | default('none') | upper}}", "NONE"),
        ("{{workspace.name}}", "{workspace}"),
        ("{{run.id}}", "{execution}"),
        ("{{trigger.why}}", "asked"),
    ],
)
def test_variables_give_the_objects_values(onward: Outside, written: str, expected: str) -> None:
    step = f'steps: [{{id: t, type: action, action: create_task, message: "[{written}]"}}]'
    automation = on(onward, "{type: manual}", steps=step)
    buyer = make_customer(onward.workspace)
    from datetime import UTC

    invoice = make_invoice(buyer, due=datetime(2030, 1, 2, 12, tzinfo=UTC))
    answer = onward.api.post(
        f"/automations/{automation}/trigger", {"invoice": invoice.public_id, "payload": {"why": "asked"}}
    )
    onward.work()
    [message] = onward.tasks()
    values = {
        "invoice": invoice.public_id,
        "email": buyer.email,
        "workspace": onward.workspace.name,
        "execution": answer.json()["execution"]["id"],
    }
    assert message.strip("[]").startswith(expected.format(**values)), message
