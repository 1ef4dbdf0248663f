"""Validation: everything that is wrong with a definition, at once and as values (DESIGN 4, DEF-25, CONTRACTS 4)."""

from __future__ import annotations

from automations.engine.definition import Definition
from automations.engine.graph import canonical
from automations.engine.problems import Problem
from automations.engine.reading.lines import Lines
from automations.engine.registry import Registry
from automations.engine.validation.context import Context
from automations.engine.validation.known import Known
from automations.engine.validation.of_graph import check_graph
from automations.engine.validation.of_head import check_head
from automations.engine.validation.of_steps import check_steps
from automations.engine.validation.of_texts import check_texts

_RANK = {"error": 0, "warning": 1, "info": 2}


def validate(definition: Definition, registry: Registry, known: Known, lines: Lines | None = None) -> list[Problem]:
    """All problems, errors first. A definition without errors can be activated and compiled; nothing is raised.

    `lines` are those of the `Source` that the definition was read from, also after `align`; without them paths are those of the
    graph form.
    """
    context = Context(canonical(definition), registry, known, lines or Lines())
    for check in (check_head, check_graph, check_steps, check_texts):
        check(context)
    return sorted(context.problems, key=lambda problem: _RANK[problem.severity])


__all__ = ["Known", "validate"]
