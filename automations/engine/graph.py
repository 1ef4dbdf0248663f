"""The graph of a definition: order, cycles, reach, loop bodies, depth. All walks are iterative, so length costs no stack."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from automations.engine.definition import TRIGGER, Definition, Edge, Node
from automations.engine.ports import EACH, ERROR, drawing_rank, reading_rank
from automations.engine.registry import Registry


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps by id and wires by source; `order` is the reading order (topological where there is no cycle)."""

    nodes: Mapping[str, Node]
    out: Mapping[str, tuple[Edge, ...]]
    order: tuple[str, ...]  # steps reached from the trigger first, then the others as given

    def targets(self, id: str) -> tuple[str, ...]:
        return tuple(edge.target for edge in self.out.get(id, ()))


def graph_of(definition: Definition) -> Graph:
    """Index a definition."""
    nodes = {node.id: node for node in definition.nodes}
    out: dict[str, list[Edge]] = {}
    for edge in definition.edges:
        out.setdefault(edge.source, []).append(edge)
    ordered = {
        source: tuple(sorted(edges, key=lambda edge: reading_rank(nodes.get(edge.source), edge.port)))
        for source, edges in out.items()
    }
    return Graph(nodes, ordered, _reading_order(nodes, ordered))


def _reading_order(nodes: Mapping[str, Node], out: Mapping[str, tuple[Edge, ...]]) -> tuple[str, ...]:
    """Reverse postorder, last arm first: an arm's steps stand before the step at which the arms meet again."""
    finished: list[str] = []
    seen = {TRIGGER}
    stack = [(TRIGGER, iter(out.get(TRIGGER, ())[::-1]))]
    while stack:
        id, edges = stack[-1]
        step = next((edge.target for edge in edges if edge.target not in seen and edge.target in nodes), None)
        if step is None:
            stack.pop()
            finished.append(id)
        else:
            seen.add(step)
            stack.append((step, iter(out.get(step, ())[::-1])))
    return (*reversed(finished[:-1]), *(id for id in nodes if id not in seen))


def canonical(definition: Definition) -> Definition:
    """The same definition with steps in reading order and wires in drawing order. Order carries no meaning, so equal graphs
    become equal values and give equal hashes (P5)."""
    graph = graph_of(definition)
    place = {id: index for index, id in enumerate(graph.order)} | {TRIGGER: -1}
    edges = sorted(
        definition.edges,
        key=lambda edge: (place.get(edge.source, len(place)), drawing_rank(graph.nodes.get(edge.source), edge.port)),
    )
    return replace(definition, nodes=tuple(graph.nodes[id] for id in graph.order), edges=tuple(edges))


def reach(
    graph: Graph, starts: Iterable[str], without: Collection[Edge] = (), ports: Callable[[str], bool] | None = None
) -> set[str]:
    """All steps that can be reached from `starts`, themselves included, without using the edges of `without`; `ports` is a
    predicate on the ports that may be used."""
    seen = set(starts)
    queue = deque(seen)
    while queue:
        for edge in graph.out.get(queue.popleft(), ()):
            if edge.target not in seen and edge not in without and (ports is None or ports(edge.port)):
                seen.add(edge.target)
                queue.append(edge.target)
    return seen


def reached(graph: Graph) -> set[str]:
    """Steps with a path from the trigger."""
    return reach(graph, [TRIGGER]) - {TRIGGER}


def unreachable(definition: Definition) -> tuple[str, ...]:
    """Steps without a path from the trigger (CNV-11)."""
    graph = graph_of(definition)
    found = reached(graph)
    return tuple(node.id for node in definition.nodes if node.id not in found)


def fallback_steps(definition: Definition) -> frozenset[str]:
    """Steps that a run reaches only through an `error` output (ERR-08)."""
    graph = graph_of(definition)
    return frozenset(reached(graph) - reach(graph, [TRIGGER], ports=lambda port: port != ERROR))


def cycles(definition: Definition) -> tuple[tuple[str, ...], ...]:
    """One cycle of each knot of the graph, as the ids along it, the first in reading order first (CNV-12)."""
    graph = graph_of(definition)
    place = {id: index for index, id in enumerate(graph.order)}
    found = []
    for knot in _knots(graph):
        start = min(knot, key=lambda id: place.get(id, -1))
        found.append(_round_trip(graph, start, knot))
    return tuple(sorted(found, key=lambda cycle: place[cycle[0]]))


