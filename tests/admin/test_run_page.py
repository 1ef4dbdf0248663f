"""The page of a run: where it stands and why, what started it, and its steps in order (CONTRACTS 10, EXE-11 to 17)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.actor import system_actor
from accounts.models import Workspace
from automations.adminsite.timeline import ROWS, Labels, item_of, outcome_of
from automations.adminsite.timeline import words as spaced
from automations.adminsite.words import DELIVERIES, ENDS, REASONS, STANDS, standing
from automations.engine.states import ENDED, PARKED_ON
from automations.models import Delivery, Run, StepLog
from automations.models.delivery import DeliveryState
from automations.services.cancel import cancel_run
from automations.services.pause import pause_automation
from tests.admin.pages import block, content, cost, facts, links, notice, page_of, read, rows, steps, title, tone, words
from tests.automations import LISTENING, TAGGING, WAITING, fresh, published, queue
from tests.factories import actor_of, make_customer, make_task
from tests.worker.deliveries import World
from tests.worker.living import happen, pass_time, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run_of(workspace: Workspace, body: str = WAITING, **payload: Any) -> Run:
    """A new run of a new automation, walked as far as it goes."""
    automation = published(workspace, body)
    happen(make_customer(workspace, name="Zoë Brandt"), payload=payload)
    settle()
    return Run.objects.get(automation=automation)


class TestStanding:
    """The state in words, with why."""

    def test_a_wait_for_time_says_until_when_and_how_long_that_is(self, operator: Client, workspace: Workspace) -> None:
        html = read(operator, page_of(run_of(workspace)))
        assert title(html).endswith("Waiting")
        assert re.fullmatch(r"Waits in “Wait 3d” until \d+ \w+, \d\d:\d\d \(in 3 days\)\.", notice(html))
        assert tone(html) == "wait"

    def test_a_wait_for_an_event_says_for_which_and_of_whom(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace, LISTENING)
        html = read(operator, page_of(run))
        assert notice(html).startswith(
            f"Waits in “Wait until reply, at most 7d” for the event reply of cus_{run.customer_id}, at the latest until"
        )
        assert notice(html).endswith("(in 7 days).")
        assert links(html)[f"cus_{run.customer_id}"] == page_of(run.customer)

    def test_one_without_a_time_out_says_that_too(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace, "steps: [{id: wait, type: wait_until, event: reply}]")
        assert notice(read(operator, page_of(run))).endswith(", however long that takes.")

    def test_a_hold_says_whose_and_what_is_left(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        pause_automation(actor=actor_of(workspace), automation_id=run.automation_id, in_flight="hold")
        html = read(operator, page_of(run))
        assert title(html).endswith("On hold")
        assert "because its automation is paused; its clocks are stopped." in notice(html)
        assert "3 days of its wait are left" in notice(html)

    @pytest.mark.parametrize(
        ("state", "said", "mood"),
        [
            ("QUEUED", "which is queued", "run"), ("SENDING", "which is sending", "run"),
            ("UNKNOWN", "Nobody can tell yet whether the other side acted.", "warn"), ("REVIEW", "A person has to look", "warn"),
        ],
    )  # fmt: skip
    def test_an_act_outside_says_which_and_how_it_is(self, operator: Client, state: str, said: str, mood: str) -> None:
        run = World().run()
        delivery = queue(run)
        extra = {"lease_until": NOW, "fence": 1} if state == "SENDING" else {}
        Delivery.objects.filter(pk=delivery.pk).update(state=state, due_at=None, **extra)
        html = read(operator, page_of(run))
        assert said in notice(html)
        assert f"for dlv_{delivery.pk}" in notice(html)
        assert tone(html) == mood

    def test_one_that_is_to_be_tried_again_says_when(self, operator: Client) -> None:
        run = World().run()
        queue(run)
        Delivery.objects.filter(run=run).update(attempts=2, error={"message": "No answer."}, due_at=NOW)
        assert "2 tries failed; the next is due 1 Mar" in notice(read(operator, page_of(run)))
        Delivery.objects.filter(run=run).update(state="UNKNOWN")
        assert "The next look is due 1 Mar" in notice(read(operator, page_of(run)))

    def test_one_whose_delivery_is_not_written_yet_still_says_why(self, operator: Client) -> None:
        assert "for the outcome of what it does outside" in notice(read(operator, page_of(World().run())))

    def test_a_due_run_waits_for_a_worker(self, operator: Client) -> None:
        run = World().run(parked_on=None, due_at=NOW, step="call")
        assert re.match(
            r"Due since 1 Mar.* and stands before “call”\. The next free worker takes it\.",
            notice(read(operator, page_of(run))),
        )

    def test_a_retried_step_says_that_it_is_one(self) -> None:
        run = Run(status="RUNNING", parked_on="timer", due_at=NOW + timedelta(hours=1), attempt=2)
        said = words(str(standing(run, "Call", None, NOW).text))
        assert re.match(r"Try 2 of “Call” failed; the next is due 1 Mar.* \(in 1 h\)\.", said)

    def test_an_approval_waits_for_a_person(self) -> None:
        run = Run(status="RUNNING", parked_on="approval")
        assert "until somebody approves" in standing(run, "Refund", None, NOW).text

    def test_a_completed_run_says_when_and_how(self, operator: Client, workspace: Workspace) -> None:
        html = read(operator, page_of(run_of(workspace, TAGGING)))
        assert title(html).endswith("Completed")
        assert notice(html).endswith(". It walked to the end of its path.")
        assert tone(html) == "ok"

    def test_a_cancelled_one_says_who_and_why(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        cancel_run(actor=actor_of(workspace), run_id=run.pk, reason="they called us")
        html = read(operator, page_of(run))
        assert notice(html).endswith("Somebody cancelled it.")
        [row] = rows(block(html, "What people did"))
        assert row[1:] == ["owner@test", "run.cancel", "they called us"]

    def test_a_failed_one_says_where_and_what(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(
            workspace, 'steps: [{id: t, name: Mark them, type: action, action: add_tag, tag: "{{trigger.missing}}"}]'
        )
        html = read(operator, page_of(run))
        assert tone(html) == "bad"
        assert notice(html).startswith("Failed in “Mark them” on ")
        assert run.error["message"] in notice(html)
        assert run.error["code"] in notice(html)

    def test_an_exit_s_own_reason_is_said_as_it_is(self) -> None:
        run = Run(status="CANCELLED", end_reason="moved_house", ended_at=NOW)
        assert "The reason: moved house." in standing(run, "", None, NOW).text

    def test_every_standing_and_every_state_has_its_words(self) -> None:
        assert set(ENDS) == ENDED
        assert set(STANDS) == set(PARKED_ON)
        assert set(DELIVERIES) == set(DeliveryState.values)

    def test_every_reason_of_the_contract_has_its_words(self) -> None:
        # CONTRACTS 9, endReason
        reasons = """completed stopped invoice_paid invoice_voided auto_advance_off subscription_cancelled unsubscribed
            profile_deleted cancelled_on_pause cancelled_on_publish cancelled goal_reached poison step_limit max_age"""
        assert set(reasons.split()) == set(REASONS)


class TestFacts:
    def test_what_it_is_a_run_of_and_what_started_it(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        html = read(operator, page_of(run))
        shown = facts(html)
        assert shown["Automation"] == f"{run.automation.name} , version 1"
        assert shown["Started by"] == f"sign evt_{run.event_id}"
        assert shown["Customer"] == "Zoë Brandt"
        found = links(html)
        for name, row in (
            (run.automation.name, run.automation), ("version 1", run.version), (f"evt_{run.event_id}", run.event),
            ("Zoë Brandt", run.customer), (workspace.name, workspace),
        ):  # fmt: skip
            assert found[name] == page_of(row), name

    def test_what_else_it_is_about_is_linked(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        Run.objects.filter(pk=run.pk).update(subjects={"customer": run.customer_id, "invoice": 8, "payment": 9})
        html = read(operator, page_of(run))
        assert facts(html)["About"] == "inv_8 , pay_9"
        assert links(html)["inv_8"] == "/admin/billing/invoice/8/change/"

    def test_the_run_that_brought_it_about_is_named(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        run.event.cause_run = run.pk + 1
        run.event.save()
        html = read(operator, page_of(run))
        assert facts(html)["Started by"].endswith(f", brought about by exec_{run.pk + 1}")

    def test_what_does_not_apply_is_not_said(self, operator: Client, workspace: Workspace) -> None:
        shown = facts(read(operator, page_of(run_of(workspace))))
        assert not {"Ended", "Goal reached", "About"} & set(shown)

    def test_how_long_it_took(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        pass_time("+3d")
        assert facts(read(operator, page_of(run)))["Ended"].endswith(", after 3 days")

    def test_a_test_run_says_that_it_is_one(self, operator: Client) -> None:
        assert title(read(operator, page_of(World().run(mode="test")))).endswith("Acting outside Test")

    def test_the_columns_are_there_for_those_who_look_for_a_fault(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace, LISTENING)
        Run.objects.filter(pk=run.pk).update(state={"outputs": {"a": {"b": 1}}})
        stored = block(read(operator, page_of(run)), "Stored state")
        assert "<details>" in stored
        assert "wait key" in words(stored)
        assert '"b": 1' in words(stored)


class TestSteps:
    def test_they_stand_in_order_with_what_came_of_them(self, operator: Client, workspace: Workspace) -> None:
        body = """steps:
  - {id: big, name: Many seats?, type: condition, if: "trigger.seats > 5", then: [{id: tag, type: action, action: add_tag, tag: big}]}
  - {id: pause, type: delay, duration: 3d}"""
        run = run_of(workspace, body, seats=9)
        shown = steps(read(operator, page_of(run)))
        assert shown[0].startswith("Many seats? Condition big Done yes")
        assert "trigger.seats is 9" in shown[0]
        assert shown[1].startswith("Tag as big Add tag tag Done")
        assert "tag big · added Yes" in shown[1]
        assert shown[2] == "Wait 3d Delay pause stands here"
        assert len(shown) == 3

    def test_an_ended_run_stands_nowhere(self, operator: Client, workspace: Workspace) -> None:
        html = read(operator, page_of(run_of(workspace, TAGGING)))
        assert len(steps(html)) == 1
        assert "stands here" not in html

    def test_before_the_first_step_it_says_so(self, operator: Client) -> None:
        run = World().run(
            status="CANCELLED", parked_on=None, ended_at=datetime(2099, 1, 1, tzinfo=UTC), end_reason="cancelled"
        )
        assert "No step was taken yet." in words(read(operator, page_of(run)))

    def test_failures_say_what_and_every_try_is_one(self, operator: Client) -> None:
        world = World()
        run = world.run()
        delivery = queue(run)
        error = {"code": "smtp_timeout", "message": "No answer within 10 s.", "temporary": True}
        for attempt in range(2):
            log(run, seq=1, attempt=attempt, status="failed", port=None, error=error, seconds=90)
        first, second = steps(read(operator, page_of(run)))[:2]
        assert "No answer within 10 s. smtp_timeout may pass by itself" in first
        assert "took 2 min" in first
        assert "try 2" in second
        assert "2 min after the step was entered" in second
        assert f"dlv_{delivery.pk}" in first

    def test_warnings_turns_and_late_outcomes_are_said(self, operator: Client) -> None:
        run = World().run()
        warning = {"code": "missing_value", "message": "“x” has no value."}
        log(run, seq=1, warnings=[warning], iteration="2.0", flags=3)
        [shown] = steps(read(operator, page_of(run)))[:1]
        for word in ("“x” has no value.", "item 3.1", "fallback", "came after the run had gone on"):
            assert word in shown

    def test_input_and_output_are_folded(self, operator: Client) -> None:
        run = World().run()
        log(run, seq=1, input={"amount": "79.00"}, output={"deep": {"list": [1]}})
        html = read(operator, page_of(run))
        assert re.search(r"<details><summary>Input, output</summary>", html)
        assert "<details open" not in content(html)
        assert "79.00" not in steps(html)[0]

    def test_what_steps_say_is_never_markup(self, operator: Client) -> None:
        # RELIABILITY 5: payloads and answers end in pages
        run = World().run()
        bad = "<script>alert(1)</script>"
        log(run, seq=1, step=bad, input={bad: bad}, output={"result": bad, "k": bad}, warnings=[{"message": bad}])
        log(run, seq=2, status="failed", error={"message": bad, "code": bad, "details": {bad: bad}}, port=bad)
        Run.objects.filter(pk=run.pk).update(wait_name=bad, wait_key=bad, state={bad: bad}, error={"message": bad})
        html = read(operator, page_of(run))
        assert "<script>alert" not in html
        assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8

    def test_at_first_the_newest_hundred_stand_there_and_the_others_behind_them(self, operator: Client) -> None:
        # CONTRACTS 10: step log inline, newest 100
        run = World().run(seq=251)
        for seq in range(1, 251):
            log(run, seq=seq, step=f"s{seq}")
        seen: list[list[int]] = []
        where = page_of(run)
        while where:
            html = read(operator, where)
            seen.append([int(number) for number in re.findall(r"<code>s(\d+)</code>", html)])
            earlier = links(html).get("Earlier steps", "")
            where = page_of(run) + earlier.removesuffix("#steps") if earlier else ""
        assert [len(page) for page in seen] == [100, 100, 50]
        assert [number for page in reversed(seen) for number in page] == list(range(1, 251))
        assert links(html)["The newest"] == "?#steps"

    def test_tries_of_one_visit_are_never_torn_apart(self, operator: Client) -> None:
        run = World().run(seq=99)
        for seq in range(1, 99):
            log(run, seq=seq, step=f"s{seq}")
        for attempt in range(3):  # the hundredth row is one of several tries of visit 2
            log(run, seq=99, step="s99", attempt=attempt)
        for attempt in range(1, 4):
            log(run, seq=2, step="s2", attempt=attempt)
        html = read(operator, page_of(run))
        assert re.findall(r"<code>s(\d+)</code>", html)[0] == "3"
        assert "?before=3#steps" in html
        earlier = read(operator, f"{page_of(run)}?before=3")
        assert re.findall(r"<code>s(\d+)</code>", earlier) == ["1", "2", "2", "2", "2"]

    @pytest.mark.parametrize("before", ["x", "-1", "%00", "99999999999", ""])
    def test_a_place_that_is_none_is_the_newest(self, operator: Client, before: str) -> None:
        run = World().run()
        log(run, seq=1, step="s1")
        assert "<code>s1</code>" in read(operator, f"{page_of(run)}?before={before}")

    def test_a_kind_that_is_no_more_is_named_by_its_key(self) -> None:
        labels = Labels.of(
            {"nodes": [{"id": "a", "type": "gone", "config": {}}, {"id": "b", "type": "delay", "config": {"x": 1}}]}
        )
        assert (labels.name("a"), labels.kind("gone"), labels.name("b"), labels.name("c")) == (
            "a",
            "gone",
            "Delay",
            "c",
        )

    @pytest.mark.parametrize(
        ("type_", "output", "said"),
        [
            ("condition", {"result": True, "values": {"invoice.status": "open", "x": 2}}, "invoice.status is open, x is 2"),
            ("percentage_split", {"branch": "b", "bucket": 70, "threshold": 50, "kept": False}, "bucket 70 is not below 50"),
            ("percentage_split", {"branch": "a", "bucket": 7, "threshold": 50, "kept": True}, "kept from an earlier visit"),
            ("delay", {"outcome": "waited", "until": "2019-03-07T08:05:00Z"}, "waited until 7 Mar 2019, 08:05"),
            ("delay", {"outcome": "past", "until": "2019-03-07T08:05:00Z"}, "went on at once: the time had passed"),
            ("delay", {"outcome": "no_date", "until": None}, "went on at once: the date is not set"),
            ("wait_until", {"outcome": "event", "event": "evt_9"}, "evt_9 came"),
            ("wait_until", {"outcome": "timeout", "event": None}, "nothing came in time"),
            ("loop", {"count": 1}, "1 item"), ("loop", {"count": 3}, "3 items"), ("loop", {"more": True}, "more Yes"),
            ("retry_payment", {"result": "declined", "payment": "pay_9", "failureReason": "No funds", "failureCode": None},
             "declined · payment pay_9 · failure reason No funds"),
            ("send_webhook", {"status": 200, "headers": {}, "body": "x"}, "status 200 · body x"), ("stop", None, ""),
        ],
    )  # fmt: skip
    def test_the_outcome_is_said_with_the_values_that_decided(self, type_: str, output: Any, said: str) -> None:
        text = words(str(outcome_of(StepLog(type=type_, output=output))))
        assert re.sub(r" (?=,)", "", text) == said

    def test_names_of_values_are_words(self) -> None:
        assert [spaced(name) for name in ("failureReason", "due_at", "HTTP")] == ["failure reason", "due at", "HTTP"]

    def test_a_step_of_money_looks_like_one(self) -> None:
        labels = Labels.of({})
        row = StepLog(
            type="retry_payment", step="again", seq=1, attempt=0, status="succeeded", started_at=NOW, ended_at=NOW
        )
        item = item_of(row, labels, None)
        assert (item.family, item.sign, item.kind, item.lasted) == ("money", "card", "Retry payment", "")


class TestWhatBelongsToIt:
    def test_its_deliveries_are_linked(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        delivery = queue(run, "SENT")
        html = read(operator, page_of(run))
        [row] = rows(block(html, "Deliveries"))
        assert row[:3] == [f"dlv_{delivery.pk} Send email", "Sent", "mail"]
        assert links(html)[f"dlv_{delivery.pk}"] == page_of(delivery)

    def test_without_any_it_says_so(self, operator: Client, workspace: Workspace) -> None:
        assert "Nothing was or is to be done outside." in words(read(operator, page_of(run_of(workspace))))

    def test_its_tasks_are_linked(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        make_task(workspace, title="Call them", run_id=run.pk, assignee="pia@example.com")
        html = read(operator, page_of(run))
        assert rows(block(html, "Tasks")) == [["Call them", "Open", "pia@example.com"]]

    def test_it_cannot_be_changed_from_there(self, operator: Client, workspace: Workspace) -> None:
        run = run_of(workspace)
        html = content(read(operator, page_of(run)))
        assert "<form" not in html
        assert "<button" not in html
        for way in ("/delete/", "/history/", "/add/"):
            assert way not in html
        for method in (operator.post, operator.put, operator.delete):
            assert method(page_of(run)).status_code == 403
        assert fresh(run).status == "RUNNING"

    def test_the_page_costs_the_same_however_much_there_is(self, operator: Client) -> None:
        world = World()
        run = world.run()
        log(run, seq=1)
        queue(run)
        make_task(world.workspace, run_id=run.pk)
        cancel_run(actor=system_actor(world.workspace.pk), run_id=world.run().pk)
        few = cost(lambda: read(operator, page_of(run)))
        for seq in range(2, 40):
            log(run, seq=seq, output={"payment": f"pay_{seq}"})
            queue(run, "SENT", visit=seq)
            make_task(world.workspace, run_id=run.pk)
        assert cost(lambda: read(operator, page_of(run))) == few
        assert few <= 12


def log(run: Run, *, seq: int, seconds: float = 0, **fields: Any) -> StepLog:
    """A row of the log."""
    start = datetime.now(UTC)
    values: dict[str, Any] = {
        "run_id": run.pk, "workspace_id": run.workspace_id, "seq": seq, "attempt": 0, "recorded_at": start, "step": "call",
        "type": "send_webhook", "status": "succeeded", "port": "next", "started_at": start,
        "ended_at": start + timedelta(seconds=seconds),
    }  # fmt: skip
    return StepLog.objects.create(**values | fields)


def test_the_page_of_steps_is_as_long_as_the_contract_says() -> None:
    assert ROWS == 100
