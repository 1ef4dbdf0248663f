"""Random definitions, made by construction: acyclic and connected, with loops, arms that meet again, error outputs, positions and
odd texts. A graph is grown as the interpreter walks it: every step is reached from an output that is still open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from automations.engine.definition import (
    TRIGGER,
    Definition,
    Edge,
    ErrorHandling,
    ExitSpec,
    GoalSpec,
    Node,
    Settings,
    TriggerSpec,
)
from automations.engine.graph import canonical

# NUL and lone surrogates cannot be stored and are refused by the reader.
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20)
# Each has a meaning of its own somewhere in YAML.
_MARKS = [
    "~",
    "",
    " ",
    "a: b",
    "- x",
    "{{x}}",
    "#c",
    "x #y",
    "'q'",
    '"',
    "\\",
    "|",
    ">",
    "&a",
    "*a",
    "<<",
    "%",
    "@",
    "`",
    "?",
]
_VALUES = [
    "no",
    "1:30",
    "null",
    "true",
    "2026-11-20",
    "007",
    "1e5",
    "1.50",
    ".5",
    "+49",
    "0x1f",
    "? x",
    "!t",
    "---",
    "...",
]
_BREAKS = ["two\nlines", "tail \n", "\n", "a\n\nb\n", "\t", "\x85", "\u2028", "\ufeff", "\x7f", "trailing ", " leading"]
WORDS = st.sampled_from([*_MARKS, *_VALUES, *_BREAKS, "end", "é", "🎉"])
ANY_TEXT = st.one_of(TEXT, WORDS)
NUMBER = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.decimals(-100_000, 100_000, places=3), st.sampled_from([0, 1, -1])
)
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, ANY_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ANY_TEXT, inner, max_size=3)),
    max_leaves=6,
)
HANDLING = st.builds(
    ErrorHandling, st.integers(0, 9), st.sampled_from(["5m", "1d12h", ""]), st.sampled_from([1, 2, 1.5, 2.25])
)
POSITION = st.tuples(st.integers(-999, 999).map(float), st.floats(-999, 999, width=16))
EXPRESSIONS = st.lists(ANY_TEXT, max_size=2).map(lambda texts: tuple(texts) if texts != [""] else ())
EVENT = st.sampled_from(["invoice.paid", "demo_booked", "", "weird name"])


def _config(draw: st.DrawFn, type_: str) -> dict[str, Any]:
    """A configuration of that type; it need not validate, but it is one that the reader leaves as it is."""
    if type_ == "condition":
        return {"if": draw(ANY_TEXT)} if draw(st.booleans()) else {}
    if type_ == "branch":
        count = draw(st.integers(1, 3))
        return {"cases": [{"id": f"case-{n}", "if": draw(ANY_TEXT)} for n in range(count)]}
    if type_ == "wait_until":
        wide = draw(st.booleans())
        return {"event": "demo_booked", "timeout": "3d"} | ({"branchOnTimeout": True} if wide else {})
    if type_ == "loop":
        return {"over": draw(st.one_of(ANY_TEXT, st.just({"query": "invoices"}))), "as": "line"}
    if type_ == "percentage_split":
        return {"percent": draw(st.integers(0, 100))}
    if type_ == "delay":
        return {"duration": draw(st.sampled_from(["3d", "1d12h", "0d", "soon"]))}
    keys = st.sampled_from(["template", "to", "fields", "odd key", "3", "body"])
    return draw(st.dictionaries(keys, DATA, max_size=3)) if type_ != "stop" else {}


PORTS = {
    "condition": ("true", "false"),
    "percentage_split": ("a", "b"),
    "loop": ("each", "next"),
    "stop": (),
    "delay": ("next",),
}
TYPES = [*PORTS, "branch", "wait_until", "send_email", "create_task", "cancel_subscription"]


def ports_of(type_: str, config: dict[str, Any]) -> tuple[str, ...]:
    if type_ == "branch":
        return (*(case["id"] for case in config["cases"]), "default")
    if type_ == "wait_until":
        return ("next", "timeout") if config.get("branchOnTimeout") else ("next",)
    return PORTS.get(type_, ("next", "error"))


@dataclass
class _Grown:
    """Nodes and edges so far; `open` are outputs without a wire, each with the loops around it."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    open: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=lambda: [(TRIGGER, "next", ())])
    around: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, draw: st.DrawFn, number: int) -> None:
        """One more step, behind one open output or behind several of the same loop, which meet there."""
        type_ = draw(st.sampled_from(TYPES))
        config = _config(draw, type_)
        first = draw(st.sampled_from(self.open))
        same = [item for item in self.open if item[2] == first[2] and item[0] != TRIGGER and item != first]
        joining = [first, *(item for item in same if draw(st.integers(0, 3)) == 0)]
        id = draw(st.sampled_from([f"{type_}_{number}", f"s{number}", f"odd id {number}", type_]))
        id = id if id not in self.around else f"s{number}"
        position = draw(st.none() | POSITION)
        handling = draw(st.none() | HANDLING)
        self.nodes.append(
            Node(id, type_, config, draw(st.just("") | ANY_TEXT), draw(st.just("") | TEXT), handling, position)
        )
        self.around[id] = first[2]
        for item in joining:
            self.open.remove(item)
            self.edges.append(Edge(item[0], item[1], id))
        for port in ports_of(type_, config):
            self.open.append((id, port, (*first[2], id) if port == "each" else first[2]))


@st.composite
def definitions(draw: st.DrawFn, max_steps: int = 12) -> Definition:
    """A canonical definition."""
    grown = _Grown()
    for number in range(draw(st.integers(0, max_steps))):
        if not grown.open:
            break
        grown.add(draw, number)
    return canonical(
        Definition(
            name=draw(TEXT.filter(str.strip)),
            trigger=draw(triggers()),
            nodes=tuple(draw(st.permutations(grown.nodes))),
            edges=tuple(draw(st.permutations(grown.edges))),
            key=draw(st.sampled_from(["", "dunning"])),
            description=draw(ANY_TEXT),
            filter=draw(EXPRESSIONS),
            exits=tuple(draw(st.lists(st.builds(ExitSpec, EVENT, EXPRESSIONS, ANY_TEXT), max_size=2))),
            goal=draw(st.none() | st.builds(GoalSpec, EVENT, st.just("14d"), EXPRESSIONS, st.booleans())),
            settings=draw(settings_values()),
        )
    )


def triggers() -> st.SearchStrategy[TriggerSpec]:
    """All three forms."""
    parameters = st.dictionaries(st.sampled_from(["stage", "days", "odd"]), DATA, max_size=2)
    return st.one_of(
        st.builds(TriggerSpec, st.just("event"), EVENT, EXPRESSIONS, st.sampled_from([None, "3d"]), parameters),
        st.builds(lambda rest: TriggerSpec("schedule", parameters={"cron": "0 9 * * 1", **rest}), parameters),
        st.just(TriggerSpec("manual")),
    )


def settings_values() -> st.SearchStrategy[Settings]:
    """Every setting, default or not."""
    return st.builds(
        Settings,
        scope=st.sampled_from([(), ("default/TRIAL",), ("a/b", "c/d")]),
        pacing=st.sampled_from(["immediate", "tick"]),
        reentry=st.sampled_from(["always", "one_at_a_time", "once"]),
        transactional=st.sampled_from([None, True, False]),
        restart_on_own_effects=st.booleans(),
        error_handling=st.none() | HANDLING,
        max_run_age=st.sampled_from([None, "90d"]),
    )
