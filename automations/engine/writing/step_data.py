"""A step as it is written in the nested and the flat form: its keys, its configuration beside them, its wires in `next`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automations.engine.definition import Node
from automations.engine.graph import Graph
from automations.engine.ports import EACH, ends_here, through_ports
from automations.engine.reading.draft import END
from automations.engine.registry import Registry
from automations.engine.writing.graph_data import common_data, error_handling_data, plain, position_data


class CannotBeWritten(Exception):
    """The graph has no such form."""


@dataclass(slots=True)
class Pages:
    """What both writers share. `steps` are the written steps by id, `named` the ids that others refer to."""

    graph: Graph
    registry: Registry
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

    def targets(self, id: str) -> dict[str, str]:
        """Where the outputs of a step lead."""
        return {edge.port: edge.target for edge in self.graph.out.get(id, ())}

    def through(self, node: Node) -> tuple[str, ...]:
        return through_ports(node.type, node.config, self.registry.kind(node.type))

    def ends(self, node: Node) -> bool:
        return ends_here(node.type, self.registry.kind(node.type))

    def begin(self, node: Node) -> dict[str, Any]:
        """Id, type, name, note and configuration."""
        data: dict[str, Any] = {"id": node.id}
        if node.type in self.registry.actions or node.type not in self.registry.steps:
            data |= {"type": "action", "action": node.type}
        else:
            data["type"] = node.type
        data |= common_data(node)
        config = plain(node.config)
        if set(data) & set(config):
            raise CannotBeWritten
        data |= config
        self.steps[node.id] = data
        return data

    def finish(self, node: Node, data: dict[str, Any]) -> None:
        """Error handling and position, after the arms."""
        if node.error_handling is not None:
            data["errorHandling"] = error_handling_data(node.error_handling)
        if node.position is not None:
            data["position"] = position_data(node.position)

    def refer(self, id: str | None) -> str:
        """A named target."""
        if id is None:
            return END
        self.named.add(id)
        return id


def flat_steps(pages: Pages) -> list[dict[str, Any]]:
    """Every step in one list, each with `next` where the following step is not what comes next (C-08)."""
    order = pages.graph.order
    incoming = {edge.target for edges in pages.graph.out.values() for edge in edges}
    steps = []
    for index, id in enumerate(order):
        node, following = pages.graph.nodes[id], order[index + 1] if index + 1 < len(order) else None
        data = pages.begin(node)
        follows = _next(pages, node, following, following is not None and following not in incoming)
        if follows is not None:
            data["next"] = follows
        pages.finish(node, data)
        steps.append(data)
    return steps


def _next(pages: Pages, node: Node, following: str | None, orphan: bool) -> str | dict[str, str] | None:
    """`orphan`: no wire leads to the following step, so a step that ends the run would be read as leading there."""
    targets, through = pages.targets(node.id), pages.through(node)
    if pages.ends(node):
        plain_end = not targets and not orphan
        return None if plain_end else _map_or_one(pages, targets, ("next",))
    wanted: dict[str, str | None] = {port: targets.get(port) for port in through}
    rest = {port: target for port, target in targets.items() if port not in wanted}
    if not rest and all(target == following for target in wanted.values()):
        return None
    if not rest and EACH not in targets:
        return _map_or_one(pages, targets, through)
    changed = {port: target for port, target in (wanted | rest).items() if port in rest or target != following}
    return {port: pages.refer(target) for port, target in changed.items()}


def _map_or_one(pages: Pages, targets: Mapping[str, str], through: tuple[str, ...]) -> str | dict[str, str]:
    wanted: dict[str, str | None] = {port: targets.get(port) for port in through} | dict(targets)
    if len(set(wanted.values())) == 1 and set(wanted) == set(through):
        return pages.refer(next(iter(wanted.values())))
    return {port: pages.refer(target) for port, target in wanted.items()}
