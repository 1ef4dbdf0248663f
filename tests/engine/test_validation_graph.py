"""Validation of the graph as a whole (CNV-11, CNV-12, CNV-17, LIM-10, LIM-11, LIM-15, C-33)."""

from __future__ import annotations

from typing import Any

import pytest

from automations.engine.problems import Problem
from automations.engine.validation import Known, validate
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.reading_tools import graph, source

TASK = "{type: action, action: create_task, message: m}"


def check(steps: str, known: Known | None = None, head: str = "") -> list[Problem]:
    read = source(steps, "name: X\ntrigger: {type: event, event: payment.failed}\n" + head)
    return validate(read.definition, REGISTRY, known or Known(), read.lines)


def wired(nodes: dict[str, Any], *edges: tuple[str, str, str], trigger: str = "") -> list[Problem]:
    """Problems of a graph; nodes by id with their type or a pair of type and configuration."""
    rows = []
    for id, spec in nodes.items():
        type_, config = spec if isinstance(spec, tuple) else (spec, {"message": "m"} if spec == "create_task" else {})
        rows.append({"id": id, "type": type_, "config": config})
    wires = [{"from": "trigger", "port": "next", "to": trigger or next(iter(nodes))}]
    wires += [{"from": source, "port": port, "to": target} for source, port, target in edges]
    return validate(graph(rows, wires), REGISTRY, Known())


class TestSteps:
    def test_a_definition_without_steps(self) -> None:
        # DEF-01: refused at activation, naming the missing part
        (problem,) = check("[]")
        assert (problem.code, problem.severity) == ("no_steps", "error")
        assert "no steps" in problem.message

    def test_a_disconnected_step_is_named(self) -> None:
        # CNV-11
        (problem,) = wired({"a": "create_task", "lost": "create_task"})
        assert (problem.code, problem.step, problem.severity) == ("disconnected", "lost", "error")
        assert "“lost”" in problem.message

    def test_without_an_entry_every_step_is(self) -> None:
        nodes = [{"id": "a", "type": "stop"}, {"id": "b", "type": "stop"}]
        problems = validate(graph(nodes), REGISTRY, Known())
        assert [(problem.code, problem.step) for problem in problems] == [("disconnected", "a"), ("disconnected", "b")]

    def test_a_cycle_names_its_steps(self) -> None:
        # CNV-12
        (problem,) = wired({"a": "create_task", "b": "create_task"}, ("a", "next", "b"), ("b", "next", "a"))
        assert (problem.code, problem.severity) == ("cycle", "error")
        assert "“a” → “b” → “a”" in problem.message

    def test_a_graph_with_loops_and_a_cycle_is_checked_to_the_end(self) -> None:
        problems = wired(
            {"l": ("loop", {"over": "x"}), "i": "create_task", "a": ("delay", {"duration": "3x"})},
            ("l", "each", "i"),
            ("i", "next", "l"),
            ("l", "next", "a"),
        )
        assert {problem.code for problem in problems if problem.severity == "error"} == {"cycle", "bad_duration"}


class TestLoops:
    def test_a_wire_out_of_a_loop(self) -> None:
        (problem,) = wired(
            {"l": ("loop", {"over": "{{invoice.lines}}"}), "i": "create_task", "z": "create_task"},
            ("l", "each", "i"),
            ("l", "next", "z"),
            ("i", "next", "z"),
        )
        assert (problem.code, problem.step, problem.severity) == ("loop_border", "i", "error")

    def test_a_wire_into_a_loop(self) -> None:
        problems = wired(
            {
                "c": ("condition", {"if": "customer.country == 'DE'"}),
                "l": ("loop", {"over": "{{customer.tags}}"}),
                "i": "create_task",
            },
            ("c", "true", "l"),
            ("l", "each", "i"),
            ("c", "false", "i"),
        )
        assert [problem.code for problem in problems if problem.severity == "error"] == ["loop_border"]

    @pytest.mark.parametrize("wait", ["{type: delay, duration: 1d}", "{type: wait_until, event: demo_booked}"])
    def test_a_wait_inside_a_loop_over_many(self, wait: str) -> None:
        (problem,) = check(f"- {{type: loop, over: {{query: invoices}}, steps: [{wait}]}}")
        assert (problem.code, problem.severity) == ("slow_loop", "warning")
        assert "forEach" in problem.message

    def test_a_wait_inside_a_loop_over_a_list_is_allowed(self) -> None:
        # STP-09
        assert check("- {type: loop, over: '{{invoice.lines}}', steps: [{type: delay, duration: 1d}]}") == []

    def test_a_wait_inside_a_list_inside_a_query_is_slow(self) -> None:
        inner = "{type: loop, over: '{{invoice.lines}}', as: line, steps: [{type: delay, duration: 1d}]}"
        problems = check(f"- {{type: loop, over: {{query: invoices}}, steps: [{inner}]}}")
        assert [problem.code for problem in problems] == ["slow_loop"]