def _knots(graph: Graph) -> list[set[str]]:
    """Sets of steps that all reach each other: peel off what has no way out or no way in, then take reach both ways."""
    back = _turned(graph)
    outer = _peeled(graph, back) | _peeled(back, graph)
    left = [id for id in graph.order if id not in outer]
    knots: list[set[str]] = []
    while left:
        start = left[0]
        knot = reach(graph, [start]) & reach(back, [start])
        if len(knot) > 1 or start in graph.targets(start):
            knots.append(knot)
        left = [id for id in left if id not in knot]
    return knots


def _turned(graph: Graph) -> Graph:
    """The graph with every wire between steps turned round."""
    into: dict[str, list[Edge]] = {}
    for source, edges in graph.out.items():
        for edge in edges:
            if source in graph.nodes:
                into.setdefault(edge.target, []).append(Edge(edge.target, edge.port, source))
    return Graph(graph.nodes, {id: tuple(edges) for id, edges in into.items()}, graph.order)


def _peeled(graph: Graph, back: Graph) -> set[str]:
    """Steps that can be taken off, one after the other, because no wire leads on from them."""
    ways = {id: len(graph.targets(id)) for id in graph.nodes}
    queue = deque(id for id, count in ways.items() if not count)
    done: set[str] = set()
    while queue:
        id = queue.popleft()
        done.add(id)
        for source in back.targets(id):
            ways[source] -= 1
            if not ways[source]:
                queue.append(source)
    return done


def _round_trip(graph: Graph, start: str, knot: set[str]) -> tuple[str, ...]:
    """The shortest way from `start` back to itself within the knot."""
    came: dict[str, str] = {}
    queue = deque([start])
    while queue:
        id = queue.popleft()
        for target in graph.targets(id):
            if target == start:
                way = [id]
                while way[-1] != start:
                    way.append(came[way[-1]])
                return tuple(reversed(way))
            if target in knot and target not in came:
                came[target] = id
                queue.append(target)
    return (start,)


def loop_bodies(definition: Definition) -> dict[str, frozenset[str]]:
    """For each loop the steps inside it: reached from its `each` output and not from elsewhere (C-33)."""
    graph = graph_of(definition)
    return {node.id: frozenset(_body(graph, node.id)) for node in definition.nodes if node.type == "loop"}


def _each(graph: Graph, loop: str) -> list[Edge]:
    return [edge for edge in graph.out.get(loop, ()) if edge.port == EACH]


def _body(graph: Graph, loop: str) -> set[str]:
    entrance = _each(graph, loop)
    inside = reach(graph, [edge.target for edge in entrance])
    if loop in inside:  # a cycle; told as such
        return set()
    outside = reach(graph, [TRIGGER, *(id for id in graph.nodes if id not in inside)], without=entrance)
    return inside - outside


def border_crossings(definition: Definition) -> tuple[tuple[str, Edge], ...]:
    """Wires that lead out of a loop's body, each with the loop; a wire into a body is told as one out of it."""
    graph = graph_of(definition)
    found = []
    for node in definition.nodes:
        entrance = _each(graph, node.id) if node.type == "loop" else []
        if not entrance or node.id in reach(graph, [edge.target for edge in entrance]):
            continue
        body = _body(graph, node.id)
        for source in (node.id, *(id for id in graph.order if id in body)):
            for edge in graph.out.get(source, ()):
                if edge.target not in body and (source != node.id or edge.port == EACH):
                    found.append((node.id, edge))
    return tuple(found)


def depth(definition: Definition, registry: Registry) -> int:
    """The largest number of steps on a path from the trigger to a leaf; splits weigh nothing (LIM-10, LIM-11, C-16).

    A wire that leads back in reading order (a cycle) counts for nothing.
    """
    graph = graph_of(definition)
    place = {id: index for index, id in enumerate(graph.order)} | {TRIGGER: -1}
    longest: dict[str, int] = {TRIGGER: 0}
    for source in (TRIGGER, *graph.order):
        if source not in longest:
            continue
        for edge in graph.out.get(source, ()):
            if edge.target in graph.nodes and place[edge.target] > place[source]:
                kind = registry.kind(graph.nodes[edge.target].type)
                length = longest[source] + (1 if kind is None else kind.depth)
                longest[edge.target] = max(longest.get(edge.target, 0), length)
    return max(longest.values())


def leaf_ports(definition: Definition, ports: Mapping[str, Iterable[str]]) -> tuple[tuple[str, str], ...]:
    """Outputs without a wire, as (step, port), for the outputs given for each step; a run that takes one ends there."""
    joined = {(edge.source, edge.port) for edge in definition.edges}
    return tuple((id, port) for id, names in ports.items() for port in names if (id, port) not in joined)
