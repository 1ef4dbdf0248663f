"""What one run sees at one moment: its own facts joined with the records that were read (CONTRACTS 5, roots)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from automations.engine.expressions import Environment
from automations.engine.plan import Plan
from automations.engine.run_state import RunState
from automations.engine.scope import RunData, Scope

if TYPE_CHECKING:
    from automations.engine.walk import Walk


def make_scope(walk: Walk) -> Scope:
    """Join what the run knows itself with what lies in the records."""
    run, plan, frames = walk.run, walk.plan, walk.frames
    subjects = frames.subjects(run.subjects)
    state = run.state
    facts = {
        "id": run.public_id,
        "startedAt": run.started_at,
        "step": run.step,
        "automation": f"auto_{run.automation_id}",
        "customer": run.customer_id,
    }
    values = {
        "steps": state.get("out", {}),
        "wait": state.get("wait", {}),
        "run": facts,
        "now": walk.now,
    }
    if frames.top is not None:
        values.update(frames.values(walk.records, plan))
    env = Environment(
        RunData(walk.records, root_ids(plan, run, subjects), values),
        walk.now,
        walk.zone,
        walk.workspace.get("locale", "en"),
    )
    return Scope(plan.names, env, walk.records, run.workspace_id, subjects, facts, walk.workspace, plan.transactional)


def root_ids(plan: Plan, run: RunState, subjects: Mapping[str, int]) -> dict[str, int]:
    """The id under which each root of this run is read."""
    known = {**subjects, "run": run.id, "workspace": run.workspace_id}
    ids = {name: known[subject] for name, subject in plan.root_subjects if subject in known}
    ids["trigger"] = run.event_id
    return ids
