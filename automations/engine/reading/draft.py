"""What both forms of a definition have in common while it is read: steps, their ids, wires, and references by id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from automations.engine.definition import TRIGGER, Edge, ErrorHandling, Node
from automations.engine.reading.aliases import Normal, canonical_type
from automations.engine.reading.head import read_error_handling
from automations.engine.reading.parsed import Path, shown
from automations.engine.reading.shape import Shape, did_you_mean
from automations.engine.registry import Registry

MAX_NODES, MAX_EDGES = 500, 1_000  # DESIGN 6
MAX_ID, MAX_NAME = 100, 200
END = "end"  # in `next` and arms: nothing follows
RESERVED_IDS = frozenset({TRIGGER, END})


@dataclass(slots=True)
class Step:
    """A step being read: canonical, except that its id may still have to be made."""

    path: Path
    normal: Normal
    id: str = ""
    made: bool = False
    name: str = ""
    note: str = ""
    error_handling: ErrorHandling | None = None
    position: tuple[float, float] | None = None


@dataclass(slots=True)
class Draft:
    """Collects steps and wires."""

    registry: Registry
    shape: Shape
    lenient: bool = False  # a stored version: types that are no longer known are kept
    steps: list[Step] = field(default_factory=list)
    edges: dict[tuple[str, str], str] = field(default_factory=dict)
    by_id: dict[str, Step] = field(default_factory=dict)

    def common(self, data: dict[str, Any], path: Path, normal: Normal) -> Step:
        """Read the keys that every step has."""
        step = Step(path, normal, self._id(data, path))
        step.name = self.shape.text(data, "name", path, MAX_NAME)
        step.note = self.shape.text(data, "note", path)
        step.error_handling = read_error_handling(data.get("errorHandling"), (*path, "errorHandling"), self.shape)
        step.position = self._position(data.get("position"), (*path, "position"))
        self.steps.append(step)
        return step

    def type(self, data: dict[str, Any], path: Path) -> str:
        """The canonical type or action; an unknown one is reported with the nearest name."""
        key = "action" if data.get("type") == "action" else "type"
        if key == "type" and "action" in data:
            message = f"“{shown((*path, 'action'))}” needs “type: action” beside it."
            self.shape.report("bad_config", (*path, "action"), message)
        written = data.get(key)
        if not isinstance(written, str) or not written:
            message = f"The step at “{shown(path)}” needs a text as its “{key}”."
            self.shape.report("missing_config", (*path, key), message)
            return ""
        name = canonical_type(written)
        # An unknown action is stored and told by validation, an unknown kind of step has no shape (DEF-08, DEF-25).
        if key == "type" and self.registry.kind(name) is None and not self.lenient:
            known = ["action", *self.registry.steps, *self.registry.actions]
            message = f"There is no type of step “{written}” (at “{shown((*path, key))}”)."
            self.shape.report("unknown_action", (*path, key), message, did_you_mean(name, known))
        return name

    def _id(self, data: dict[str, Any], path: Path) -> str:
        id = self.shape.text(data, "id", path, MAX_ID)
        if id in RESERVED_IDS:
            message = f"A step cannot be called “{id}”, which has a meaning of its own; give it another id."
            self.shape.report("bad_config", (*path, "id"), message)
        return id

    def _position(self, value: Any, path: Path) -> tuple[float, float] | None:
        if value is None:
            return None
        data = self.shape.mapping(value, path)
        self.shape.keys(data, ("x", "y"), path)
        x, y = (self.shape.number(data, axis, path, 0, whole=False) for axis in ("x", "y"))
        return float(x), float(y)

    def settle_ids(self) -> None:
        """Report doubled ids and make the missing ones: the action or type, then `_2`, `_3` in order of reading."""
        taken: dict[str, Step] = {}
        for step in self.steps:
            if step.id and step.id in taken:
                first = shown(taken[step.id].path)
                message = (
                    f"The id “{step.id}” is used twice, at “{first}” and “{shown(step.path)}”; change one of them."
                )
                self.shape.report("bad_config", (*step.path, "id"), message, step=step.id)
            elif step.id:
                taken[step.id] = step
        used, next_number = set(taken) | RESERVED_IDS, dict[str, int]()
        for step in self.steps:
            if not step.id:
                step.id, step.made = made_id(step.normal.type, used, next_number), True
        self.by_id = {step.id: step for step in self.steps}
        if len(self.steps) > MAX_NODES:
            message = f"The definition has {len(self.steps)} steps; at most {MAX_NODES} are allowed. Split it in two."
            self.shape.report("limit_exceeded", (), message)
            self.shape.give_up()

    def wire(self, source: str, port: str, target: str, path: Path) -> None:
        """Join an output to a step; each output leads to one step only."""
        there = self.edges.setdefault((source, port), target)
        if there != target:
            message = f"The output “{port}” of “{source}” leads to “{there}” and to “{target}”; keep one of the wires."
            self.shape.report("bad_config", path, message, step=source)

    def resolve(self, id: Any, path: Path, what: str) -> str | None:
        """The id of a step that is referred to, or None with a report when there is no such step."""
        if isinstance(id, int) and not isinstance(id, bool):
            id = str(id)
        if isinstance(id, str) and id in self.by_id:
            return id
        message = f"{what} names the step “{id}”, which does not exist."
        self.shape.report("unknown_step_reference", path, message, did_you_mean(str(id), self.by_id))
        return None

    def nodes(self) -> tuple[Node, ...]:
        """The steps as they are stored."""
        return tuple(
            Node(
                step.id,
                step.normal.type,
                step.normal.config,
                step.name,
                step.note,
                step.error_handling,
                step.position,
                step.made,
            )
            for step in self.steps
        )

    def wires(self) -> tuple[Edge, ...]:
        """The wires as they are stored."""
        if len(self.edges) > MAX_EDGES:
            message = f"The definition has {len(self.edges)} wires; at most {MAX_EDGES} are allowed. Split it in two."
            self.shape.report("limit_exceeded", (), message)
        return tuple(Edge(source, port, target) for (source, port), target in self.edges.items())


def made_id(base: str, used: set[str], next_number: dict[str, int]) -> str:
    """The first of `base`, `base_2`, `base_3` ... that is free; takes it."""
    base = base or "step"
    while True:
        number = next_number.get(base, 1)
        next_number[base] = number + 1
        id = base if number == 1 else f"{base}_{number}"
        if id not in used:
            used.add(id)
            return id
