"""Spellings that are read and never written (CONTRACTS 4)."""

from __future__ import annotations

from typing import Any

import pytest

from automations.engine.reading import read_data, read_definition
from automations.engine.writing import to_yaml
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.reading_tools import graph, only, shape_problems, steps, wires


class TestTypes:
    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("wait", "delay"),
            ("WAIT", "delay"),
            ("SEND_EMAIL", "send_email"),
            ("WAIT_UNTIL", "wait_until"),
            ("CONDITIONAL_SPLIT", "condition"),
            ("PERCENTAGE_SPLIT", "percentage_split"),
        ],
    )
    def test_type(self, written: str, read: str) -> None:
        assert only(f"- {{type: {written}}}").type == read
        assert graph([{"id": "x", "type": written}]).nodes[0].type == read

    @pytest.mark.parametrize("key", ["delay", "branch", "loop", "stop", "condition", "wait_until"])
    def test_a_control_step_written_as_an_action(self, key: str) -> None:
        # STP-05 to STP-08
        assert only(f"- {{type: action, action: {key}}}").type == key

    def test_an_action_in_the_graph_form(self) -> None:
        assert graph([{"id": "x", "type": "action", "action": "send_email"}]).nodes[0].type == "send_email"

    def test_a_delay_parks_alike_in_both_spellings(self) -> None:
        one, two = only("- {type: delay, duration: 3d}"), only("- {type: action, action: delay, duration: 3d}")
        assert (one.type, one.config) == (two.type, two.config)


class TestWait:
    @pytest.mark.parametrize(
        ("fields", "duration"),
        [
            ("months: 1, days: 2, hours: 3, minutes: 4", "1mo2d3h4m"),
            ("days: 2", "2d"),
            ("hours: 36", "1d12h"),
            ("days: 0, minutes: 5", "5m"),
            ("days: null, hours: 1", "1h"),
            ("months: 0, days: 0, hours: 0, minutes: 0", "0s"),
        ],
    )
    def test_its_fields_are_a_duration(self, fields: str, duration: str) -> None:
        # STP-12
        assert only(f"- {{type: WAIT, {fields}}}").config == {"duration": duration}
        assert only(f"- {{type: wait, {fields}}}").config == {"duration": duration}

    @pytest.mark.parametrize("fields", ["days: -1", "days: two", "days: 1.5", "days: 1, duration: 3d"])
    def test_what_is_no_duration_is_kept_as_written(self, fields: str) -> None:
        config = only(f"- {{type: WAIT, {fields}}}").config
        assert "days" in config

    def test_a_problem_is_shown_where_it_was_written(self) -> None:
        source = read_definition("name: X\ntrigger: {type: manual}\nsteps:\n  - {type: WAIT, days: 0}", REGISTRY)
        place = source.lines.step(0, "config", "duration")
        assert (place.path, place.pointer, place.line) == ("steps[0].days", "/nodes/0/config/duration", 4)


class TestSplits:
    @pytest.mark.parametrize("arms", [("a", "b"), ("matched", "b"), ("then", "else")])
    def test_a_conditional_split(self, arms: tuple[str, str]) -> None:
        # STP-20
        definition = steps(f"""
            - id: s
              type: CONDITIONAL_SPLIT
              condition: country in ['US']
              {arms[0]}: [{{id: yes_, type: stop}}]
              {arms[1]}: [{{id: no_, type: stop}}]
            """)
        assert definition.nodes[0].config == {"if": "country in ['US']"}
        assert wires(definition) == {("s", "true", "yes_"), ("s", "false", "no_")}

    @pytest.mark.parametrize(
        ("type_", "port", "read"),
        [
            ("condition", "a", "true"),
            ("condition", "matched", "true"),
            ("condition", "b", "false"),
            ("condition", "true", "true"),
            ("percentage_split", "a", "a"),
            ("percentage_split", "b", "b"),
            ("delay", "out", "next"),
            ("send_email", "out", "next"),
            ("send_email", "error", "error"),
            ("loop", "body", "each"),
            ("loop", "each", "each"),
            ("loop", "out", "next"),
            ("wait_until", "event", "next"),
            ("wait_until", "out", "next"),
            ("wait_until", "timeout", "timeout"),
        ],
    )
    def test_ports(self, type_: str, port: str, read: str) -> None:
        nodes = [{"id": "s", "type": type_}, {"id": "z", "type": "stop"}]
        edges = [{"from": "trigger", "port": "out", "to": "s"}, {"from": "s", "port": port, "to": "z"}]
        assert wires(graph(nodes, edges)) == {("s", read, "z")}

    def test_a_case_may_bear_the_name_of_an_alias(self) -> None:
        nodes = [
            {"id": "s", "type": "branch", "config": {"cases": [{"id": "out", "if": "x"}]}},
            {"id": "z", "type": "stop"},
        ]
        assert wires(graph(nodes, [{"from": "s", "port": "out", "to": "z"}])) == {("s", "out", "z")}

    def test_next_takes_the_aliases_too(self) -> None:
        definition = steps("- {id: s, type: condition, if: x, next: {matched: z, b: end}}\n- {id: z, type: stop}")
        assert wires(definition) == {("s", "true", "z")}

    def test_body_is_another_word_for_the_steps_of_a_loop(self) -> None:
        assert wires(steps("- {id: l, type: loop, over: x, body: [{id: y, type: stop}]}")) == {("l", "each", "y")}


