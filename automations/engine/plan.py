"""Plans: a definition compiled for walking. Configurations are typed, expressions compiled, ports resolved to step ids.

A version is immutable, so its plan is compiled once per process and kept (see `automations/worker/plans.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from automations.engine.definition import TRIGGER, Definition, ErrorHandling, Node, Settings
from automations.engine.durations import Duration, parse_duration
from automations.engine.expressions import Expression, ExpressionError, Names, compile_expression, compile_template
from automations.engine.graph import fallback_steps
from automations.engine.kinds import Kind, Need, Trigger
from automations.engine.marks import marked
from automations.engine.registry import Registry

#: Roots that are there without a declaration (CONTRACTS 5).
BUILT_IN = frozenset({"trigger", "event", "steps", "loop", "wait", "run", "workspace", "now"})


class PlanError(ValueError):
    """The definition cannot be walked; validation says the same in words."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and when a failed step is tried again (ERR-01 to 03). `explicit` waits are exact, built-in ones jittered."""

    retries: int = 0
    delay: Duration = field(default_factory=lambda: Duration(0, 0))
    backoff: float = 1.0
    explicit: bool = False

    def wait(self, attempt: int) -> float:
        """Seconds before the try that follows the failed `attempt` (counted from 0)."""
        return float(self.delay.seconds * self.backoff**attempt)


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One step, ready to be entered."""

    id: str
    kind: Kind
    config: Any
    node: Node
    targets: Mapping[str, str]  # port -> step id; a port without an entry ends the run, or the iteration
    policy: Policy | None
    fallback: bool


@dataclass(frozen=True, slots=True)
class PlanExit:
    """What ends runs early. With a `predicate` the live object is judged before every step; `where` is on the event alone."""

    event: str
    where: tuple[Expression, ...]
    reason: str
    predicate: Expression | None
    own_effects: bool = True


@dataclass(frozen=True, slots=True)
class PlanGoal:
    """An event within a window after the run began."""

    event: str
    where: tuple[Expression, ...]
    within: Duration
    ends_run: bool


@dataclass(frozen=True)
class Plan:
    """A version, compiled."""

    definition: Definition
    trigger: Trigger
    parameters: Any
    where: tuple[Expression, ...]
    filter: tuple[Expression, ...]
    exits: tuple[PlanExit, ...]
    goal: PlanGoal | None
    settings: Settings
    nodes: Mapping[str, PlanNode]
    first: str | None
    roots: frozenset[str]
    names: Names
    transactional: bool
    max_age: Duration | None
    max_run_age: Duration | None
    kept: frozenset[str]  # ids of steps whose output some expression reads
    registry: Registry
    schedule: Mapping[str, Any] | None = None

    @cached_property
    def changes_records(self) -> bool:
        """Whether some step writes to our own rows."""
        return any(node.kind.effect == "local" for node in self.nodes.values())

    @cached_property
    def root_subjects(self) -> tuple[tuple[str, str], ...]:
        """Each root with the object by whose id it is read."""
        return tuple((name, root.subject) for name, root in self.registry.roots.items())

    @cached_property
    def read_with(self) -> Mapping[str, tuple[str, ...]]:
        """By root that a step changes: itself and the roots that contain its data. They are read again before they are used
        (DESIGN 5.2, rounds)."""
        changed = {root for node in self.nodes.values() for root in getattr(node.kind, "changes", ())}
        roots = self.registry.roots
        return {root: (root, *(name for name, other in roots.items() if root in other.contains)) for root in changed}

    @cached_property
    def needs(self) -> tuple[Need, ...]:
        """Named records that its steps read whenever they are prepared: read once for a batch."""
        found = {need for node in self.nodes.values() for need in (*node.kind.needs(node.config), *node.kind.reads)}
        return tuple(found)

    @cached_property
    def asks_consent(self) -> bool:
        """Whether some step may write to the customer."""
        return any(node.kind.asks_consent for node in self.nodes.values())

    @cached_property
    def is_judged(self) -> bool:
        """Whether a run is asked before each step if it is over: by its age, or by the object it is about."""
        return bool(self.max_run_age or self.predicates)

    @cached_property
    def predicates(self) -> tuple[PlanExit, ...]:
        """The exits that are judged on the live object."""
        return tuple(item for item in self.exits if item.predicate is not None)


def plan_names(definition: Definition, registry: Registry) -> Names:
    """The names that expressions of this definition may use: roots, their other names, bare facts and loop items."""
    items = {str(node.config.get("as") or "item") for node in definition.nodes if node.type == "loop"}
    return _names(frozenset(registry.roots) | BUILT_IN | items, aliases(registry))


@lru_cache(maxsize=1024)
def _names(roots: frozenset[str], aliases: tuple[tuple[str, tuple[str, ...]], ...]) -> Names:
    """One object for equal names: as a key of caches it is found without being compared."""
    return Names(roots, aliases)


def aliases(registry: Registry) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Other names of roots and bare names of facts, with the paths they mean."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for root in registry.roots.values():
        found += [(other, (root.name,)) for other in root.other_names]
        found += [(bare, (root.name, *path.split("."))) for bare, path in root.bare.items()]
    return tuple(sorted(found))


def compile_plan(definition: Definition, registry: Registry) -> Plan:
    """Compile; raises `PlanError` with one sentence when the definition has errors that validation would have named."""
    try:
        return _compile(definition, registry)
    except (ExpressionError, ValueError, KeyError) as error:
        raise PlanError(f"“{definition.name}” cannot be run: {error}") from error


def _compile(definition: Definition, registry: Registry) -> Plan:
    names = plan_names(definition, registry)
    trigger = find_trigger(definition, registry)
    settings = definition.settings
    nodes = _nodes(definition, registry)
    where, filters = _expressions(definition.trigger.where, names), _expressions(definition.filter, names)
    exits = _exits(definition, trigger, registry, names)
    texts = list(_texts(nodes.values(), names))
    compiled = [*where, *filters, *(item.predicate for item in exits if item.predicate), *texts]
    return Plan(
        definition=definition,
        trigger=trigger,
        parameters=_parameters(definition, trigger),
        where=where,
        filter=filters,
        exits=exits,
        goal=_goal(definition, names),
        settings=settings,
        nodes=nodes,
        first=next((edge.target for edge in definition.edges if edge.source == TRIGGER), None),
        roots=frozenset().union(*(item.roots for item in compiled)) if compiled else frozenset(),
        names=names,
        transactional=trigger.transactional if settings.transactional is None else settings.transactional,
        max_age=parse_duration(definition.trigger.max_age) if definition.trigger.max_age else None,
        max_run_age=parse_duration(settings.max_run_age) if settings.max_run_age else None,
        kept=_mentioned(texts, nodes),
        registry=registry,
        schedule=definition.trigger.parameters if definition.trigger.type == "schedule" else None,
    )


def find_trigger(definition: Definition, registry: Registry) -> Trigger:
    """The catalogue entry of a definition's trigger; a custom event has the entry `custom`."""
    spec = definition.trigger
    key = spec.event if spec.type == "event" else spec.type
    found = registry.triggers.get(key) or (registry.triggers.get("custom") if spec.type == "event" else None)
    if found is None:
        raise PlanError(f"there is no trigger “{key}”")
    return found


