"""Keeps the ids of steps across versions when a definition is written without them (DESIGN 4, C-20, VER).

Only ids that the reader made are changed, never one that was given, nor one that an expression of the new text speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from automations.engine.definition import Definition, Edge, Node
from automations.engine.graph import canonical
from automations.engine.reading.draft import RESERVED_IDS, made_id
from automations.engine.writing.graph_data import plain
from automations.engine.writing.mentions import spoken_of

Place = frozenset[tuple[str, str]]  # the outputs that lead to a step


def align(new: Definition, previous: Definition) -> Definition:
    """`new`, with the ids of the steps of `previous` that its steps continue: those of the same type and configuration first,
    then those of the same type at the same place. A step that continues none gets an id that `previous` did not have."""
    fixed = {node.id for node in new.nodes if not node.made} | spoken_of(new)
    match = _Match(new, previous, [node for node in previous.nodes if node.id not in fixed])
    match.ids |= {id: id for id in fixed}
    free = [node for node in new.nodes if node.id not in fixed]
    for fits in (_same_step, _same_type_and_place):
        for node in free:
            if node.id not in match.ids:
                match.take(node, fits)
    used = set(match.ids.values()) | {node.id for node in previous.nodes} | RESERVED_IDS
    numbers: dict[str, int] = {}
    for node in free:
        if node.id not in match.ids:
            match.ids[node.id] = made_id(node.type, used, numbers)
    return _renamed(new, match.ids)


@dataclass(slots=True)
class _Match:
    """Steps of the previous version that are still to be had, and the ids given so far."""

    new: Definition
    previous: Definition
    left: list[Node]
    ids: dict[str, str] = field(default_factory=dict)
    own: Mapping[str, Place] = field(init=False)
    places: Mapping[str, Place] = field(init=False)
    old_configs: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.own, self.places = _places(self.new.edges), _places(self.previous.edges)
        self.old_configs = {node.id: plain(node.config) for node in self.left}

    def here(self, node: Node) -> Place:
        """The outputs that lead to a new step, by the previous version's ids."""
        return frozenset((self.ids.get(source, source), port) for source, port in self.own.get(node.id, frozenset()))

    def take(self, node: Node, fits: Callable[[_Match, Node, Node], bool]) -> None:
        """Give the step the id of one that fits, preferably of one at the same place."""
        found = [old for old in self.left if old.type == node.type and fits(self, node, old)]
        if found:
            here = self.here(node)
            chosen = next((old for old in found if self.places.get(old.id, frozenset()) == here), found[0])
            self.left.remove(chosen)
            self.ids[node.id] = chosen.id


def _same_step(match: _Match, node: Node, old: Node) -> bool:
    return bool(plain(node.config) == match.old_configs[old.id])


def _same_type_and_place(match: _Match, node: Node, old: Node) -> bool:
    return bool(match.here(node) & match.places.get(old.id, frozenset()))


def _places(edges: tuple[Edge, ...]) -> dict[str, Place]:
    into: dict[str, set[tuple[str, str]]] = {}
    for edge in edges:
        into.setdefault(edge.target, set()).add((edge.source, edge.port))
    return {id: frozenset(places) for id, places in into.items()}


def _renamed(definition: Definition, ids: Mapping[str, str]) -> Definition:
    nodes = tuple(replace(node, id=ids[node.id]) for node in definition.nodes)
    edges = tuple(Edge(ids.get(edge.source, edge.source), edge.port, ids[edge.target]) for edge in definition.edges)
    return canonical(replace(definition, nodes=nodes, edges=edges))
