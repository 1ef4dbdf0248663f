"""Checks of the graph as a whole: connected, acyclic, closed loops, outputs that exist, depth and size (CNV-11, CNV-12, LIM-10)."""

from __future__ import annotations

import json

from automations.engine.definition import Edge
from automations.engine.graph import border_crossings, depth, reached
from automations.engine.ports import NEXT, TIMEOUT, ends_here
from automations.engine.reading.draft import MAX_EDGES, MAX_NODES
from automations.engine.reading.parsed import MAX_BYTES
from automations.engine.validation.context import Context, Step
from automations.engine.writing.graph_data import to_data

_WAITS = ("delay", "wait_until")


def check_graph(context: Context) -> None:
    """All checks of this module."""
    if not context.steps:
        message = f"“{context.definition.name}” has no steps; add at least one."
        context.report("no_steps", message, context.lines.top("nodes"))
    _connected(context)
    _acyclic(context)
    _borders(context)
    for step in context.steps.values():
        _outputs(context, step)
        _slow_loop(context, step)
    _depth(context)
    _size(context)


def _connected(context: Context) -> None:
    found = reached(context.graph)
    for step in context.steps.values():
        if step.id not in found:
            message = f"No path leads from the trigger to step “{step.id}”; wire it to an output, or remove it."
            context.report("disconnected", message, context.at(step), step.id)


def _acyclic(context: Context) -> None:
    for cycle in context.cycles:
        way = " → ".join(f"“{id}”" for id in (*cycle, cycle[0]))
        message = f"The steps {way} go round in a circle; remove one of the wires, or use a loop step."
        context.report("cycle", message, context.at(context.steps[cycle[0]]), cycle[0])


def _borders(context: Context) -> None:
    for loop, edge in () if context.cycles else border_crossings(context.definition):
        message = (
            f"The wire from “{edge.source}” to “{edge.target}” crosses the border of the loop “{loop}”; "
            "the steps of a loop lead nowhere else and are reached from nowhere else."
        )
        context.report("loop_border", message, context.at(context.steps[edge.source]), edge.source)


def _outputs(context: Context, step: Step) -> None:
    edges = context.graph.out.get(step.id, ())
    if ends_here(step.node.type, step.kind):
        for edge in edges:
            if edge.port == NEXT:
                _after_end(context, step, edge)
        edges = tuple(edge for edge in edges if edge.port != NEXT)
    if step.kind is None or step.typed is None:
        return
    ports = step.kind.ports(step.typed)
    for edge in edges:
        if edge.port not in ports:
            has = f"it has {', '.join(ports)}" if ports else "it has none"
            message = f"Step “{step.id}” has no output “{edge.port}”, so nothing reaches “{edge.target}” by it; {has}."
            context.report("unreachable_port", message, context.at(step), step.id)
    if TIMEOUT in ports and step.node.type == "wait_until" and not step.node.config.get("timeout"):
        message = (
            f"Step “{step.id}” branches on its time-out but has none, so that output is never taken; set “timeout”."
        )
        context.report("unreachable_port", message, context.at(step), step.id, severity="warning")
    _first_unjoined(context, step, ports)


def _after_end(context: Context, step: Step, edge: Edge) -> None:
    message = f"Nothing after “{step.id}” is executed, so “{edge.target}” is never reached from it; remove the wire."
    context.report("steps_after_end", message, context.at(context.steps[edge.target]), edge.target, severity="warning")


def _first_unjoined(context: Context, step: Step, ports: tuple[str, ...]) -> None:
    """A split of which only the second output is joined ends the runs of the first: allowed, and said (CNV-17)."""
    joined = {edge.port for edge in context.graph.out.get(step.id, ())}
    if len(ports) >= 2 and step.kind is not None and step.kind.depth == 0 and ports[0] not in joined and joined:
        message = f"The output “{ports[0]}” of “{step.id}” leads nowhere; runs that take it end there."
        context.report("disconnected", message, context.at(step), step.id, severity="info")


def _slow_loop(context: Context, step: Step) -> None:
    for loop in step.loops:
        over = context.graph.nodes[loop].config.get("over")
        if step.node.type in _WAITS and isinstance(over, dict):
            message = (
                f"“{step.id}” waits inside the loop “{loop}” over many records, one after the other; "
                "start a run for each record with “forEach” on the trigger instead."
            )
            context.report("slow_loop", message, context.at(step), step.id, severity="warning")
            return


def _depth(context: Context) -> None:
    known, settings = context.known, context.definition.settings
    limit = known.stage_depth if settings.scope else known.global_depth
    found = depth(context.definition, context.registry)
    if limit is not None and found > limit:
        plan = f"the plan {known.plan}" if known.plan else "your plan"
        message = f"The longest path has {found} steps, and {plan} allows {limit}; shorten it or move to a larger plan."
        context.report("plan_limit", message, context.lines.top("nodes"))


def _size(context: Context) -> None:
    definition = context.definition
    size = len(json.dumps(to_data(definition), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for count, limit, what in (
        (len(definition.nodes), MAX_NODES, "steps"),
        (len(definition.edges), MAX_EDGES, "wires"),
        (size, MAX_BYTES, "bytes"),
    ):
        if count * 2 >= limit:
            message = f"The definition has {count:,} of at most {limit:,} {what}; think of splitting it in two."
            context.report("size_warning", message, context.lines.top("nodes"), severity="warning")