def _parameters(definition: Definition, trigger: Trigger) -> Any:
    if definition.trigger.type == "schedule":
        return definition.trigger.parameters
    return trigger.Parameters.model_validate(dict(definition.trigger.parameters))


def _nodes(definition: Definition, registry: Registry) -> dict[str, PlanNode]:
    targets: dict[str, dict[str, str]] = {}
    for edge in definition.edges:
        targets.setdefault(edge.source, {})[edge.port] = edge.target
    fallback = fallback_steps(definition)
    return {
        node.id: _node(node, definition, registry, targets.get(node.id, {}), node.id in fallback)
        for node in definition.nodes
    }


def _node(node: Node, definition: Definition, registry: Registry, targets: dict[str, str], fallback: bool) -> PlanNode:
    kind = registry.kind(node.type)
    if kind is None:
        raise PlanError(f"step “{node.id}” has the unknown type “{node.type}”")
    config = kind.Config.model_validate(dict(node.config))
    # A fallback step is repeated only by a setting of its own (ERR-08).
    written = node.error_handling or (None if fallback else definition.settings.error_handling)
    return PlanNode(node.id, kind, config, node, targets, compile_policy(written), fallback)


def compile_policy(written: ErrorHandling | None) -> Policy | None:
    """The policy of an `errorHandling` object; None means the kind's own."""
    if written is None:
        return None
    delay = parse_duration(written.retry_delay)
    return Policy(int(written.retries), delay, float(written.backoff_multiplier), explicit=True)


def _expressions(sources: Iterable[str], names: Names) -> tuple[Expression, ...]:
    return tuple(compile_expression(source, names) for source in sources)


def _exits(definition: Definition, trigger: Trigger, registry: Registry, names: Names) -> tuple[PlanExit, ...]:
    own = [
        PlanExit(
            end.event,
            (),
            end.reason,
            compile_expression(end.predicate, names) if end.predicate else None,
            end.own_effects,
        )
        for end in trigger.ends
    ]
    written = []
    for spec in definition.exits:
        known = registry.triggers.get(spec.event)
        holds = known.holds if known is not None and not spec.where else ""
        predicate = compile_expression(holds, names) if holds else None
        reason = spec.reason or spec.event.replace(".", "_")
        written.append(PlanExit(spec.event, _expressions(spec.where, names), reason, predicate))
    return (*own, *written)


def _goal(definition: Definition, names: Names) -> PlanGoal | None:
    goal = definition.goal
    if goal is None:
        return None
    return PlanGoal(goal.event, _expressions(goal.where, names), parse_duration(goal.within), goal.ends_run)


def _texts(nodes: Iterable[PlanNode], names: Names) -> Iterable[Any]:
    for node in nodes:
        for _path, text, marker in marked(type(node.config), node.config):
            if marker.kind == "expression":
                yield compile_expression(text, names)
            elif marker.kind == "template":
                yield compile_template(text, names, marker.place)


def _mentioned(texts: Iterable[Any], nodes: Mapping[str, PlanNode]) -> frozenset[str]:
    spoken = {_plain(path[1]) for text in texts for path in text.paths if len(path) > 1 and path[0] == "steps"}
    return frozenset(id for id in nodes if _plain(id) in spoken)


def _plain(name: object) -> str:
    return str(name).replace("_", "").lower()
