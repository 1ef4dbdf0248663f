"""Outputs of steps by their written configuration (DESIGN 3, CNV-07, C-18)."""

from __future__ import annotations

from typing import Any

import pytest

from automations.engine.definition import Node
from automations.engine.kinds import Config, ControlStep
from automations.engine.ports import case_ids, declared_ports, drawing_rank, ends_here, reading_rank, through_ports
from automations.engine.reading import read_definition
from automations.engine.registry import Registry
from automations.engine.writing import to_nested, to_yaml
from tests.engine.kinds_for_tests import REGISTRY, make_registry

CASES = {"cases": [{"id": "big", "if": "a == 1"}, {"id": "small", "if": "b == 1"}]}


class Question(Config):
    ask: str


class Approval(ControlStep):
    """A control step of a later day: the reader knows nothing of it but its declaration."""

    key = "approval"
    label = "Approval"
    Config = Question

    def ports(self, config: Any) -> tuple[str, ...]:
        return ("approved", "rejected")

    def sample(self) -> Question:
        return Question(ask="x")


@pytest.fixture
def registry() -> Registry:
    made = make_registry()
    made.add(Approval())
    return made


@pytest.mark.parametrize(
    ("config", "ids"),
    [
        (CASES, ("big", "small")),
        ({}, ()),
        ({"cases": "x"}, ()),
        ({"cases": ["x", {"if": "y"}, {"id": 5}, {"id": "a"}, {"id": "a"}]}, ("a",)),
    ],
)
def test_ids_of_cases(config: dict[str, Any], ids: tuple[str, ...]) -> None:
    assert case_ids(config) == ids


@pytest.mark.parametrize(
    ("type_", "config", "ports"),
    [
        ("condition", {}, ("true", "false")),
        ("branch", CASES, ("big", "small", "default")),
        ("branch", {}, ("default",)),
        ("percentage_split", {}, ("a", "b")),
        ("wait_until", {"event": "e", "timeout": "1d"}, ("next",)),
        ("wait_until", {"branchOnTimeout": True}, ("next", "timeout")),
        ("wait_until", {"branchOnTimeout": "yes"}, ("next",)),
        ("delay", {}, ("next",)),
        ("loop", {}, ("next",)),
        ("send_email", {}, ("next",)),
        ("gone", {}, ("next",)),
    ],
)
def test_outputs_that_lead_on(type_: str, config: dict[str, Any], ports: tuple[str, ...]) -> None:
    assert through_ports(type_, config, REGISTRY.kind(type_)) == ports


@pytest.mark.parametrize("type_", [*REGISTRY.steps, *REGISTRY.actions])
def test_they_agree_with_what_every_step_declares(type_: str) -> None:
    kind = REGISTRY.kind(type_)
    assert kind is not None
    for config in (
        CASES,
        {"if": "a == 1"},
        {"event": "e", "branchOnTimeout": True},
        {"over": "{{x}}"},
        {"percent": 5},
        {},
    ):
        declared = declared_ports(kind, config)
        if declared is not None and declared:
            assert set(through_ports(type_, config, kind)) == set(declared) - {"error", "each"}


@pytest.mark.parametrize(
    ("type_", "ends"), [("stop", True), ("cancel_subscription", True), ("send_email", False), ("gone", False)]
)
def test_steps_that_end_the_run(type_: str, ends: bool) -> None:
    assert ends_here(type_, REGISTRY.kind(type_)) is ends


def test_outputs_are_drawn_from_top_to_bottom() -> None:
    branch = Node("b", "branch", CASES)
    ports = ["error", "default", "odd", "small", "big"]
    assert sorted(ports, key=lambda port: drawing_rank(branch, port)) == ["big", "small", "default", "odd", "error"]
    ports = ["error", "next", "timeout", "false", "true"]
    assert sorted(ports, key=lambda port: drawing_rank(None, port)) == ["true", "false", "next", "timeout", "error"]


def test_what_follows_is_read_after_the_arms() -> None:
    assert reading_rank(Node("m", "send_email"), "next") > reading_rank(Node("m", "send_email"), "error")
    wait = Node("w", "wait_until", {"branchOnTimeout": True})
    assert reading_rank(wait, "next") < reading_rank(wait, "timeout")


class TestStepsOfALaterDay:
    """Adding a control step is one file (DESIGN 2): its arms are named like its outputs."""

    TEXT = """
name: X
trigger: {type: manual}
steps:
  - id: ask
    type: approval
    ask: Refund?
    approved: [{id: yes_, type: action, action: create_task, message: m}]
    rejected: end
  - {id: after, type: stop}
"""

    def test_its_arms_are_read(self, registry: Registry) -> None:
        definition = read_definition(self.TEXT, registry).definition
        assert definition.nodes[0].config == {"ask": "Refund?"}
        assert {(edge.source, edge.port, edge.target) for edge in definition.edges[1:]} == {
            ("ask", "approved", "yes_"),
            ("yes_", "next", "after"),
        }

    def test_its_outputs_fall_through(self, registry: Registry) -> None:
        text = self.TEXT.replace("    rejected: end\n", "")
        definition = read_definition(text, registry).definition
        assert ("ask", "rejected", "after") in {(edge.source, edge.port, edge.target) for edge in definition.edges}

    def test_it_is_written_with_its_arms(self, registry: Registry) -> None:
        definition = read_definition(self.TEXT, registry).definition
        ask = to_nested(definition, registry)["steps"][0]
        assert ask["approved"][0]["id"] == "yes_"
        assert "next" not in ask
        assert read_definition(to_yaml(definition, registry), registry).definition == definition
