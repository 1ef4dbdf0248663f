"""Reads the graph form: `nodes` and `edges` (CONTRACTS 4)."""

from __future__ import annotations

from typing import Any

from automations.engine.definition import TRIGGER
from automations.engine.ports import NEXT
from automations.engine.reading.aliases import canonical_port, normal
from automations.engine.reading.draft import Draft, Step
from automations.engine.reading.parsed import Path

_NODE = ("id", "type", "action", "name", "note", "config", "errorHandling", "position")


def read_graph(data: dict[str, Any], draft: Draft) -> None:
    """Fill the draft from the top-level keys `nodes` and `edges`."""
    for index, item in enumerate(draft.shape.list(data.get("nodes"), ("nodes",))):
        _node(draft.shape.mapping(item, ("nodes", index)), ("nodes", index), draft)
    draft.settle_ids()
    steps = {step.id: step for step in draft.steps}
    for index, item in enumerate(draft.shape.list(data.get("edges"), ("edges",))):
        _edge(draft.shape.mapping(item, ("edges", index)), ("edges", index), draft, steps)


def _node(data: dict[str, Any], path: Path, draft: Draft) -> None:
    draft.shape.keys(data, _NODE, path)
    config = draft.shape.mapping(data.get("config"), (*path, "config"))
    step = normal(draft.type(data, path), config)
    draft.common(data, path, step)


def _edge(data: dict[str, Any], path: Path, draft: Draft, steps: dict[str, Step]) -> None:
    draft.shape.keys(data, ("from", "port", "to"), path)
    source, port = data.get("from"), draft.shape.text(data, "port", path) or NEXT
    target = draft.resolve(data.get("to"), (*path, "to"), "A wire's “to”")
    if source != TRIGGER:
        source = draft.resolve(source, (*path, "from"), "A wire's “from”")
        port = canonical_port(steps[source].normal, port) if source else port
    elif port not in (NEXT, "out"):
        message = f"The trigger has one output, “next”; there is no “{port}”."
        draft.shape.report("bad_config", (*path, "port"), message)
        return
    else:
        port = NEXT
    if source is not None and target is not None:
        draft.wire(source, port, target, path)