class TestOutputs:
    @pytest.mark.parametrize(
        ("spec", "port"),
        [
            ("create_task", "true"),
            (("condition", {"if": "customer.country == 'DE'"}), "next"),
            (("wait_until", {"event": "demo_booked"}), "timeout"),
            (("branch", {"cases": [{"id": "a", "if": "customer.country == 'DE'"}]}), "b"),
            (("percentage_split", {"percent": 5}), "c"),
            ("stop", "error"),
        ],
    )
    def test_a_wire_from_an_output_that_does_not_exist(self, spec: Any, port: str) -> None:
        problems = wired({"a": spec, "z": "create_task"}, ("a", port, "z"))
        errors = [problem for problem in problems if problem.severity == "error"]
        assert [(problem.code, problem.step) for problem in errors] == [("unreachable_port", "a")]
        assert f"“{port}”" in errors[0].message

    def test_an_action_has_an_error_output(self) -> None:
        assert wired({"a": "create_task", "z": "create_task"}, ("a", "error", "z")) == []

    def test_a_time_out_output_without_a_time_out(self) -> None:
        (problem,) = check(f"- {{type: wait_until, event: demo_booked, onTimeout: [{TASK}]}}")
        assert (problem.code, problem.severity) == ("unreachable_port", "warning")

    def test_a_time_out_output_with_a_time_out(self) -> None:
        assert check(f"- {{type: wait_until, event: demo_booked, timeout: 7d, onTimeout: [{TASK}]}}") == []

    def test_steps_after_a_stop(self) -> None:
        # STP-08: not executed, and no error
        (problem,) = check(f"- {{type: stop}}\n- {TASK}")
        assert (problem.code, problem.step, problem.severity) == ("steps_after_end", "create_task", "warning")

    def test_steps_after_an_action_that_ends_the_run(self) -> None:
        # C-12
        (problem,) = check(f"- {{type: action, action: cancel_subscription}}\n- {TASK}")
        assert (problem.code, problem.step) == ("steps_after_end", "create_task")

    def test_a_fallback_of_such_an_action_is_no_step_after_it(self) -> None:
        assert check(f"- {{type: action, action: cancel_subscription, onError: [{TASK}]}}") == []

    @pytest.mark.parametrize(
        ("spec", "port"),
        [(("condition", {"if": "customer.country == 'DE'"}), "false"), (("percentage_split", {"percent": 5}), "b")],
    )
    def test_a_split_of_which_only_b_is_joined_is_noted(self, spec: Any, port: str) -> None:
        # CNV-17
        (problem,) = wired({"s": spec, "z": "create_task"}, ("s", port, "z"))
        assert (problem.severity, problem.step) == ("info", "s")

    def test_a_condition_without_else_is_not(self) -> None:
        assert check(f"- {{type: condition, if: customer.country == 'DE', then: [{TASK}]}}") == []


class TestPlan:
    """LIM-10, LIM-11, LIM-15, C-16, C-17."""

    LONG = "\n".join([f"- {TASK}"] * 4)

    def known(self, stage: int | None, everywhere: int | None) -> Known:
        return Known(plan="HOBBY", stage_depth=stage, global_depth=everywhere, stages={"default/TRIAL"})

    def test_deeper_than_the_plan_allows(self) -> None:
        (problem,) = check(self.LONG, self.known(3, None), "settings: {scope: [default/TRIAL]}\n")
        assert (problem.code, problem.severity) == ("plan_limit", "error")
        assert "4 steps" in problem.message
        assert "HOBBY allows 3" in problem.message

    def test_as_deep_as_it_allows(self) -> None:
        assert check(self.LONG, self.known(4, None), "settings: {scope: [default/TRIAL]}\n") == []

    def test_a_global_automation_has_a_limit_of_its_own(self) -> None:
        assert check(self.LONG, self.known(3, None)) == []
        assert [problem.code for problem in check(self.LONG, self.known(None, 3))] == ["plan_limit"]


class TestSize:
    def test_half_of_the_steps_is_a_warning(self) -> None:
        problems = check("\n".join([f"- {TASK}"] * 250))
        assert [(problem.code, problem.severity) for problem in problems] == [("size_warning", "warning")]
        assert "250 of at most 500 steps" in problems[0].message

    def test_fewer_are_none(self) -> None:
        assert check("\n".join([f"- {TASK}"] * 249)) == []

    def test_half_of_the_bytes(self) -> None:
        (problem,) = check(f"- {{type: action, action: create_task, message: m, note: {'x' * 262_144}}}")
        assert (problem.code, problem.severity) == ("size_warning", "warning")

    def test_half_of_an_expression(self) -> None:
        (problem,) = check(f"""- {{type: condition, if: "customer.country == '{"x" * 2000}'"}}""")
        assert (problem.code, problem.path) == ("size_warning", "steps[0].if")
