"""What every check works with: the definition, the kinds, what exists, and the list that problems go to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from automations.engine.definition import Definition, Node
from automations.engine.event_names import catalogue_names
from automations.engine.expressions import Names
from automations.engine.graph import Graph, cycles, graph_of, loop_bodies
from automations.engine.kinds import Kind, Trigger
from automations.engine.plan import plan_names
from automations.engine.problems import Problem, Severity
from automations.engine.reading.lines import Lines, Place
from automations.engine.reading.parsed import Path
from automations.engine.reading.shape import nearest
from automations.engine.registry import Registry
from automations.engine.subjects import NARROWEST
from automations.engine.validation.known import Known


@dataclass(slots=True)
class Step:
    """A step with its kind and its typed configuration, None where they cannot be had."""

    index: int
    node: Node
    kind: Kind | None
    typed: BaseModel | None
    usable: BaseModel | None  # the same without the keys that are wrong, as far as that validates
    errors: list[Any]  # of pydantic
    loops: tuple[str, ...]  # the loops it lies in, outermost first

    @property
    def id(self) -> str:
        return self.node.id


@dataclass
class Context:
    """Facts worked out once."""

    definition: Definition
    registry: Registry
    known: Known
    lines: Lines
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.graph: Graph = graph_of(self.definition)
        self.cycles = cycles(self.definition)
        self.bodies: Mapping[str, frozenset[str]] = {} if self.cycles else loop_bodies(self.definition)
        self.names: Names = plan_names(self.definition, self.registry)
        self.trigger: Trigger | None = self._trigger()
        self.events = catalogue_names(self.registry)
        self.steps = {node.id: self._step(index, node) for index, node in enumerate(self.definition.nodes)}

    def _trigger(self) -> Trigger | None:
        spec = self.definition.trigger
        own = self.registry.triggers.get(spec.event if spec.type == "event" else spec.type)
        return own or (self.registry.triggers.get("custom") if spec.type == "event" else None)

    def _step(self, index: int, node: Node) -> Step:
        kind = self.registry.kind(node.type)
        typed, errors = typed_config(kind.Config, node.config) if kind is not None else (None, [])
        usable = typed
        if kind is not None and typed is None:
            wrong = {error["loc"][0] for error in errors if error["loc"]}
            usable, _ = typed_config(kind.Config, {key: node.config[key] for key in node.config if key not in wrong})
        around = sorted((len(body), loop) for loop, body in self.bodies.items() if node.id in body)
        return Step(index, node, kind, typed, usable, errors, tuple(loop for _, loop in reversed(around)))

    def report(
        self,
        code: str,
        message: str,
        place: Place,
        step: str | None = None,
        help: str = "",
        severity: Severity = "error",
    ) -> None:
        """Add a problem."""
        self.problems.append(
            Problem(code, message, severity, step, place.path, place.pointer, place.line, help),
        )

    def at(self, step: Step, *path: str | int) -> Place:
        """A place in a step; a path into its configuration begins with `config`."""
        return self.lines.step(step.index, *path)

    def subjects(self, step: Step | None = None) -> frozenset[str]:
        """The objects that a run is about: those of the trigger and of `forEach`, and inside loops those of their records."""
        spec = self.definition.trigger
        found = set(self.trigger.provides) if self.trigger is not None else set(NARROWEST)
        found |= self._query_subjects(spec.parameters.get("forEach")) if spec.type == "schedule" else set()
        for loop in step.loops if step is not None else ():
            found |= self._query_subjects(self.graph.nodes[loop].config.get("over"))
        return frozenset(found)

    def _query_subjects(self, over: Any) -> set[str]:
        root = self.query_root(over)
        return set(NARROWEST[NARROWEST.index(root) :]) if root in NARROWEST else set()

    def query_root(self, over: Any) -> str:
        """The root of a query's records; empty for a list and an unknown query."""
        name = over.get("query") if isinstance(over, Mapping) else None
        query = self.registry.queries.get(name) if isinstance(name, str) else None
        return query.root if query is not None else ""


def typed_config(model: type[BaseModel], config: Mapping[str, Any]) -> tuple[BaseModel | None, list[Any]]:
    """The typed configuration, or pydantic's errors."""
    try:
        return model.model_validate(dict(config)), []
    except ValidationError as error:
        return None, list(error.errors(include_url=False, include_input=False))


def like(name: str, known: Iterable[str]) -> str:
    """The help for a name that is not known."""
    found = nearest(name, sorted(known))
    return f"Did you mean {found}?" if found else ""


def find_text(value: Any, wanted: str, path: Path = ()) -> Path | None:
    """The path of the first text in nested data that equals `wanted`."""
    if value == wanted and isinstance(value, str):
        return path
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, Mapping):
        items = ((str(key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    found = (find_text(item, wanted, (*path, key)) for key, item in items)
    return next((place for place in found if place is not None), None)
