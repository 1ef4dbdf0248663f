"""Ending runs and reaching goals by events (RUN-28, C-11, C-12; DESIGN 5.1, "Exits")."""

from __future__ import annotations

from collections.abc import Iterator

from automations.engine.expressions import Expression, ExpressionError
from automations.engine.plan import PlanExit
from automations.engine.registry import registry
from automations.engine.subjects import narrowest, provided
from automations.services.endings import ends_by
from automations.worker.batch import LiveRun, Occurrence
from automations.worker.hearing import is_one_of
from automations.worker.reading import Reader

GOAL_REACHED = "goal_reached"


def correlated(run: LiveRun, occurrence: Occurrence) -> bool:
    """Whether event and run are about the same: by the narrowest object that the event's catalogue entry and the run both have
    (CONTRACTS 4). A payment is none of these: two tries of one invoice are two payments."""
    facts = occurrence.facts
    kind, id = narrowest(run.subjects, provided(facts.name, registry) - {"payment"})
    return kind != "none" and facts.subjects.get(kind) == id


def expressions_of(run: LiveRun, occurrence: Occurrence) -> Iterator[Expression]:
    """What will be judged for this run when this event comes, so that it can be read in bulk before."""
    for item in run.plan.exits:
        if is_one_of(item.event, occurrence.facts):
            yield from item.where
            if item.predicate is not None:
                yield item.predicate
    goal = run.plan.goal
    if goal is not None and is_one_of(goal.event, occurrence.facts):
        yield from goal.where


def touches(run: LiveRun, occurrence: Occurrence) -> bool:
    """Whether an exit or the goal of the run names this event at all. An event never ends a run that it started."""
    facts = occurrence.facts
    if facts.id == run.event_id:
        return False
    if ends_by(facts.name, run.plan):
        return True
    exits, goal = run.plan.exits, run.plan.goal
    if not exits and goal is None:
        return False
    named = any(is_one_of(item.event, facts) for item in exits)
    return (named or (goal is not None and is_one_of(goal.event, facts))) and correlated(run, occurrence)


def end_reason(run: LiveRun, occurrence: Occurrence, reader: Reader) -> str | None:
    """Why this event ends the run, None when it does not."""
    if (reason := ends_by(occurrence.facts.name, run.plan)) is not None:
        return reason
    for item in run.plan.exits:
        if is_one_of(item.event, occurrence.facts) and _ends(item, run, occurrence, reader):
            return item.reason
    return None


def _ends(item: PlanExit, run: LiveRun, occurrence: Occurrence, reader: Reader) -> bool:
    if not item.own_effects and occurrence.facts.cause_run == run.id:
        return False
    env = reader.of_run(run, occurrence)
    try:
        if not all(reader.holds(expression, env) for expression in item.where):
            return False
        if item.predicate is None or not _is_held(item.predicate, run, occurrence, reader):
            return True
        return reader.holds(item.predicate, env)
    except ExpressionError:  # what cannot be worked out ends no run; the walk says so in the run's own log
        return False


def _is_held(predicate: Expression, run: LiveRun, occurrence: Occurrence, reader: Reader) -> bool:
    """Whether we hold the object that the predicate is about: a report of something we do not hold is all there is (CONTRACTS 7)."""
    env = reader.of_run(run, occurrence)
    return any(reader.live(root, env) is not None for root in predicate.roots)


def reaches_goal(run: LiveRun, occurrence: Occurrence, reader: Reader) -> bool:
    """Whether the event is the run's goal, within its window after the run began, also after it ended."""
    goal = run.plan.goal
    facts = occurrence.facts
    if goal is None or run.goal_reached_at is not None or not is_one_of(goal.event, facts):
        return False
    if not run.started_at <= facts.occurred_at <= goal.within.after(run.started_at, reader.zones[run.workspace_id]):
        return False
    env = reader.of_run(run, occurrence)
    try:
        return all(reader.holds(expression, env) for expression in goal.where)
    except ExpressionError:  # as above: a goal that cannot be worked out is not reached
        return False
