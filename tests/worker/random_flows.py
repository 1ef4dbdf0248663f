"""Random automations of steps whose outcome follows from their records alone, made by construction: every wire leads forward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from automations.engine.definition import TRIGGER, Definition, Edge, Node, TriggerSpec

CONDITIONS = (
    "trigger.n > 2",
    'customer.plan == "pro"',
    'trigger.n % 2 == 0 and customer.country in ["DE", "FR"]',
    "trigger.items | length > 1",
    'trigger.missing == "x" or trigger.n < 3',
)
PORTS = {
    "condition": ("true", "false"),
    "percentage_split": ("a", "b"),
    "loop": ("each", "next"),
    "stop": (),
    "delay": ("next",),
    "create_task": ("next",),
    "add_tag": ("next",),
}
TYPES = [*PORTS, "branch", "wait_until", "delay", "create_task", "condition"]


def _config(draw: st.DrawFn, type_: str, around: tuple[str, ...], number: int) -> dict[str, Any]:
    item = f" {{{{{around[-1]}_item}}}}" if around else ""
    if type_ == "condition":
        return {"if": draw(st.sampled_from(CONDITIONS))}
    if type_ == "branch":
        count = draw(st.integers(1, 3))
        return {"cases": [{"id": f"case-{n}", "if": draw(st.sampled_from(CONDITIONS))} for n in range(count)]}
    if type_ == "wait_until":
        extra: dict[str, Any] = draw(st.sampled_from([{}, {"filter": "event.seats > 5"}, {"branchOnTimeout": True}]))
        return {"event": "ping", "timeout": draw(st.sampled_from(["2h", "5h"])), **extra}
    if type_ == "loop":
        return {"over": "{{trigger.items}}", "as": f"loop{number}_item"}
    if type_ == "percentage_split":
        return {"percent": draw(st.integers(0, 100))}
    if type_ == "delay":
        return draw(st.sampled_from([{"duration": "1h"}, {"duration": "3d"}, {"duration": "1mo"}, {"until": "09:30"}]))
    if type_ == "create_task":
        return {"message": f"{number}: {{{{trigger.n}}}} {{{{customer.name}}}}{item}"}
    return {"tag": f"tag-{number}"} if type_ == "add_tag" else {}


def _ports(type_: str, config: dict[str, Any]) -> tuple[str, ...]:
    if type_ == "branch":
        return (*(case["id"] for case in config["cases"]), "default")
    if type_ == "wait_until":
        return ("next", "timeout") if config.get("branchOnTimeout") else ("next",)
    return PORTS[type_]


@dataclass
class _Grown:
    """`open` are outputs without a wire, each with the loops around it, outermost first."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    open: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=lambda: [(TRIGGER, "next", ())])

    def add(self, draw: st.DrawFn, number: int) -> None:
        """One more step behind an open output, or behind several of one loop, which meet there."""
        first = draw(st.sampled_from(self.open))
        around = first[2]
        type_ = draw(st.sampled_from([type_ for type_ in TYPES if type_ != "loop" or len(around) < 2]))
        config = _config(draw, type_, around, number)
        same = [item for item in self.open if item[2] == around and item != first]
        for item in [first, *(item for item in same if draw(st.booleans()))]:
            self.open.remove(item)
            self.edges.append(Edge(item[0], item[1], _id(type_, number)))
        self.nodes.append(Node(_id(type_, number), type_, config))
        for port in _ports(type_, config):
            inside = (*around, _id(type_, number)) if port == "each" else around
            self.open.append((_id(type_, number), port, inside))


def _id(type_: str, number: int) -> str:
    return f"{'loop' if type_ == 'loop' else 's'}{number}"


@st.composite
def flows(draw: st.DrawFn, most: int = 9) -> Definition:
    """A definition that can be activated."""
    grown = _Grown()
    for number in range(draw(st.integers(1, most))):
        if grown.open:
            grown.add(draw, number)
    return Definition("Random", TriggerSpec("event", "sign"), tuple(grown.nodes), tuple(grown.edges))


#: Minutes after the start, never a multiple of what the timers take, and what the event carries.
HAPPENINGS = st.lists(
    st.tuples(st.integers(0, 40).map(lambda hours: hours * 60 + 25), st.integers(0, 10)),
    max_size=4,
    unique_by=lambda item: item[0],
).map(sorted)
PAYLOADS = st.fixed_dictionaries(
    {"n": st.integers(0, 5), "items": st.lists(st.sampled_from(["a", "b", "c"]), max_size=2)}
)
