"""What one run sees at one moment: its own facts joined with the records that were read (CONTRACTS 5, roots)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from automations.engine.expressions import Environment, compile_expression
from automations.engine.plan import Plan
from automations.engine.run_state import RunState
from automations.engine.scope import NeedLoad, RunData, Scope, loaded

if TYPE_CHECKING:
    from automations.engine.walk import Walk


def make_scope(walk: Walk) -> Scope:
    """Join what the run knows itself with what lies in the records. `renew` brings it up to date for the next visit."""
    run, plan, frames = walk.run, walk.plan, walk.frames
    facts = {
        "id": run.public_id,
        "startedAt": run.started_at,
        "step": run.step,
        "automation": f"auto_{run.automation_id}",
        "customer": run.customer_id,
    }
    state = run.state
    values = {
        "steps": state.get("out", _NOTHING),
        "wait": state.get("wait", _NOTHING),
        "run": facts,
        "now": walk.now,
        **walk.fresh,
    }
    if frames.top is not None:
        values.update(frames.values(walk.records, plan))
    env = Environment(
        RunData(walk.records, walk.ids(), values), walk.now, walk.zone, walk.workspace.get("locale", "en")
    )
    return Scope(
        plan.names, env, walk.records, run.workspace_id, walk.subjects(), facts, walk.workspace, plan.transactional
    )


def renew(scope: Scope, run: RunState) -> Scope:
    """The same scope as the next visit sees it: its own warnings, the step it stands on, what the steps before it left."""
    env, state = scope.env, run.state
    own = cast(RunData, env.data).locals
    own["run"]["step"] = run.step
    own["steps"], own["wait"] = state.get("out", _NOTHING), state.get("wait", _NOTHING)
    if env.warnings:
        env.warnings = []
    return scope


def show(scope: Scope, fresh: Mapping[str, Any]) -> None:
    """Let these roots be read as they are given."""
    cast(RunData, scope.env.data).locals.update(fresh)


def holds(walk: Walk, where: str, subjects: Mapping[str, int], load: Callable[[NeedLoad], None]) -> bool:
    """Whether `where` is true of a record of a query, read with the record's own subjects. Raises `ExpressionError`."""
    ids = root_ids(walk.plan, walk.run, {**walk.run.subjects, **subjects})
    env = Environment(RunData(walk.records, ids, {"now": walk.now}), walk.now, walk.zone)
    expression = compile_expression(where, walk.plan.names)
    return loaded(lambda: expression.test(env), load)


def root_ids(plan: Plan, run: RunState, subjects: Mapping[str, int]) -> dict[str, int]:
    """The id under which each root of this run is read."""
    known = {**subjects, "run": run.id, "workspace": run.workspace_id}
    ids = {name: known[subject] for name, subject in plan.root_subjects if subject in known}
    ids["trigger"] = run.event_id
    return ids


_NOTHING: Mapping[str, Any] = {}
