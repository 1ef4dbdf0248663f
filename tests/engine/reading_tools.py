"""Short ways to read definitions in tests."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from automations.engine.definition import Definition, Node
from automations.engine.problems import DefinitionError, Problem
from automations.engine.reading import Source, read_data, read_definition
from tests.engine.kinds_for_tests import REGISTRY

HEAD = "name: X\ntrigger: {type: event, event: payment.failed}\n"


def source(steps: str, head: str = HEAD) -> Source:
    """The definition with these steps, written as YAML."""
    return read_definition(
        head + "steps:\n" + textwrap.indent(textwrap.dedent(steps).strip("\n"), "  "), REGISTRY, "yaml"
    )


def steps(text: str) -> Definition:
    return source(text).definition


def wires(definition: Definition) -> set[tuple[str, str, str]]:
    """All wires but the one from the trigger."""
    return {(edge.source, edge.port, edge.target) for edge in definition.edges if edge.source != "trigger"}


def only(text: str) -> Node:
    """The one step of this text."""
    (node,) = steps(text).nodes
    return node


def graph(nodes: list[dict[str, Any]], edges: list[dict[str, Any]] | None = None, **top: Any) -> Definition:
    """A definition in graph form."""
    data = {"name": "X", "trigger": {"type": "manual"}, "nodes": nodes, "edges": edges or [], **top}
    return read_data(data, REGISTRY, strict=True).definition


def shape_problems(text: str) -> list[Problem]:
    """The shape errors of a whole YAML text."""
    with pytest.raises(DefinitionError) as caught:
        read_definition(textwrap.dedent(text), REGISTRY, "yaml")
    assert caught.value.code == "invalid_definition"
    return caught.value.problems


def step_problems(text: str) -> list[Problem]:
    """The shape errors of a list of steps."""
    return shape_problems(HEAD + "steps:\n" + textwrap.indent(textwrap.dedent(text).strip("\n"), "  "))


def data_problems(**top: Any) -> list[Problem]:
    """The shape errors of plain data."""
    with pytest.raises(DefinitionError) as caught:
        read_data({"name": "X", "trigger": {"type": "manual"}, **top}, REGISTRY, strict=True)
    return caught.value.problems
