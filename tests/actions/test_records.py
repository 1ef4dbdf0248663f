"""update_customer, add_tag, create_task: local effects on our rows, in bulk, each with its own outcome (ACT-09 to 11)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.announcements import Announcement
from accounts.clock import evaluation_now
from accounts.models import Customer, CustomerTag, Task, Workspace
from automations.engine.kinds import Request
from automations.engine.outcomes import Done, Failed
from automations.engine.registry import registry
from automations.models import Run, StepLog
from tests.automations import fresh, published, started
from tests.factories import make_customer, make_member, make_workspace
from tests.worker.living import happen, log_of, settle, the_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def step(body: str) -> str:
    return f"steps: [{{id: act, type: action, {body}}}]"


def ran(workspace: Workspace, body: str, customer: Customer, payload: dict | None = None) -> StepLog:
    """One run of one step, and its log row."""
    automation = published(workspace, step(body))
    happen(customer, payload=payload)
    settle()
    [row] = log_of(the_run(automation))
    return row


def asked(customer: Customer, data: object, **parts: object) -> Request:
    """A request as the walk signs it."""
    return Request(
        {"customer": customer.pk}, parts.pop("input", {}), data, workspace_id=customer.workspace_id, run_id=7, **parts
    )


class TestUpdateCustomer:
    def test_a_field_is_changed(self, workspace: Workspace, customer: Customer) -> None:
        # ACT-09: `segment: enterprise`
        row = ran(workspace, "action: update_customer, fields: {segment: enterprise}", customer)
        assert fresh(customer).segment == "enterprise"
        assert (row.status, row.output) == ("succeeded", {"customer": customer.public_id, "fields": ["segment"]})
        assert row.input == {"customer": customer.public_id, "fields": {"segment": "enterprise"}}

    def test_every_field_can_be_changed(self, workspace: Workspace, customer: Customer) -> None:
        member = make_member(workspace, "operator")
        body = (
            "action: update_customer, fields: {name: Bo, email: bo@example.com, segment: vip, plan: team, country: at, "
            f"timeZone: Europe/Vienna, locale: de-AT, owner: {member.email}, metadata: {{a: '1', b: two}}}}"
        )
        assert ran(workspace, body, customer).status == "succeeded"
        now = fresh(customer)
        assert (now.name, now.email, now.segment, now.plan) == ("Bo", "bo@example.com", "vip", "team")
        assert (now.country, now.time_zone, now.locale, now.owner_id) == ("AT", "Europe/Vienna", "de-AT", member.pk)
        assert now.metadata == {"a": "1", "b": "two"}

    def test_values_are_templates(self, workspace: Workspace, customer: Customer) -> None:
        body = 'action: update_customer, fields: {segment: "{{trigger.size | upper}}", metadata: {seats: "{{trigger.seats}}"}}'
        ran(workspace, body, customer, {"size": "large", "seats": 12})
        now = fresh(customer)
        assert (now.segment, now.metadata) == ("LARGE", {"seats": "12"})

    def test_null_empties_and_metadata_is_merged(self, workspace: Workspace) -> None:
        customer = make_customer(workspace, segment="vip", metadata={"keep": "1", "drop": "2"})
        ran(workspace, "action: update_customer, fields: {segment: null, metadata: {drop: null, new: x}}", customer)
        now = fresh(customer)
        assert (now.segment, now.metadata) == ("", {"keep": "1", "new": "x"})

    def test_an_owner_can_be_taken_away(self, workspace: Workspace, customer: Customer) -> None:
        member = make_member(workspace)
        ran(workspace, f"action: update_customer, fields: {{owner: {member.email}}}", customer)
        assert fresh(customer).owner_id == member.pk
        other = make_customer(workspace)
        ran(workspace, "action: update_customer, fields: {owner: null}", other)
        assert fresh(other).owner_id is None

    def test_a_stranger_is_no_owner(self, workspace: Workspace, customer: Customer) -> None:
        stranger = make_member(make_workspace())
        row = ran(workspace, f"action: update_customer, fields: {{owner: {stranger.email}}}", customer)
        assert (row.status, row.error["code"], row.error["temporary"]) == ("failed", "invalid", False)
        assert fresh(customer).owner_id is None

    def test_the_change_names_the_run_as_its_cause(
        self, workspace: Workspace, customer: Customer, announced: list[Announcement]
    ) -> None:
        automation = published(workspace, step("action: update_customer, fields: {segment: vip}"))
        announced.clear()
        happen(customer)
        settle()
        [told] = [item for item in announced if item.kind == "customer.updated"]
        assert told.cause == the_run(automation).pk

    def test_a_value_that_cannot_be_is_the_steps_failure_alone(self, workspace: Workspace, customer: Customer) -> None:
        row = ran(workspace, "action: update_customer, fields: {country: Atlantis}", customer)
        assert row.status == "failed"
        assert "two letters" in row.error["message"]
        assert fresh(customer).country == ""

    def test_an_address_of_another_customer_is_refused(self, workspace: Workspace, customer: Customer) -> None:
        make_customer(workspace, email="taken@example.com")
        row = ran(workspace, "action: update_customer, fields: {email: taken@example.com}", customer)
        assert (row.status, row.error["code"]) == ("failed", "customer_conflict")

    def test_one_bad_request_does_not_hinder_the_others(self, workspace: Workspace) -> None:
        one, two, three = (make_customer(workspace) for _ in range(3))
        action = registry.actions["update_customer"]
        shown = {"customer": "cus_1", "fields": {"segment": "x"}}
        requests = [
            asked(one, {"segment": "a"}, input=shown),
            asked(two, {"owner": "nobody@example.com"}, input=shown),
            asked(three, {"segment": "c"}, input=shown),
        ]
        outcomes = action.apply(requests, NOW)  # type: ignore[attr-defined]  # a local action
        assert [type(outcome) for outcome in outcomes] == [Done, Failed, Done]
        assert [fresh(customer).segment for customer in (one, two, three)] == ["a", "", "c"]

    def test_a_batch_takes_the_same_few_statements(self, workspace: Workspace) -> None:
        action = registry.actions["update_customer"]
        counts = []
        for number in (1, 6):
            customers = [make_customer(workspace) for _ in range(number)]
            requests = [
                asked(customer, {"segment": "z"}, input={"customer": "", "fields": {}}) for customer in customers
            ]
            with CaptureQueriesContext(connection) as queries:
                action.apply(requests, NOW)  # type: ignore[attr-defined]  # a local action
            counts.append(len(queries))
        assert counts[0] == counts[1]

    @pytest.mark.parametrize("config", [{}, {"fields": {}}, {"fields": {"colour": "red"}}, {"fields": {"metadata": 3}}])
    def test_a_configuration_without_sense_is_no_configuration(self, config: dict) -> None:
        with pytest.raises(ValueError, match="validation error"):
            registry.actions["update_customer"].Config.model_validate(config)

    def test_its_card_says_what_it_does(self) -> None:
        action = registry.actions["update_customer"]
        assert action.summary(action.sample()) == "Set segment, metadata"


class TestAddTag:
    def test_run_twice_the_customer_has_it_once(self, workspace: Workspace, customer: Customer) -> None:
        # ACT-10
        first = ran(workspace, "action: add_tag, tag: at-risk", customer)
        second = ran(workspace, "action: add_tag, tag: at-risk", customer)
        assert CustomerTag.objects.filter(customer=customer, tag__slug="at-risk").count() == 1
        assert (first.output, second.output) == ({"tag": "at-risk", "added": True}, {"tag": "at-risk", "added": False})

    def test_the_tag_may_be_a_template(self, workspace: Workspace, customer: Customer) -> None:
        row = ran(workspace, 'action: add_tag, tag: "from {{trigger.place}}"', customer, {"place": "Berlin"})
        assert row.output["tag"] == "from-berlin"

    def test_an_empty_tag_fails_the_step(self, workspace: Workspace, customer: Customer) -> None:
        row = ran(workspace, 'action: add_tag, tag: "{{trigger.nothing}}"', customer)
        assert (row.status, row.error["code"]) == ("failed", "invalid")
        assert [warning["code"] for warning in row.warnings] == ["missing_value"]

    def test_a_tag_added_here_is_read_by_the_next_step(self, workspace: Workspace, customer: Customer) -> None:
        # DESIGN 5.2: roots that a step changes are read again before they are used
        body = (
            "steps:\n  - {type: action, action: add_tag, tag: fresh}\n"
            "  - {id: c, type: condition, if: customer.tags contains 'fresh', then: [{id: seen, type: action, action: add_tag, tag: seen}]}"
        )
        automation = published(workspace, body)
        happen(customer)
        settle()
        assert [row.step for row in log_of(the_run(automation))][-1] == "seen"

    def test_many_runs_at_once_are_one_bulk(self, workspace: Workspace) -> None:
        automation = published(workspace, step("action: add_tag, tag: crowd"))
        runs = started(automation, 12)
        assert {run.status for run in runs} == {"COMPLETED"}
        assert CustomerTag.objects.filter(tag__slug="crowd").count() == 12


class TestCreateTask:
    def test_one_open_task_with_assignee_and_message(self, workspace: Workspace, customer: Customer) -> None:
        # ACT-11
        member = make_member(workspace)
        row = ran(workspace, f"action: create_task, assignee: {member.email}, message: Call them", customer)
        task = Task.objects.get()
        assert (task.message, task.title, task.assignee, task.assignee_user_id) == (
            "Call them",
            "Call them",
            member.email,
            member.pk,
        )
        assert (task.state, task.customer_id, task.workspace_id) == ("open", customer.pk, workspace.pk)
        assert row.output == {"task": task.public_id, "assignee": member.email}

    def test_it_says_which_run_asked_for_it(self, workspace: Workspace, customer: Customer) -> None:
        ran(workspace, "action: create_task, message: Look", customer)
        assert Task.objects.get().run_id == Run.objects.get().pk

    def test_texts_are_templates_and_the_due_time_is_counted(self, workspace: Workspace, customer: Customer) -> None:
        body = 'action: create_task, title: "{{customer.name}}", message: "{{trigger.why}}", assignee: "{{trigger.who}}", dueIn: 2d'
        ran(workspace, body, customer, {"why": "declined", "who": "team sales"})
        task = Task.objects.get()
        assert (task.title, task.message, task.assignee) == ("Ana Ruiz", "declined", "team sales")
        assert task.due_at is not None
        assert abs(task.due_at - evaluation_now() - timedelta(days=2)) < timedelta(seconds=5)

    def test_a_run_about_nobody_can_ask_for_a_task(self, workspace: Workspace) -> None:
        automation = published(
            workspace, step("action: create_task, message: Look"), trigger="{type: schedule, interval: 24h}"
        )
        from tests.worker.living import pass_time

        pass_time("+25h")
        assert the_run(automation).status == "COMPLETED"
        assert Task.objects.get().customer_id is None

    def test_without_any_text_the_step_fails(self, workspace: Workspace, customer: Customer) -> None:
        row = ran(workspace, 'action: create_task, message: "{{trigger.nothing}}"', customer)
        assert (row.status, row.error["code"]) == ("failed", "invalid")
        assert not Task.objects.exists()

    @pytest.mark.parametrize("config", [{}, {"message": ""}, {"message": "x", "dueDate": "2d"}])
    def test_a_message_is_needed(self, config: dict) -> None:
        with pytest.raises(ValueError, match="validation error"):
            registry.actions["create_task"].Config.model_validate(config)
