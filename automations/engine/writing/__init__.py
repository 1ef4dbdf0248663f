"""Writes definitions: graph data, nested data, YAML. Whatever is written reads back as the same definition (DEF-24, P5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from automations.engine.definition import TRIGGER, Definition
from automations.engine.graph import canonical, graph_of
from automations.engine.problems import DefinitionError
from automations.engine.reading import Source, read_data
from automations.engine.reading.draft import RESERVED_IDS, made_id
from automations.engine.registry import Registry
from automations.engine.writing.graph_data import exits_data, fingerprint, head_data, settings_data, to_data
from automations.engine.writing.mentions import spoken_of
from automations.engine.writing.nested_steps import Nest
from automations.engine.writing.step_data import CannotBeWritten, Pages, flat_steps
from automations.engine.writing.yaml_text import yaml_text


def to_nested(definition: Definition, registry: Registry, plain: bool = False) -> dict[str, Any]:
    """The definition with `steps`: nested where the graph is a tree that rejoins, else a flat list with `next` (C-08).

    Graphs that neither form can hold (a draft whose entry is not wired, configuration under a step's own keys) come in graph
    form. `plain` leaves out positions and those ids that a reader would make again.
    """
    definition = canonical(definition)
    if plain:
        definition = replace(definition, nodes=tuple(replace(node, position=None) for node in definition.nodes))
    for steps in (_nested, flat_steps):
        written = _written(definition, registry, steps)
        if written is not None:
            data, pages, source = written
            if plain:
                _leave_out_ids(pages, source, definition)
            return data
    graph = to_data(definition)
    return {**_top(definition), "nodes": graph["nodes"], "edges": graph["edges"]}


def to_yaml(definition: Definition, registry: Registry, plain: bool = False) -> str:
    """The text of `to_nested`."""
    return yaml_text(to_nested(definition, registry, plain), apart=("steps", "nodes", "edges"))


def _nested(pages: Pages) -> list[dict[str, Any]]:
    return Nest(pages).steps(pages.targets(TRIGGER).get("next"))


def _written(
    definition: Definition, registry: Registry, steps: Callable[[Pages], list[dict[str, Any]]]
) -> tuple[dict[str, Any], Pages, Source] | None:
    """One form, if it exists and reads back as the same definition: the proof is made each time, not assumed."""
    pages = Pages(graph_of(definition), registry)
    try:
        data = {**_top(definition), "steps": steps(pages)}
        source = read_data(data, registry)
    except (CannotBeWritten, DefinitionError):
        return None
    return (data, pages, source) if to_data(source.definition) == to_data(definition) else None


def _top(definition: Definition) -> dict[str, Any]:
    """What stands above the steps, empty parts left out."""
    data: dict[str, Any] = {"name": definition.name}
    for key, value in (("key", definition.key), ("description", definition.description)):
        if value:
            data[key] = value
    head = head_data(definition)
    goal = head.pop("goal", None)
    data |= head
    for key, part in (
        ("exits", exits_data(definition)),
        ("goal", goal),
        ("settings", settings_data(definition.settings)),
    ):
        if part:
            data[key] = part
    return data


def _leave_out_ids(pages: Pages, source: Source, definition: Definition) -> None:
    """Drop the ids that would be made the same again, unless another step or an expression speaks of them."""
    order = source.order
    types = {node.id: node.type for node in definition.nodes}
    keep = pages.named | spoken_of(definition)
    while True:
        used, numbers = keep | RESERVED_IDS, dict[str, int]()
        other = {id for id in order if id not in keep and made_id(types[id], used, numbers) != id}
        if not other:
            break
        keep |= other
    for id in order:
        if id not in keep:
            del pages.steps[id]["id"]


__all__ = ["fingerprint", "to_data", "to_nested", "to_yaml"]