class TestBranchAsCondition:
    TWO = "cases: [{if: x, then: [{id: y, type: stop}]}, {then: [{id: n, type: stop}]}]"

    def test_two_cases_of_which_the_last_has_no_if(self) -> None:
        definition = steps(f"- {{id: s, type: branch, {self.TWO}}}")
        assert (definition.nodes[0].type, definition.nodes[0].config) == ("condition", {"if": "x"})
        assert wires(definition) == {("s", "true", "y"), ("s", "false", "n")}

    def test_a_branch_with_an_if_of_its_own(self) -> None:
        definition = steps("- {id: s, type: action, action: branch, if: x, then: [{id: y, type: stop}], else: end}")
        assert (definition.nodes[0].type, definition.nodes[0].config) == ("condition", {"if": "x"})
        assert wires(definition) == {("s", "true", "y")}

    def test_its_default_is_the_other_way(self) -> None:
        definition = steps(
            "- {id: s, type: branch, if: x, then: [{id: y, type: stop}], default: [{id: n, type: stop}]}"
        )
        assert wires(definition) == {("s", "true", "y"), ("s", "false", "n")}

    def test_with_a_default_besides_it_stays_a_branch(self) -> None:
        definition = steps(f"- {{id: s, type: branch, {self.TWO}, default: end}}")
        assert definition.nodes[0].type == "branch"

    def test_three_cases_stay_a_branch(self) -> None:
        assert only("- {type: branch, cases: [{if: x}, {if: y}, {}]}").type == "branch"

    def test_in_the_graph_form_its_outputs_are_renamed(self) -> None:
        nodes = [
            {"id": "s", "type": "branch", "config": {"cases": [{"id": "large", "if": "x"}, {"id": "rest"}]}},
            {"id": "y", "type": "stop"},
            {"id": "n", "type": "stop"},
        ]
        edges = [{"from": "s", "port": "large", "to": "y"}, {"from": "s", "port": "rest", "to": "n"}]
        definition = graph(nodes, edges)
        assert wires(definition) == {("s", "true", "y"), ("s", "false", "n")}

    def test_its_condition_is_shown_in_its_case(self) -> None:
        text = "name: X\ntrigger: {type: manual}\nsteps:\n  - type: branch\n    cases:\n      - if: x =\n      - {}\n"
        place = read_definition(text, REGISTRY).lines.step(0, "config", "if")
        assert (place.path, place.line) == ("steps[0].cases[0].if", 6)


class TestEvents:
    @pytest.mark.parametrize(("written", "read"), [("email_open", "email_opened"), ("email_click", "email_clicked")])
    def test_names(self, written: str, read: str) -> None:
        data: dict[str, Any] = {
            "name": "X",
            "trigger": {"type": "event", "event": written},
            "exits": [{"event": written}],
            "goal": {"event": written, "within": "3d"},
            "nodes": [{"id": "w", "type": "wait_until", "config": {"event": written}}],
        }
        definition = read_data(data, REGISTRY).definition
        assert definition.goal is not None
        found = [
            definition.trigger.event,
            definition.exits[0].event,
            definition.goal.event,
            definition.nodes[0].config["event"],
        ]
        assert found == [read] * 4


class TestConditions:
    def test_conditions_is_another_word_for_filter(self) -> None:
        source = read_definition("name: X\ntrigger: {type: manual}\nconditions:\n  - a == 1\n  - b == 2", REGISTRY)
        assert source.definition.filter == ("a == 1", "b == 2")
        place = source.lines.top("filter", 1)
        assert (place.path, place.pointer, place.line) == ("conditions[1]", "/filter/1", 5)

    def test_both_are_one_too_many(self) -> None:
        problems = shape_problems("name: X\ntrigger: {type: manual}\nfilter: a\nconditions: b")
        assert [(problem.path, problem.line) for problem in problems] == [("conditions", 4)]


def test_aliases_are_never_written() -> None:
    text = """
name: X
trigger: {type: event, event: email_open}
conditions: a == 1
steps:
  - {type: WAIT, days: 2, hours: 3}
  - type: CONDITIONAL_SPLIT
    condition: b == 2
    a:
      - {type: SEND_EMAIL, template: t}
      - {type: WAIT_UNTIL, event: email_click}
    b:
      - {type: PERCENTAGE_SPLIT, percent: 5}
      - {type: action, action: loop, over: x, body: [{type: action, action: stop}]}
"""
    written = to_yaml(read_definition(text, REGISTRY).definition, REGISTRY)
    for word in ("WAIT", "SPLIT", "SEND", "conditions", "email_open\n", "email_click\n", "body", "days", "matched"):
        assert word not in written
    for word in (
        "duration: 2d3h",
        "then:",
        "else:",
        "email_opened",
        "email_clicked",
        "filter:",
        "type: loop",
        "type: stop",
    ):
        assert word in written
