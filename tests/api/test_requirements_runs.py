"""Runs, versions, pausing and limits, tried from outside, requirement by requirement (RUN-02 to 11, 25 to 27; VER; PAU; EXE; LIM; PRI)."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.actor import system_actor
from accounts.models import Customer, Workspace
from accounts.services.consent import record_consent
from accounts.services.erasure import erase_customer
from billing.services.invoices import update_invoice, void_invoice
from billing.services.payments import pay_invoice, record_payment
from billing.services.subscriptions import cancel_subscription
from tests.api.outside import YAML, Outside
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import make_customer, make_workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

SIGN = "trigger: {type: event, event: sign}\n"
MANUAL = "trigger: {type: manual}\n"
PAUSE = "{id: pause, name: Did they upgrade yet?, type: delay, duration: 3d}"
TASK = "{id: task, type: action, action: create_task, message: Look}"
TAG = "{id: tag, type: action, action: add_tag, tag: done}"


@pytest.fixture
def onward(workspace: Workspace) -> Outside:
    return Outside.of(workspace)


def parked(onward: Outside, more: str = "", trigger: str = SIGN) -> tuple[str, dict[str, Any]]:
    """An automation whose only run stands in a delay, and its customer."""
    automation = onward.activate(f"name: Parked\n{trigger}{more}steps: [{PAUSE}, {TASK}]")
    customer = onward.customer()
    onward.emit("sign", customer["id"])
    onward.work()
    return automation, customer


class TestRunFields:
    def test_run_02_to_07_a_run_in_a_wait(self, onward: Outside) -> None:
        automation, customer = parked(onward)
        run = onward.execution(automation)
        assert (run["automationId"], run["profileId"]) == (automation, customer["id"])
        assert (run["currentStepId"], run["runStatus"]) == ("pause", "RUNNING")
        assert run["nextStepAt"] > run["triggeredAt"]

    def test_run_08_parked_on_an_event(self, onward: Outside) -> None:
        automation = onward.activate(f"name: W\n{SIGN}steps: [{{type: wait_until, event: reply}}, {TASK}]")
        onward.emit("sign", onward.customer()["id"])
        onward.work()
        assert (onward.execution(automation)["runStatus"], onward.execution(automation)["nextStepAt"]) == (
            "WAITING_FOR_EVENT",
            None,
        )

    def test_run_09_past_its_last_step(self, onward: Outside) -> None:
        automation, _ = parked(onward)
        onward.pass_time("+3d")
        run = onward.execution(automation)
        assert (run["runStatus"], run["completedAt"] is not None, run["nextStepAt"]) == ("COMPLETED", True, None)

    def test_run_10_left_early_in_both_ways(self, onward: Outside, workspace: Workspace) -> None:
        gone, customer = parked(onward)
        record_consent(actor=system_actor(workspace.pk), address=customer["email"], state="unsubscribed")
        onward.work()
        assert (onward.execution(gone)["runStatus"], onward.execution(gone)["endReason"]) == (
            "CANCELLED",
            "unsubscribed",
        )
        paused = onward.activate(f"name: P\ntrigger: {{type: event, event: other}}\nsteps: [{PAUSE}]")
        onward.emit("other", onward.customer()["id"])
        onward.work()
        onward.api.post(f"/automations/{paused}/pause", {"inFlight": "cancel"})
        assert onward.execution(paused)["endReason"] == "cancelled_on_pause"

    def test_run_25_a_label_is_shown_in_the_log(self, onward: Outside) -> None:
        automation, _ = parked(onward)
        onward.pass_time("+3d")
        assert onward.execution(automation)["steps"][0]["name"] == "Did they upgrade yet?"

    def test_run_26_a_billing_run_knows_its_objects(self, onward: Outside) -> None:
        automation = onward.activate(f"name: D\ntrigger: {{type: event, event: payment.failed}}\nsteps: [{PAUSE}]")
        buyer = make_customer(onward.workspace)
        subscription = make_subscription(buyer)
        invoice = make_invoice(buyer, subscription=subscription)
        onward.emit("payment.failed", invoice=invoice.public_id, payload={"failureCount": 1})
        onward.work()
        assert onward.execution(automation)["subject"] == {
            "customer": buyer.public_id,
            "subscription": subscription.public_id,
            "invoice": invoice.public_id,
        }


class Ways:
    """How a run comes to its end, by the reason that it then states."""

    EXCLUSIVE = "trigger: {type: event, event: billing.subscription_payment_failed}\n"

    @staticmethod
    def billing(onward: Outside) -> tuple[str, Customer, Any, Any]:
        """A run of an exclusive trigger, parked, with its invoice and subscription."""
        automation = onward.activate(f"name: B\n{Ways.EXCLUSIVE}steps: [{PAUSE}, {TASK}]")
        buyer = make_customer(onward.workspace)
        subscription = make_subscription(buyer)
        invoice = make_invoice(buyer, subscription=subscription, collection_method="charge_automatically")
        record_payment(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk, status="failed")
        onward.work()
        assert onward.execution(automation)["runStatus"] == "RUNNING"
        return automation, buyer, invoice, subscription


class TestEndReasons:
    """RUN-27: every ended run states why."""

    def ended(self, onward: Outside, automation: str) -> str:
        onward.work()
        return str(onward.execution(automation)["endReason"])

    def test_completed_stopped_and_failed(self, onward: Outside) -> None:
        bodies = {
            "completed": TAG,
            "stopped": "{type: stop}",
            "failed": "{type: action, action: add_tag, tag: '{{trigger.none}}'}",
        }
        for reason, step in bodies.items():
            automation = onward.activate(f"name: {reason}\ntrigger: {{type: event, event: {reason}}}\nsteps: [{step}]")
            onward.emit(reason, onward.customer()["id"])
            assert self.ended(onward, automation) == reason

    def test_invoice_paid(self, onward: Outside) -> None:
        automation, _, invoice, _ = Ways.billing(onward)
        pay_invoice(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk)
        assert self.ended(onward, automation) == "invoice_paid"

    def test_invoice_voided(self, onward: Outside) -> None:
        automation, _, invoice, _ = Ways.billing(onward)
        void_invoice(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk)
        assert self.ended(onward, automation) == "invoice_voided"

    def test_auto_advance_off(self, onward: Outside) -> None:
        automation, _, invoice, _ = Ways.billing(onward)
        update_invoice(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk, auto_advance=False)
        assert self.ended(onward, automation) == "auto_advance_off"

    def test_subscription_cancelled(self, onward: Outside) -> None:
        exits = "exits: [{event: subscription.canceled, reason: subscription_cancelled}]\n"
        automation = onward.activate(
            f"name: S\ntrigger: {{type: event, event: payment.failed}}\n{exits}steps: [{PAUSE}]"
        )
        buyer = make_customer(onward.workspace)
        subscription = make_subscription(buyer)
        invoice = make_invoice(buyer, subscription=subscription)
        onward.emit("payment.failed", invoice=invoice.public_id, payload={"failureCount": 1})
        onward.work()
        cancel_subscription(actor=system_actor(onward.workspace.pk), subscription_id=subscription.pk, at="now")
        assert self.ended(onward, automation) == "subscription_cancelled"

    def test_profile_deleted(self, onward: Outside) -> None:
        automation, customer = parked(onward)
        erase_customer(actor=system_actor(onward.workspace.pk), customer_id=int(customer["id"].removeprefix("cus_")))
        assert self.ended(onward, automation) == "profile_deleted"

    @pytest.mark.parametrize(
        ("written", "reason"), [("{event: left}", "left"), ("{event: left, reason: moved_away}", "moved_away")]
    )
    def test_an_exit_gives_its_name_or_its_reason(self, onward: Outside, written: str, reason: str) -> None:
        automation, customer = parked(onward, f"exits: [{written}]\n")
        onward.emit("left", customer["id"])
        assert self.ended(onward, automation) == reason

    def test_goal_reached(self, onward: Outside) -> None:
        automation, customer = parked(onward, "goal: {event: bought, within: 14d, endsRun: true}\n")
        onward.emit("bought", customer["id"])
        assert self.ended(onward, automation) == "goal_reached"
        assert onward.execution(automation)["goalReachedAt"] is not None

    def test_a_goal_may_be_reached_after_the_end(self, onward: Outside) -> None:
        automation = onward.activate(f"name: G\n{SIGN}goal: {{event: bought, within: 14d}}\nsteps: [{TAG}]")
        customer = onward.customer()
        onward.emit("sign", customer["id"])
        onward.work()
        onward.pass_time("+2d")
        onward.emit("bought", customer["id"])
        onward.work()
        run = onward.execution(automation)
        assert (run["endReason"], run["goalReachedAt"] is not None) == ("completed", True)

    def test_cancelled_by_hand(self, onward: Outside) -> None:
        automation, _ = parked(onward)
        onward.api.post(f"/executions/{onward.execution(automation)['id']}/cancel")
        assert self.ended(onward, automation) == "cancelled"


class TestVersions:
    def test_ver_01_the_draft_does_not_run(self, onward: Outside) -> None:
        automation = onward.activate(f"name: V\n{SIGN}steps: [{TAG}]")
        onward.api.put(f"/automations/{automation}/draft", f"name: V\n{SIGN}steps: [{TASK}]", content_type=YAML)
        onward.emit("sign", onward.customer()["id"])
        onward.work()
        assert onward.steps(automation) == ["tag"]

    def test_ver_02_to_04_and_09_states_and_runs_over_an_upgrade(self, onward: Outside) -> None:
        automation, _ = parked(onward)
        onward.api.put(f"/automations/{automation}/draft", f"name: V\n{SIGN}steps: [{TAG}]", content_type=YAML)
        onward.api.post(f"/automations/{automation}/activate")
        rows = onward.api.get(f"/automations/{automation}/versions").json()["versions"]
        assert {row["number"]: row["state"] for row in rows} == {1: "inactive", 2: "active"}
        onward.emit("sign", onward.customer()["id"])
        onward.pass_time("+3d")
        found = {row["version"]: row["stepsExecuted"] for row in onward.executions(automation)}
        assert found == {1: 2, 2: 1}

    def test_ver_10_testing_has_no_live_effect(self, onward: Outside) -> None:
        made = onward.make(f"name: V\n{SIGN}steps: [{TAG}, {TASK}]")
        answer = onward.api.post(f"/automations/{made['id']}/test").json()
        assert [step["stepId"] for step in answer["steps"]] == ["tag", "task"]
        assert (onward.tasks(), onward.api.get("/executions").json()["executions"]) == ([], [])


class TestPausing:
    def test_pau_02_and_09(self, onward: Outside) -> None:
        automation = onward.activate(f"name: P\n{SIGN}steps: [{TAG}]")
        onward.api.post(f"/automations/{automation}/pause")
        for _number in range(2):
            onward.emit("sign", onward.customer()["id"])
        onward.work()
        onward.api.post(f"/automations/{automation}/resume")
        onward.work()
        assert onward.executions(automation) == []
        onward.emit("sign", onward.customer()["id"])
        onward.work()
        assert len(onward.executions(automation)) == 1

    def test_the_evaluation_says_that_it_was_paused(self, onward: Outside) -> None:
        automation = onward.activate(f"name: P\n{SIGN}steps: [{TAG}]")
        onward.api.post(f"/automations/{automation}/pause")
        event = onward.emit("sign", onward.customer()["id"])
        onward.work()
        [decision] = onward.api.get(f"/events/{event}").json()["decisions"]
        assert (decision["automation"], decision["outcome"], decision["gate"]) == (automation, "skipped", "state")

    @pytest.mark.parametrize(("held", "ended"), [("continue", False), ("reanchor", True), ("skip", True)])
    def test_pau_12_hold_and_each_way_on(self, onward: Outside, held: str, ended: bool) -> None:
        automation, _ = parked(onward)
        onward.api.post(f"/automations/{automation}/pause", {"inFlight": "hold"})
        onward.pass_time("+5d")
        assert onward.execution(automation)["parkedOn"] == "hold"
        onward.api.post(f"/automations/{automation}/resume", {"held": held})
        onward.work()
        assert (onward.execution(automation)["status"] == "completed") is ended
        onward.pass_time("+3d")
        assert onward.steps(automation) == ["pause", "task"]


class TestPriorities:
    TEXT = "trigger: {{type: event, event: billing.invoice_overdue}}\nsteps: [{{type: action, action: create_task, message: {name}}}]"

    def overdue(self, onward: Outside) -> str:
        """Report an invoice as overdue; answers the event."""
        buyer = make_customer(onward.workspace)
        invoice = make_invoice(buyer, collection_method="send_invoice")
        event = onward.emit("invoice.overdue", invoice=invoice.public_id)
        onward.work()
        return event

    def test_pri_10_a_paused_first_is_passed_over(self, onward: Outside) -> None:
        first, second = (onward.activate(f"name: {name}\n" + self.TEXT.format(name=name)) for name in ("One", "Two"))
        self.overdue(onward)
        assert (len(onward.executions(first)), len(onward.executions(second))) == (1, 0)
        onward.api.post(f"/automations/{first}/pause")
        self.overdue(onward)
        assert (len(onward.executions(first)), len(onward.executions(second))) == (1, 1)
        assert onward.api.get(f"/automations/{first}").json()["priority"] == 1

    def test_pri_08_the_new_order_decides(self, onward: Outside) -> None:
        ids = [onward.activate(f"name: {name}\n" + self.TEXT.format(name=name)) for name in ("One", "Two", "Three")]
        onward.api.put("/priorities/billing.invoice_overdue", {"order": [ids[2], ids[0], ids[1]]})
        event = self.overdue(onward)
        assert [len(onward.executions(name)) for name in ids] == [0, 0, 1]
        assert onward.execution(ids[2])["eventId"] == event


class TestLimitsOverRest:
    def test_lim_04_depth_does_not_apply_on_free(self, onward: Outside) -> None:
        Workspace.objects.filter(pk=onward.workspace.pk).update(plan="FREE")
        limits = onward.api.get("/limits").json()
        assert (limits["plan"], limits["stageAutomations"], limits["globalAutomations"]) == ("FREE", 0, 0)
        answer = onward.api.post("/automations", f"name: x\n{SIGN}steps: [{TAG}]", content_type=YAML)
        assert (answer.status_code, answer.json()["code"]) == (403, "plan_limit")

    def test_lim_12_the_trial_examples_fit_pro_and_not_hobby(self, onward: Outside) -> None:
        funnel = onward.api.get("/funnels").json()["funnels"][0]["slug"]
        mail = "{type: action, action: send_email, subject: Hi, body: x}"
        wait = "{type: delay, duration: 1d}"
        split = f"{{type: condition, if: email_opened == true, then: [{mail}], else: [{mail}]}}"
        body = f"name: Trial\nsettings: {{scope: [{funnel}/TRIAL]}}\n{SIGN}steps: [{mail}, {wait}, {mail}, {wait}, {split}]"
        onward.activate(body)
        other = Outside.of(make_workspace())
        Workspace.objects.filter(pk=other.workspace.pk).update(plan="HOBBY")
        there = other.api.get("/funnels").json()["funnels"][0]["slug"]
        made = other.make(body.replace(f"{funnel}/", f"{there}/"))
        answer = other.api.post(f"/automations/{made['id']}/activate")
        assert (answer.status_code, answer.json()["details"]) == (403, {"plan": "HOBBY", "limit": 3, "depth": 5})

    def test_mis_06_several_stages(self, onward: Outside) -> None:
        funnel = onward.api.get("/funnels").json()["funnels"][0]["slug"]
        automation = onward.activate(
            "name: S\ntrigger: {type: event, event: stage_enter}\n"
            f"settings: {{scope: [{funnel}/TRIAL, {funnel}/CUSTOMER]}}\nsteps: [{TAG}]"
        )
        for stage in ("TRIAL", "CUSTOMER"):
            ana = onward.customer()
            onward.api.put(f"/customers/{ana['id']}/stage", {"stage": stage})
        onward.work()
        assert len(onward.executions(automation)) == 2
        used = {
            row["stage"]: row["automations"]
            for row in onward.api.get("/limits").json()["usage"]["automations"]["stages"]
        }
        assert (used[f"{funnel}/TRIAL"], used[f"{funnel}/CUSTOMER"]) == (1, 1)


def test_exe_09_a_key_of_another_workspace_sees_nothing(onward: Outside) -> None:
    automation, _ = parked(onward)
    stranger = Outside.of(make_workspace())
    assert stranger.api.get(f"/automations/{automation}/executions").status_code == 404
    assert stranger.api.get(f"/executions/{onward.execution(automation)['id']}").status_code == 404


def test_exe_16_three_steps_on_a_paid_invoice(onward: Outside) -> None:
    automation = onward.activate(
        "name: Receipt\ntrigger: {type: event, event: invoice.paid}\nsteps:\n"
        "  - {type: action, action: add_tag, tag: paid}\n  - {type: action, action: update_customer, fields: {segment: payer}}\n"
        "  - {type: action, action: create_task, message: '{{invoice.number}} is paid'}\n"
    )
    invoice = make_invoice(make_customer(onward.workspace))
    pay_invoice(actor=system_actor(onward.workspace.pk), invoice_id=invoice.pk)
    onward.work()
    run = onward.execution(automation)
    assert (run["status"], run["stepsExecuted"], run["triggeredBy"]) == ("completed", 3, "invoice.paid")
    assert onward.tasks() == [f"{invoice.number} is paid"]
