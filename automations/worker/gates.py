"""The gates between an event and a run, in their order (CONTRACTS 7): state age self_caused chain_depth parameters subject filter
priority already_over reentry plan hold owner erased. Each says why it stops, or nothing. What they ask was read before, in bulk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from automations.engine.durations import Duration
from automations.engine.expressions import Environment, ExpressionError
from automations.engine.plan import Plan
from automations.engine.subjects import narrowest
from automations.worker.batch import Listening, Occurrence
from automations.worker.hearing import Audience
from automations.worker.reading import Reader

MAX_AGE = Duration(0, 72 * 3600)  # of events that start something (DESIGN 5.1, "Causes and age")
DEEPEST = 8  # a chain of causes longer than this starts nothing
AGELESS = ("api", "schedule")
Stop = tuple[str, str]  # gate, reason


@dataclass(slots=True)
class Known:
    """What was read for the batch: the automation of each causing run, plan limits of the workspaces, customers that are gone,
    and the re-entry keys that are taken."""

    reader: Reader
    audience: Audience = field(default_factory=lambda: Audience([]))
    causes: Mapping[int, int] = field(default_factory=dict)
    limits: Mapping[int, tuple[int | None, int | None]] = field(default_factory=dict)  # on stages, global
    erased: frozenset[int] = frozenset()
    entries: dict[tuple[int, str], int] = field(default_factory=dict)  # automation and key -> run
    left: dict[tuple[int, str], int] = field(default_factory=dict)  # keys that ended runs left behind, free to be taken
    needed: dict[int, frozenset[str]] = field(default_factory=dict)  # by version: what `required` says


def early(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    """The gates up to the filter: they decide who may win an exclusive trigger (PRI-02)."""
    for gate in _EARLY:
        stop = gate(item, occurrence, known)
        if stop is not None:
            return stop
    return None


def late(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    """The gates behind the filter: one that refuses the winner of an exclusive trigger leaves the event to nobody."""
    for gate in _LATE:
        stop = gate(item, occurrence, known)
        if stop is not None:
            return stop
    return None


def _state(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    return None if item.state == "ACTIVE" else ("state", f"It was {item.state}.")


def _age(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    facts = occurrence.facts
    if facts.origin in AGELESS:
        return None
    limit = item.plan.max_age or MAX_AGE
    if limit.after(facts.occurred_at, known.reader.zones[item.workspace_id]) >= known.reader.now:
        return None
    return "age", f"It happened more than {limit} ago."


def _self_caused(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    cause = occurrence.facts.cause_run
    if cause is None or known.causes.get(cause) != item.id or item.plan.settings.restart_on_own_effects:
        return None
    return "self_caused", f"It was brought about by exec_{cause} of this automation."


def _chain_depth(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    if occurrence.facts.depth <= DEEPEST:
        return None
    return "chain_depth", f"It stands at the end of a chain of {occurrence.facts.depth} causes; {DEEPEST} are allowed."


def _parameters(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    plan, facts = item.plan, occurrence.facts
    if occurrence.only_automation is None:
        if not plan.trigger.applies(facts, plan.parameters):
            return "parameters", "It is not one of those that the trigger's parameters name."
        if not plan.trigger.within(facts, plan.settings.scope):
            return "parameters", "It belongs to another funnel than the automation."
    return _judged("parameters", plan.where, occurrence, known)


def _subject(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    needed = known.needed.get(item.version_id)
    if needed is None:
        needed = known.needed[item.version_id] = required(item.plan)
    if needed <= occurrence.facts.subjects.keys():
        return None
    missing = sorted(needed - occurrence.facts.subjects.keys())
    return "subject", f"It names no {' and no '.join(missing)}, which the automation needs."


def _filter(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    return _judged("filter", item.plan.filter, occurrence, known)


def _judged(gate: str, expressions: tuple[Any, ...], occurrence: Occurrence, known: Known) -> Stop | None:
    """The first expression that does not hold. One that cannot be worked out skips this automation, never the batch."""
    if not expressions:
        return None
    env = known.reader.of_event(occurrence)
    for expression in expressions:
        try:
            if not known.reader.holds(expression, env):
                return gate, f"Not so: {expression.source}"
        except ExpressionError as error:
            return gate, f"{expression.source}: {error}"
    return None


def _already_over(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    """An exit that holds now, unless it is the very event that starts the run (DESIGN 5.1, exits)."""
    env: Environment | None = None
    for found in item.plan.predicates:
        if found.predicate is None or found.event == occurrence.facts.name:
            continue
        env = env or known.reader.of_objects(occurrence)
        if known.reader.holds(found.predicate, env):
            return "already_over", f"It would have ended at once: {found.reason}."
    return None


def _reentry(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    key = entry_key(item.plan, occurrence)
    run = known.entries.get((item.id, key)) if key else None
    if run is None:
        return None
    rule = item.plan.settings.reentry
    holder = f"exec_{run}" if run > 0 else "a run of the same batch"
    return "reentry", f"{key} is kept by {holder} ({rule})."


def _plan(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    on_stages, everywhere = known.limits.get(item.workspace_id, (None, None))
    if (on_stages if item.scoped else everywhere) != 0:
        return None
    return "plan", "The workspace's plan has no automations of this kind."


def _erased(item: Listening, occurrence: Occurrence, known: Known) -> Stop | None:
    return ("erased", "The customer was erased.") if occurrence.customer_id in known.erased else None


_Gate = Callable[[Listening, Occurrence, Known], Stop | None]
_EARLY: tuple[_Gate, ...] = (_state, _age, _self_caused, _chain_depth, _parameters, _subject, _filter)
_LATE: tuple[_Gate, ...] = (_already_over, _reentry, _plan, _erased)


def required(plan: Plan) -> frozenset[str]:
    """The objects without which no run can be: a customer for what happens to customers, and all that a step acts on. A custom,
    scheduled or manual run needs only the latter (CONTRACTS 7)."""
    needed = frozenset().union(*(node.kind.subjects for node in plan.nodes.values())) if plan.nodes else frozenset()
    free = plan.trigger.subject == "none" or plan.trigger.key == "custom"
    return needed if free else needed | {"customer"}


def entry_key(plan: Plan, occurrence: Occurrence) -> str | None:
    """The re-entry key (`invoice:8`), None when every firing starts a run (RUN-23). A trigger says which object it is about; where
    the event lacks that, the narrowest it has."""
    if plan.settings.reentry == "always":
        return None
    subjects = occurrence.facts.subjects
    kind = plan.trigger.reentry_subject
    if kind in subjects:
        return f"{kind}:{subjects[kind]}"
    name, id = narrowest(subjects, frozenset({"invoice", "subscription", "customer"}))
    return f"{name}:{id}"


def too_old(occurrence: Occurrence, now: datetime) -> bool:
    """Whether the event starts nothing for its age, whatever an automation says."""
    facts = occurrence.facts
    return facts.origin not in AGELESS and facts.occurred_at < now - timedelta(seconds=MAX_AGE.seconds)
