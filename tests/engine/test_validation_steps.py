"""Validation of steps: type, configuration, what they name, where they are allowed (CNV-13, DEF-25, CONTRACTS 4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automations.engine.problems import Problem
from automations.engine.reading import read_definition
from automations.engine.validation import Known, validate
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.reading_tools import graph, source

KNOWN = Known(
    templates={"payment_failed_first", "welcome"},
    tags={"vip"},
    stages={"default/TRIAL", "TRIAL"},
    automations={"win-back"},
    senders={"billing@northwind.example"},
)


def check(steps: str, known: Known = KNOWN, event: str = "payment.failed") -> list[Problem]:
    """All problems of these steps below a trigger."""
    read = source(steps, f"name: X\ntrigger: {{type: event, event: {event}}}\n")
    return validate(read.definition, REGISTRY, known, read.lines)


def one(steps: str, known: Known = KNOWN, event: str = "payment.failed") -> Problem:
    """The only problem."""
    (problem,) = check(steps, known, event)
    return problem


def codes(steps: str, known: Known = KNOWN) -> list[str]:
    return [problem.code for problem in check(steps, known)]


class TestSamples:
    def test_the_quick_start_has_no_problems(self) -> None:
        # DEF-20
        read = read_definition(Path("docs/samples/quick-start.yaml").read_text(), REGISTRY)
        assert validate(read.definition, REGISTRY, KNOWN, read.lines) == []

    def test_everything_at_once_has_no_errors(self) -> None:
        # CONTRACTS 4: valid as it stands where the template and the automation that it names exist
        read = read_definition(Path("tests/engine/samples/everything.yaml").read_text(), REGISTRY)
        problems = validate(read.definition, REGISTRY, KNOWN, read.lines)
        assert [problem for problem in problems if problem.severity == "error"] == []

    def test_three_errors_are_told_together_with_key_path_and_line(self) -> None:
        # DEF-25
        text = """\
name: X
trigger:
  type: event
  event: payment.faild
steps:
  - type: action
    action: send_emial
  - type: delay
    duration: 3x
