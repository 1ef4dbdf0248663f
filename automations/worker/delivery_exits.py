"""Exits judged where a delivery is claimed: predicates on the live object, whatever events have said so far (DESIGN
5.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from accounts.clock import evaluation_now
from automations.engine.scope import NeedLoad
from automations.engine.walk import Walk
from automations.worker.claim import read
from automations.worker.context import Context, load_workspaces
from automations.worker.plans import plans_for

_ROUNDS = 20  # of reading; each brings something new, so this only stops a defect


def over(run_ids: Collection[int]) -> dict[int, str]:
    """Those of these unfinished runs that are over, and why, although nothing has ended them yet. Reads in bulk, writes
    nothing; a run whose version cannot be compiled is not over."""
    walks, context = _walks(run_ids)
    found: dict[int, str] = {}
    open_ = walks
    for _round in range(_ROUNDS):
        if not open_:
            break
        open_ = _judge(open_, context, found)
    return found


def _walks(run_ids: Collection[int]) -> tuple[list[Walk], Context]:
    """Only of runs whose version can end in this way."""
    if not run_ids:
        return [], Context(evaluation_now())
    runs = read(sorted(run_ids))
    plans = plans_for({run.version_id for run in runs})
    ending = {id for id, plan in plans.items() if plan.predicates or plan.max_run_age}
    runs = [run for run in runs if run.version_id in ending]
    context = Context(evaluation_now())
    if not runs:
        return [], context
    workspaces = load_workspaces(run.workspace_id for run in runs)
    return [
        Walk(plans[run.version_id], run, context.records, context.now, workspaces[run.workspace_id]) for run in runs
    ], context


def _judge(walks: Sequence[Walk], context: Context, found: dict[int, str]) -> list[Walk]:
    """Judge what can be judged; read for the others what they lack and hand them back."""
    wanted: dict[str, set[int]] = defaultdict(set)
    again = []
    for walk in walks:
        try:
            reason = walk.exit_reason()
        except NeedLoad as need:
            again.append(walk)
            for root, ids in need.wanted.items():
                wanted[root].update(ids)
        else:
            if reason is not None:
                found[walk.run.id] = reason
    context.load(wanted)
    return again
