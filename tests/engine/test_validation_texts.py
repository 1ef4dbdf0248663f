"""Validation of expressions, templates and the variables they name (VAR-26, CND, C-09, DESIGN 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from automations.engine.problems import Problem
from automations.engine.validation import Known, validate
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.reading_tools import source

EVENT = "name: X\ntrigger: {type: event, event: payment.failed}\n"


def check(steps: str, event: str = "payment.failed", events: Mapping[str, Any] | None = None) -> list[Problem]:
    read = source(steps, f"name: X\ntrigger: {{type: event, event: {event}}}\n")
    return validate(read.definition, REGISTRY, Known(events=events or {}), read.lines)


def condition(expression: str, event: str = "payment.failed", events: Mapping[str, Any] | None = None) -> list[Problem]:
    """Problems of one condition."""
    return check(f'- type: condition\n  if: "{expression}"', event, events)


def task(template: str, **more: Any) -> list[Problem]:
    """Problems of one template."""
    return check(f"- type: action\n  action: create_task\n  message: '{template}'", **more)


class TestSyntax:
    @pytest.mark.parametrize("expression", ["invoice.total >", "== 1", "(a", "a b", "a == 1 and", "f(x)", "{{x"])
    def test_an_expression_that_cannot_be_read(self, expression: str) -> None:
        (problem,) = condition(expression)
        assert (problem.code, problem.path, problem.severity) == ("bad_expression", "steps[0].if", "error")
        assert expression in problem.message

    @pytest.mark.parametrize("template", ["{{ invoice.total", "{% if x %}", "{{ x | nofilter }}", "{% import y %}"])
    def test_a_template_that_cannot_be_read(self, template: str) -> None:
        (problem,) = task(template)
        assert (problem.code, problem.path, problem.severity) == ("bad_template", "steps[0].message", "error")

    def test_templates_deep_inside_data(self) -> None:
        problems = check("""
            - type: action
              action: send_webhook
              url: "https://x.example/{{ a"
              headers: {X-A: "{{ b"}
              body: {list: [ok, {deep: "{{ c"}]}
            """)
        assert {problem.path for problem in problems if problem.code == "bad_template"} == {
            "steps[0].url",
            "steps[0].headers.X-A",
            "steps[0].body.list[1].deep",
        }

    def test_every_case_of_a_branch(self) -> None:
        problems = check("- {type: branch, cases: [{id: a, if: '('}, {id: b, if: ')'}]}")
        assert [problem.path for problem in problems] == ["steps[0].cases[0].if", "steps[0].cases[1].if"]

    def test_the_filter_of_a_wait(self) -> None:
        (problem,) = check("- {type: wait_until, event: demo_booked, filter: 'event.'}")
        assert (problem.code, problem.path) == ("bad_expression", "steps[0].filter")

    def test_each_filter_of_a_list(self) -> None:
        read = source("- {type: stop}", EVENT + "filter: ['customer.country = DE', '(']\n")
        problems = validate(read.definition, REGISTRY, Known(), read.lines)
        assert (problems[0].code, problems[0].path, problems[0].pointer) == ("bad_expression", "filter[1]", "/filter/1")

    def test_a_filter_that_stands_alone(self) -> None:
        read = source("- {type: stop}", EVENT + "filter: '('\n")
        (problem,) = validate(read.definition, REGISTRY, Known(), read.lines)
        assert (problem.path, problem.pointer, problem.line) == ("filter", "/filter", 3)

    def test_a_single_filter_written_as_a_list(self) -> None:
        read = source("- {type: stop}", EVENT + "filter:\n  - '('\n")
        (problem,) = validate(read.definition, REGISTRY, Known(), read.lines)
        assert (problem.path, problem.pointer, problem.line) == ("filter[0]", "/filter", 4)


class TestVariables:
    @pytest.mark.parametrize(
        "expression",
        [
            "invoice.total >= 10",
            "invoice.dueDate is empty",
            "invoice.due_date is empty",
            "invoice.lines[0].description == 'x'",
            "invoice.customer.country == 'DE'",
            "customer.metadata.anything == 1",
            "profile.country == 'DE'",
            "country in ['US', 'CA']",
            "email_opened == true",
            "trigger.failureCount == 1",
            "trigger.failure_count == 1",
            "{{trigger.failureCount}} == 1",
            "trigger.customer.email contains '@'",
            "trigger.invoice.lines[0].amount == 1",
            "trigger.accountOwner is defined",
            "failureCount == 1",
            "run.id is defined",
            "run.started_at is defined",
            "workspace.currency == 'EUR'",
            "now | date is defined",
            "wait.outcome == 'event'",
        ],
    )
    def test_what_the_trigger_can_supply(self, expression: str) -> None:
        assert [problem for problem in condition(expression) if problem.code != "bare_word"] == []

    @pytest.mark.parametrize(
        ("expression", "help"),
        [
            ("invoice.nope == 1", ""),
            ("invoice.totl == 1", "Did you mean total?"),
            ("invoice.lines[0].amont == 1", "Did you mean amount?"),
            ("invoice.lines.amount == 1", ""),
            ("invoice.total.cents == 1", ""),
            ("customer.contry == 'DE'", "Did you mean country?"),
            ("profile.contry == 'DE'", "Did you mean country?"),
            ("trigger.failureCont == 1", "Did you mean failureCount?"),
            ("trigger.customer.nme == 'x'", "Did you mean name?"),
            ("nothing == 1", ""),
            ("run.nope == 1", ""),
            ("wait.result == 1", ""),
        ],
    )
    def test_a_name_that_nothing_supplies_is_a_warning(self, expression: str, help: str) -> None:
        # VAR-26
        (problem,) = condition(expression)
        assert (problem.code, problem.severity, problem.path) == ("unknown_variable", "warning", "steps[0].if")
        if help:
            assert problem.help == help

    def test_the_example_of_the_requirement(self) -> None:
        # VAR-26: {{invoice.nope}}
        (problem,) = task("{{invoice.nope}}")
        assert (problem.code, problem.severity) == ("unknown_variable", "warning")

    @pytest.mark.parametrize(
        ("expression", "event"), [("invoice.total == 1", "customer.created"), ("invoice.total == 1", "demo_booked")]
    )
    def test_an_object_that_the_trigger_never_brings(self, expression: str, event: str) -> None:
        (problem,) = condition(expression, event)
        assert problem.code == "unknown_variable"
        assert "“invoice.total”" in problem.message

    def test_every_text_of_data_is_looked_at(self) -> None:
        problems = check(
            "- {type: action, action: start_automation, automation: x, payload: {a: '{{invoice.nope}}', b: ['{{customer.nope}}']}}"
        )
        assert [problem.path for problem in problems] == ["steps[0].payload.a", "steps[0].payload.b[0]"]


class TestEvents:
    def test_an_undeclared_field_of_a_custom_event(self) -> None:
        (problem,) = condition("trigger.seats > 5", "demo_booked")
        assert (problem.code, problem.severity) == ("unseen_field", "warning")

    @pytest.mark.parametrize(
        "path", ["trigger.seats", "seats", "trigger.plan.name", "trigger.plan", "trigger.items[0].id"]
    )
    def test_a_field_that_was_seen(self, path: str) -> None:
        events = {"demo_booked": ["seats", "plan.name", "items"]}
        assert condition(f"{path} == 5", "demo_booked", events) == []

    def test_the_nearest_field_that_was_seen(self) -> None:
        (problem,) = condition("trigger.seets == 5", "demo_booked", {"demo_booked": ["seats"]})
        assert (problem.code, problem.help) == ("unseen_field", "Did you mean seats?")

    def test_the_customer_of_a_custom_event(self) -> None:
        assert condition("trigger.customer.email is defined", "demo_booked") == []

    def test_an_undeclared_field_of_the_catalogue_that_was_posted(self) -> None:
        (problem,) = condition("trigger.campaign == 5", events={"payment.failed": ["campaign"]})
        assert (problem.code, problem.severity) == ("learned_field", "info")

    def test_the_payload_of_a_manual_trigger_is_the_callers(self) -> None:
        read = source("- {type: condition, if: trigger.anything.at_all == 1}", "name: X\ntrigger: {type: manual}\n")
        assert validate(read.definition, REGISTRY, Known(), read.lines) == []

    def test_event_stands_in_the_filter_of_a_wait(self) -> None:
        wait = "- {{type: wait_until, event: {}, filter: {}}}"
        assert check(wait.format("demo_booked", "event.seats > 5"), events={"demo_booked": ["seats"]}) == []
        assert check(wait.format("payment.failed", "event.failureCount > 5")) == []
        (problem,) = check(wait.format("payment.failed", "event.failureCuont > 5"))
        assert (problem.code, problem.help) == ("unknown_variable", "Did you mean failureCount?")

    def test_event_stands_in_exits_and_goals(self) -> None:
        head = EVENT + "exits: [{event: invoice.paid, where: event.nope == 1}]\n"
        head += "goal: {event: demo_booked, within: 3d, where: event.seats == 1}\n"
        read = source("- {type: stop}", head)
        problems = validate(read.definition, REGISTRY, Known(), read.lines)
        assert [(problem.code, problem.path) for problem in problems] == [
            ("unknown_variable", "exits[0].where"),
            ("unseen_field", "goal.where"),
        ]

    def test_elsewhere_there_is_no_event(self) -> None:
        (problem,) = condition("event.seats > 5")
        assert (problem.code, problem.help) == ("unknown_variable", "")


class TestLoops:
    def test_the_item_and_the_loop_are_seen_inside(self) -> None:
        # DEF-29
        body = "{type: action, action: create_task, message: '{{loop.index}} {{line.description}} {{loop.first}}'}"
        assert check(f"- {{type: loop, over: '{{{{invoice.lines}}}}', as: line, steps: [{body}]}}") == []

    def test_the_default_name_is_item(self) -> None:
        body = "{type: action, action: create_task, message: '{{item.x}}'}"
        assert check(f"- {{type: loop, over: '{{{{invoice.lines}}}}', steps: [{body}]}}") == []

    def test_they_are_not_seen_outside(self) -> None:
        problems = check("""
            - {type: loop, over: "{{invoice.lines}}", as: line, steps: [{type: stop}]}
            - {type: action, action: create_task, message: "{{line.description}} {{loop.index}}"}
            """)
        assert [problem.code for problem in problems] == ["unknown_variable", "unknown_variable"]

    def test_records_of_a_query_are_typed(self) -> None:
        body = "{type: action, action: create_task, message: '{{late.number}} {{late.customer.name}} {{late.numbr}}'}"
        (problem,) = check(f"- {{type: loop, over: {{query: invoices}}, as: late, steps: [{body}]}}")
        assert (problem.code, problem.help) == ("unknown_variable", "Did you mean number?")

    def test_the_where_of_a_query_sees_its_records(self) -> None:
        head = "name: X\ntrigger: {type: schedule, interval: 24h}\n"
        loop = "- {type: loop, over: {query: invoices, where: 'invoice.total > 5 and late.total > 5'}, as: late, steps: [{type: stop}]}"
        read = source(loop, head)
        assert validate(read.definition, REGISTRY, Known(), read.lines) == []

    def test_the_records_of_a_schedule_are_seen(self) -> None:
        head = (
            "name: X\ntrigger: {type: schedule, interval: 24h, forEach: {query: invoices, where: invoice.nope == 1}}\n"
        )
        read = source("- {type: condition, if: invoice.total > 5 and customer.country == 'DE'}", head)
        (problem,) = validate(read.definition, REGISTRY, Known(), read.lines)
        assert (problem.code, problem.path) == ("unknown_variable", "trigger.forEach.where")


class TestSteps:
    AGAIN = "- {id: again, type: action, action: retry_payment}\n"

    @pytest.mark.parametrize("path", ["steps.again.result", "steps.again.failureReason", "steps.again.failure_reason"])
    def test_what_a_step_gives(self, path: str) -> None:
        assert check(self.AGAIN + f"- {{type: condition, if: {path} == 'declined'}}") == []

    def test_what_it_does_not_give(self) -> None:
        (problem,) = check(self.AGAIN + "- {type: condition, if: steps.again.reslt == 'declined'}")
        assert (problem.code, problem.severity, problem.help) == ("unknown_variable", "warning", "Did you mean result?")

    def test_a_step_that_does_not_exist(self) -> None:
        (problem,) = check(self.AGAIN + "- {type: condition, if: steps.agian.result == 'declined'}")
        assert (problem.code, problem.severity, problem.help) == (
            "unknown_step_reference",
            "error",
            "Did you mean steps.again?",
        )

    def test_a_step_without_declared_output(self) -> None:
        assert (
            check("- {id: t, type: action, action: create_task, message: m}\n- {type: condition, if: steps.t.x == 1}")
            == []
        )


class TestBareWords:
    def test_a_word_on_the_right_is_text_and_noted(self) -> None:
        # CND-28
        (problem,) = condition("customer.segment = enterprise")
        assert (problem.code, problem.severity, problem.help) == ("bare_word", "info", 'Write "enterprise".')

    def test_quoted_words_are_not(self) -> None:
        assert condition("customer.segment = 'enterprise'") == []
