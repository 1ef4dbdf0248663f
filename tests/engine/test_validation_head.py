"""Validation of trigger, exits, goal and settings (TRG, DEF-21, DEF-25, RUN-28)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automations.engine.kinds import Config, End
from automations.engine.problems import Problem
from automations.engine.registry import Registry
from automations.engine.validation import Known, validate
from tests.engine.kinds_for_tests import REGISTRY, PaymentFailed
from tests.engine.reading_tools import source

TASK = "- {type: action, action: create_task, message: m}"
EVENT = "trigger: {type: event, event: payment.failed}\n"


def check(head: str, known: Known | None = None, registry: Registry = REGISTRY) -> list[Problem]:
    read = source(TASK, "name: X\n" + head)
    return validate(read.definition, registry, known or Known(stages={"default/TRIAL"}), read.lines)


def one(head: str, known: Known | None = None) -> Problem:
    (problem,) = check(head, known)
    return problem


class TestEvents:
    @pytest.mark.parametrize(
        ("written", "nearest"),
        [
            ("payment.faild", "payment.failed"),
            ("invoice.payd", "invoice.paid"),
            ("customer.create", "customer.created"),
        ],
    )
    def test_a_name_inside_a_group_must_be_known(self, written: str, nearest: str) -> None:
        # DEF-25
        problem = one(f"trigger: {{type: event, event: {written}}}\n")
        assert (problem.code, problem.severity) == ("unknown_event", "error")
        assert (problem.path, problem.line, problem.help) == ("trigger.event", 2, f"Did you mean {nearest}?")

    @pytest.mark.parametrize("name", ["demo_booked", "purchase", "shop.order_paid", "a"])
    def test_any_other_name_is_an_event_of_ones_own(self, name: str) -> None:
        # TRG-52
        assert check(f"trigger: {{type: event, event: {name}}}\n") == []

    def test_a_slip_in_a_catalogue_name_is_a_warning(self) -> None:
        problem = one("trigger: {type: event, event: stage_entre}\n")
        assert (problem.code, problem.severity, problem.help) == (
            "unknown_event",
            "warning",
            "Did you mean stage_enter?",
        )

    def test_unless_such_an_event_was_seen(self) -> None:
        assert check("trigger: {type: event, event: stage_entre}\n", Known(events={"stage_entre": ["x"]})) == []

    @pytest.mark.parametrize("name", ["Payment.Failed", "9lives", "has blank", "ümlaut"])
    def test_a_name_that_no_event_can_have(self, name: str) -> None:
        assert one(f"trigger: {{type: event, event: {name}}}\n").code == "bad_config"

    def test_no_name(self) -> None:
        problem = one("trigger: {type: event}\n")
        assert (problem.code, problem.path) == ("missing_config", "trigger.event")

    def test_waits_exits_and_goals_are_checked_alike(self) -> None:
        head = EVENT + "exits: [{event: invoice.payed}]\ngoal: {event: invoice.payde, within: 3d}\n"
        read = source("- {type: wait_until, event: invoice.pade}", "name: X\n" + head)
        problems = validate(read.definition, REGISTRY, Known(), read.lines)
        assert [(problem.code, problem.path) for problem in problems] == [
            ("unknown_event", "exits[0].event"),
            ("unknown_event", "goal.event"),
            ("unknown_event", "steps[0].event"),
        ]


class TestParameters:
    def test_a_declared_one(self) -> None:
        assert check("trigger: {type: event, event: stage_enter, stage: TRIAL}\n") == []

    def test_an_unknown_one_gets_the_nearest(self) -> None:
        problem = one("trigger: {type: event, event: stage_enter, stge: TRIAL}\n")
        assert (problem.code, problem.path, problem.help) == ("bad_config", "trigger.stge", "Did you mean stage?")

    def test_a_wrong_one(self) -> None:
        assert one("trigger: {type: event, event: stage_enter, stage: 5}\n").path == "trigger.stage"

    def test_the_age_is_a_duration(self) -> None:
        problem = one("trigger: {type: event, event: payment.failed, maxAge: old}\n")
        assert (problem.code, problem.path) == ("bad_duration", "trigger.maxAge")

    def test_its_where_is_an_expression(self) -> None:
        problem = one("trigger: {type: event, event: payment.failed, where: '== 1'}\n")
        assert (problem.code, problem.path, problem.pointer) == ("bad_expression", "trigger.where", "/trigger/where")


class TestSchedules:
    @pytest.mark.parametrize(
        "text",
        [
            "interval: 24h",
            "cron: 0 9 * * 1",
            "calendar: first day of month",
            "interval: 1d, at: '09:00', timeZone: Europe/Berlin",
            "cron: 0 9 * * 1, forEach: {query: invoices, where: invoice.status == 'overdue'}",
        ],
    )
    def test_it_is_accepted(self, text: str) -> None:
        # DEF-21
        assert check(f"trigger: {{type: schedule, {text}}}\n") == []

    @pytest.mark.parametrize(
        ("text", "code", "path"),
        [
            ("at: '09:00'", "missing_config", "trigger"),
            ("interval: 24h, cron: 0 9 * * 1", "bad_config", "trigger.cron"),
            ("cron: every monday", "bad_cron", "trigger.cron"),
            ("cron: 61 9 * * 1", "bad_cron", "trigger.cron"),
            ("cron: 0 9 30 2 *", "impossible_schedule", "trigger.cron"),
            ("interval: soon", "bad_duration", "trigger.interval"),
            ("calendar: some day", "bad_config", "trigger.calendar"),
            ("cron: 0 9 * * 1, timeZone: Mars/North", "bad_config", "trigger.cron"),
        ],
    )
    def test_it_is_one_error(self, text: str, code: str, path: str) -> None:
        # DEF-21
        problem = one(f"trigger: {{type: schedule, {text}}}\n")
        assert (problem.code, problem.path, problem.severity) == (code, path, "error")

    def test_an_unknown_parameter_is_told_besides(self) -> None:
        problems = check("trigger: {type: schedule, cron: nonsense, forEch: {query: invoices}}\n")
        assert {problem.code for problem in problems} == {"bad_cron", "bad_config"}

    def test_the_where_of_its_records_is_an_expression(self) -> None:
        text = "interval: 24h, forEach: {query: invoices, where: 'status ='}"
        problem = one(f"trigger: {{type: schedule, {text}}}\n")
        assert (problem.code, problem.path) == ("bad_expression", "trigger.forEach.where")


class TestExits:
    def test_one_that_stands_there_twice(self) -> None:
        problem = one(EVENT + "exits: [{event: invoice.paid}, {event: invoice.paid, reason: again}]\n")
        assert (problem.code, problem.severity, problem.path) == ("duplicate_exit", "warning", "exits[1].event")

    def test_two_with_different_conditions(self) -> None:
        exits = "exits: [{event: invoice.paid, where: invoice.total > 5}, {event: invoice.paid}]\n"
        assert check(EVENT + exits) == []

    def test_one_that_the_trigger_has_by_itself(self) -> None:
        class Ending(PaymentFailed):
            ends = (End("invoice.paid", "invoice_paid"),)

        triggers = {**REGISTRY.triggers, "payment.failed": Ending()}
        registry = replace(REGISTRY, triggers=triggers)
        (problem,) = check(EVENT + "exits: [{event: invoice.paid}]\n", registry=registry)
        assert (problem.code, problem.severity) == ("duplicate_exit", "info")

    def test_one_without_an_event(self) -> None:
        problem = one(EVENT + "exits: [{reason: none}]\n")
        assert (problem.code, problem.path) == ("missing_config", "exits[0].event")

    def test_its_where_is_an_expression(self) -> None:
        problem = one(EVENT + "exits: [{event: invoice.paid, where: [1 == 1, '(']}]\n", Known())
        assert (problem.code, problem.path, problem.pointer) == (
            "bad_expression",
            "exits[0].where[1]",
            "/exits/0/where/1",
        )


class TestGoal:
    @pytest.mark.parametrize(
        ("goal", "code", "path"),
        [
            ("{event: invoice.paid}", "missing_config", "goal.within"),
            ("{event: invoice.paid, within: soon}", "bad_duration", "goal.within"),
            ("{event: invoice.paid, within: 0d}", "bad_duration", "goal.within"),
            ("{within: 14d}", "missing_config", "goal.event"),
            ("{event: invoice.paid, within: 14d, where: ')'}", "bad_expression", "goal.where"),
        ],
    )
    def test_it_is_one_error(self, goal: str, code: str, path: str) -> None:
        problem = one(EVENT + f"goal: {goal}\n")
        assert (problem.code, problem.path) == (code, path)


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "code", "path"),
        [
            ("{maxRunAge: long}", "bad_duration", "settings.maxRunAge"),
            ("{maxRunAge: 0d}", "bad_duration", "settings.maxRunAge"),
            ("{scope: [default/TRAIL]}", "unknown_stage", "settings.scope[0]"),
            ("{errorHandling: {retries: -1}}", "bad_config", "settings.errorHandling.retries"),
            ("{errorHandling: {backoffMultiplier: 0.5}}", "bad_config", "settings.errorHandling.backoffMultiplier"),
            ("{errorHandling: {retryDelay: x}}", "bad_duration", "settings.errorHandling.retryDelay"),
        ],
    )
    def test_it_is_one_error(self, settings: str, code: str, path: str) -> None:
        problem = one(EVENT + f"settings: {settings}\n")
        assert (problem.code, problem.path, problem.severity) == (code, path, "error")

    def test_an_unknown_stage_gets_the_nearest(self) -> None:
        assert one(EVENT + "settings: {scope: [default/TRAIL]}\n").help == "Did you mean default/TRIAL?"

    @pytest.mark.parametrize(
        ("key", "good"), [("win-back_2", True), ("Ok", True), ("no blanks", False), ("a/b", False), ("-", False)]
    )
    def test_a_key_is_a_slug(self, key: str, good: bool) -> None:
        problems = check(f"key: {key!r}\n" + EVENT)
        assert [problem.path for problem in problems] == ([] if good else ["key"])


def test_a_catalogue_without_the_trigger_type_does_not_crash() -> None:
    read = source(TASK, "name: X\ntrigger: {type: event, event: x}\n")
    bare = Registry(REGISTRY.steps, REGISTRY.actions)
    assert validate(read.definition, bare, Known(), read.lines) == []
    assert Config.model_fields == {}