"""
        read = read_definition(text, REGISTRY)
        problems = validate(read.definition, REGISTRY, KNOWN, read.lines)
        assert [(problem.code, problem.path, problem.line) for problem in problems] == [
            ("unknown_event", "trigger.event", 4),
            ("unknown_action", "steps[0].action", 7),
            ("bad_duration", "steps[1].duration", 9),
        ]
        assert [problem.help for problem in problems[:2]] == [
            "Did you mean payment.failed?",
            "Did you mean send_email?",
        ]

    def test_the_problem_of_the_contract(self) -> None:
        # CONTRACTS 4, Problem
        read = read_definition(
            Path("docs/samples/quick-start.yaml").read_text().replace("payment_failed_first", "payment_faild_first"),
            REGISTRY,
        )
        (problem,) = validate(read.definition, REGISTRY, KNOWN, read.lines)
        shown = problem.as_json()
        assert (shown["code"], shown["severity"], shown["step"]) == ("unknown_template", "error", "send_email")
        assert (shown["path"], shown["pointer"]) == ("steps[0].then[0].template", "/nodes/1/config/template")
        assert shown["line"] == 12
        assert "“payment_faild_first”" in shown["message"]
        assert shown["help"] == "Did you mean payment_failed_first?"


class TestMissing:
    @pytest.mark.parametrize(
        ("step", "path"),
        [
            ("{type: CONDITIONAL_SPLIT}", "steps[0].if"),
            ("{type: condition, if: ''}", "steps[0].if"),
            ("{type: PERCENTAGE_SPLIT}", "steps[0].percent"),
            ("{type: WAIT_UNTIL}", "steps[0].event"),
            ("{type: WAIT_UNTIL, event: ''}", "steps[0].event"),
            ("{type: WAIT}", "steps[0].duration"),
            ("{type: branch}", "steps[0].cases"),
            ("{type: branch, cases: []}", "steps[0].cases"),
            ("{type: branch, cases: [{id: a}]}", "steps[0].cases[0].if"),
            ("{type: loop, steps: [{type: stop}]}", "steps[0].over"),
            ("{type: action, action: create_task}", "steps[0].message"),
            ("{type: action, action: add_tag}", "steps[0].tag"),
            ("{type: action, action: send_webhook}", "steps[0].url"),
        ],
    )
    def test_each_is_one_error_at_its_key(self, step: str, path: str) -> None:
        # CNV-13
        problem = one(f"- {step}")
        assert (problem.code, problem.path, problem.line, problem.severity) == ("missing_config", path, 4, "error")

    def test_a_wait_of_zero(self) -> None:
        # CNV-13, STP-12
        problem = one("- {type: WAIT, months: 0, days: 0, hours: 0, minutes: 0}")
        assert (problem.code, problem.path) == ("wait_zero", "steps[0].months")

    def test_a_time_out_of_zero(self) -> None:
        problem = one("- {type: wait_until, event: demo_booked, timeout: 0d}")
        assert (problem.code, problem.path) == ("wait_zero", "steps[0].timeout")

    def test_no_sender(self) -> None:
        # CNV-13: an error only where the workspace has no default verified sender
        step = "- {type: SEND_EMAIL, template: welcome}"
        assert codes(step) == []
        assert codes(step, replace(KNOWN, has_sender=False)) == ["no_sender"]

    def test_a_named_sender_that_is_not_verified(self) -> None:
        problem = one("- {type: SEND_EMAIL, template: welcome, sender: biling@northwind.example}")
        assert (problem.code, problem.path, problem.help) == (
            "no_sender",
            "steps[0].sender",
            "Did you mean billing@northwind.example?",
        )

    def test_a_named_sender_needs_no_default(self) -> None:
        step = "- {type: SEND_EMAIL, template: welcome, sender: billing@northwind.example}"
        assert codes(step, replace(KNOWN, has_sender=False)) == []


class TestBadConfig:
    @pytest.mark.parametrize(
        ("step", "path"),
        [
            ("{type: percentage_split, percent: 130}", "steps[0].percent"),
            ("{type: percentage_split, percent: half}", "steps[0].percent"),
            ("{type: percentage_split, percent: 12.5}", "steps[0].percent"),
            ("{type: delay, duration: 3d, until: '09:00'}", "steps[0]"),
            ("{type: delay, anchor: birthday}", "steps[0]"),
            ("{type: delay, duration: [3d]}", "steps[0].duration"),
            ("{type: delay, duration: 3d, at: noon}", "steps[0].at"),
            ("{type: branch, cases: {a: 1}}", "steps[0].cases"),
            ("{type: branch, cases: [a]}", "steps[0].cases[0]"),
            ("{type: branch, cases: [{id: x, if: 1 == 1}, {id: x, if: 1 == 1}]}", "steps[0].cases"),
            ("{type: branch, cases: [{id: error, if: 1 == 1}]}", "steps[0].cases"),
            ("{type: branch, cases: [{id: a b, if: 1 == 1}]}", "steps[0].cases[0].id"),
            ("{type: loop, over: 5}", "steps[0].over"),
            ("{type: loop, over: {query: 5}}", "steps[0].over.query"),
            ("{type: loop, over: x, as: trigger}", "steps[0].as"),
            ("{type: loop, over: x, as: 1st}", "steps[0].as"),
            ("{type: wait_until, event: demo_booked, emails: some}", "steps[0].emails"),
            ("{type: wait_until, event: Demo Booked}", "steps[0].event"),
            ("{type: action, action: send_webhook, url: x, method: GO}", "steps[0].method"),
            ("{type: action, action: send_webhook, url: x, headers: {a: 1}}", "steps[0].headers.a"),
            ("{type: action, action: create_task, message: {a: 1}}", "steps[0].message"),
        ],
    )
    def test_it_is_one_error_at_its_key(self, step: str, path: str) -> None:
        problem = one(f"- {step}")
        assert (problem.code, problem.severity) == ("bad_config", "error")
        assert path.startswith(problem.path)

    def test_an_unknown_setting_gets_the_nearest(self) -> None:
        problem = one("- {type: action, action: send_email, template: welcome, tempalte: x}")
        assert (problem.code, problem.path, problem.help) == (
            "bad_config",
            "steps[0].tempalte",
            "Did you mean template?",
        )

    def test_an_unknown_setting_deep_inside(self) -> None:
        problem = one("- {type: loop, over: {query: invoices, were: x}}")
        assert (problem.code, problem.path) == ("bad_config", "steps[0].over.were")

    def test_all_problems_of_one_step_are_told(self) -> None:
        problems = check("- {type: action, action: send_webhook, methd: x, headers: {a: 1}}")
        assert {(problem.code, problem.path) for problem in problems} == {
            ("missing_config", "steps[0].url"),
            ("bad_config", "steps[0].methd"),
            ("bad_config", "steps[0].headers.a"),
        }

    def test_an_error_of_the_configuration_hides_none_of_an_expression(self) -> None:
        problems = check("- {type: loop, over: {query: invoices, where: 'a ='}, as: 1st}")
        assert {problem.code for problem in problems} == {"bad_config", "bad_expression"}

    def test_error_handling(self) -> None:
        handling = "{retries: -1, retryDelay: soon, backoffMultiplier: 0.5}"
        problems = check(f"- {{type: stop, errorHandling: {handling}}}")
        assert {(problem.code, problem.path) for problem in problems} == {
            ("bad_config", "steps[0].errorHandling.retries"),
            ("bad_config", "steps[0].errorHandling.backoffMultiplier"),
            ("bad_duration", "steps[0].errorHandling.retryDelay"),
        }

    def test_no_wait_between_retries_is_allowed(self) -> None:
        assert check("- {type: stop, errorHandling: {retries: 1, retryDelay: 0s}}") == []


class TestDurations:
    @pytest.mark.parametrize(
        ("step", "path"),
        [
            ("{type: delay, duration: 3x}", "steps[0].duration"),
            ("{type: delay, duration: ''}", "steps[0].duration"),
            ("{type: delay, duration: -3d}", "steps[0].duration"),
            ("{type: delay, anchor: due_date, offset: later}", "steps[0].offset"),
            ("{type: wait_until, event: demo_booked, timeout: forever}", "steps[0].timeout"),
        ],
    )
    def test_what_is_none_is_told_once(self, step: str, path: str) -> None:
        # DEF-16
        problem = one(f"- {step}")
        assert (problem.code, problem.path) == ("bad_duration", path)

    @pytest.mark.parametrize("duration", ["3d", "5m", "2h", "1w", "1mo", "30s", "1d12h"])
    def test_every_unit_is_taken(self, duration: str) -> None:
        # DEF-16
        assert check(f"- {{type: delay, duration: {duration}}}") == []

    @pytest.mark.parametrize("offset", ["-3d", "3d", "0d"])
    def test_an_offset_may_have_a_sign(self, offset: str) -> None:
        assert check(f"- {{type: delay, anchor: due_date, offset: {offset}}}") == []


class TestNames:
    @pytest.mark.parametrize(
        ("step", "code", "path", "help"),
        [
            ("{type: SEND_EMAIL, template: welcom}", "unknown_template", "steps[0].template", "Did you mean welcome?"),
            (
                "{type: action, action: start_automation, automation: winback}",
                "unknown_automation",
                "steps[0].automation",
                "Did you mean win-back?",
            ),
            (
                "{type: action, action: update_customer, fields: {}, stage: TRAIL}",
                "unknown_stage",
                "steps[0].stage",
                "Did you mean TRIAL?",
            ),
        ],
    )
    def test_an_unknown_name_is_an_error_with_the_nearest(self, step: str, code: str, path: str, help: str) -> None:
        problem = one(f"- {step}")
        assert (problem.code, problem.path, problem.help, problem.severity) == (code, path, help, "error")

    def test_a_new_tag_is_only_noted_for_giving_it_makes_it(self) -> None:
        problem = one("- {type: action, action: add_tag, tag: vipp}")
        assert (problem.code, problem.severity, problem.help) == ("unknown_tag", "info", "Did you mean vip?")

    def test_names_that_were_not_loaded_are_not_judged(self) -> None:
        assert codes("- {type: SEND_EMAIL, template: anything}", Known()) == []

    def test_a_name_made_by_a_template_is_not_judged(self) -> None:
        assert codes("- {type: SEND_EMAIL, template: '{{trigger.template}}'}") == []

    def test_an_unknown_action_of_a_stored_version(self) -> None:
        data = {"name": "X", "trigger": {"type": "manual"}, "nodes": [{"id": "a", "type": "gone"}]}
        from automations.engine.reading import read_data

        read = read_data({**data, "edges": [{"from": "trigger", "to": "a"}]}, REGISTRY)
        (problem,) = validate(read.definition, REGISTRY, KNOWN, read.lines)
        assert (problem.code, problem.path, problem.pointer) == ("unknown_action", "nodes[0].type", "/nodes/0/type")


class TestAllowed:
    def test_an_action_on_a_trigger_that_it_is_not_for(self) -> None:
        problem = one("- {type: action, action: retry_payment}", event="customer.created")
        assert (problem.code, problem.path, problem.step) == ("action_not_allowed", "steps[0].action", "retry_payment")
        assert "payment.failed" in problem.help

    def test_an_action_that_needs_an_object_which_the_trigger_does_not_bring(self) -> None:
        problem = one("- {type: action, action: void_invoice}", event="customer.created")
        assert (problem.code, problem.path) == ("subject_missing", "steps[0].action")
        assert "invoice" in problem.message

    def test_an_event_of_ones_own_brings_its_customer(self) -> None:
        assert check("- {type: SEND_EMAIL, template: welcome}", event="demo_booked") == []

    @pytest.mark.parametrize(
        ("trigger", "allowed"),
        [
            ("{type: schedule, cron: 0 9 * * 1}", False),
            ("{type: schedule, cron: 0 9 * * 1, forEach: {query: invoices}}", True),
            ("{type: schedule, cron: 0 9 * * 1, forEach: {query: customers}}", False),
            ("{type: manual}", True),
            ("{type: event, event: invoice.paid}", True),
        ],
    )
    def test_where_an_invoice_comes_from(self, trigger: str, allowed: bool) -> None:
        read = source("- {type: action, action: void_invoice}", f"name: X\ntrigger: {trigger}\n")
        found = [problem.code for problem in validate(read.definition, REGISTRY, KNOWN, read.lines)]
        assert ("subject_missing" in found) is not allowed

    def test_a_loop_over_records_brings_them(self) -> None:
        # STP-24
        loop = "- {type: loop, over: {query: invoices}, steps: [{type: action, action: void_invoice}]}"
        read = source(loop, "name: X\ntrigger: {type: schedule, interval: 24h}\n")
        assert validate(read.definition, REGISTRY, KNOWN, read.lines) == []


class TestPlaces:
    def test_without_a_text_paths_are_those_of_the_graph(self) -> None:
        nodes: list[dict[str, Any]] = [{"id": "a", "type": "delay", "config": {"duration": "3x"}}]
        definition = graph(nodes, [{"from": "trigger", "to": "a"}])
        (problem,) = validate(definition, REGISTRY, KNOWN)
        assert (problem.path, problem.pointer, problem.line) == (
            "nodes[0].config.duration",
            "/nodes/0/config/duration",
            None,
        )

    def test_a_pointer_escapes_its_keys(self) -> None:
        problem = one('- {type: action, action: send_webhook, url: x, headers: {"a/b~c": 1}}')
        assert problem.pointer == "/nodes/0/config/headers/a~1b~0c"

    def test_lines_stay_right_when_ids_were_aligned(self) -> None:
        from automations.engine.align import align

        old = source("- {id: first, type: delay, duration: 3d}\n- {id: second, type: delay, duration: 3x}")
        new = source("- {type: delay, duration: 3d}\n- {type: delay, duration: 3x}")
        aligned = align(new.definition, old.definition)
        (problem,) = validate(aligned, REGISTRY, KNOWN, new.lines)
        assert (problem.step, problem.path, problem.line) == ("second", "steps[1].duration", 5)

    def test_errors_come_before_warnings(self) -> None:
        problems = check("- {type: condition, if: nope.x == Word, then: [{type: delay, duration: 3x}]}")
        assert [problem.severity for problem in problems] == ["error", "warning", "info"]
