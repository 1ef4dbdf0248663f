"""Plan limits: how many automations on a stage and in all, and how deep (LIM-01 to 06, 10 to 15; C-16, C-17).

Limits are rows of `Plan` (LIM-14). They are checked when one is created (count) and activated (count and depth), and never stop
runs in progress (LIM-13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection

from accounts.errors import Refusal
from accounts.models import Plan, Stage, Workspace
from automations.models import Automation


def plan_of(workspace_id: int) -> Plan:
    """The plan of a workspace, in one query."""
    return Plan.objects.get(pk__in=Workspace.objects.filter(pk=workspace_id).values("plan"))


def check_count(workspace_id: int, stages: Sequence[int], *, own: int | None = None) -> None:
    """Refuse with `plan_limit` when one more automation with this scope (`stages` empty: global) does not fit. `own` is the
    automation that is counted anyway. Call it in the transaction that inserts or activates: concurrent callers of one
    workspace follow one another."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('automation_limits'), %s)", [workspace_id])
    plan = plan_of(workspace_id)
    others = Automation.objects.filter(workspace_id=workspace_id).exclude(pk__in=[] if own is None else [own])
    if not stages:
        _refuse_over(plan, "", others.filter(stages=[]).count() + 1, plan.global_automations)
        return
    if plan.stage_automations is None:
        return
    counts = _counts(list(others.filter(stages__overlap=list(stages)).values_list("stages", flat=True)))
    names = stage_names(workspace_id, stages)
    for stage in stages:
        _refuse_over(plan, names.get(stage, ""), counts.get(stage, 0) + 1, plan.stage_automations)


def _refuse_over(plan: Plan, stage: str, wanted: int, limit: int | None) -> None:
    if limit is None or wanted <= limit:
        return
    where = f"on the stage “{stage}”" if stage else "outside stages"
    raise Refusal(
        "plan_limit",
        f"The plan {plan.slug} allows {limit} automations {where}; move to a larger plan or delete one.",
        {"plan": plan.slug, "limit": limit, "stage": stage or None, "wanted": wanted},
    )


def depth_limit(plan: Plan, staged: bool) -> int | None:
    """The deepest that an automation may be; None is unlimited (C-17)."""
    return plan.stage_depth if staged else plan.global_depth


def check_depth(plan: Plan, depth: int, staged: bool) -> None:
    """Refuse with `plan_limit` an automation whose longest path counts more steps than the plan allows (C-16)."""
    limit = depth_limit(plan, staged)
    if limit is not None and depth > limit:
        raise Refusal(
            "plan_limit",
            f"The longest path has {depth} steps and the plan {plan.slug} allows {limit}; shorten it or move to a larger plan.",
            {"plan": plan.slug, "limit": limit, "depth": depth},
        )


def stage_ids(workspace_id: int, scope: Sequence[str]) -> dict[str, int]:
    """`funnel/stage` slugs to ids, those that exist."""
    if not scope:
        return {}
    slugs = [name.split("/", 1)[-1] for name in scope]
    rows = Stage.objects.filter(workspace_id=workspace_id, slug__in=slugs).values_list("funnel__slug", "slug", "pk")
    found = {f"{funnel}/{stage}": pk for funnel, stage, pk in rows}
    return {name: found[name] for name in scope if name in found}


def stage_names(workspace_id: int, ids: Sequence[int]) -> dict[int, str]:
    """Ids to `funnel/stage` slugs."""
    rows = Stage.objects.filter(workspace_id=workspace_id, pk__in=list(ids)).values_list("pk", "funnel__slug", "slug")
    return {pk: f"{funnel}/{stage}" for pk, funnel, stage in rows}


def use_of_limits(workspace_id: int) -> dict[str, Any]:
    """Automations on each stage and outside stages, as `/limits` and the settings page show them beside the limits (LIM-14)."""
    scopes = list(Automation.objects.filter(workspace_id=workspace_id).values_list("stages", flat=True))
    counts = _counts(scopes)
    stages = Stage.objects.filter(workspace_id=workspace_id).order_by("funnel_id", "order", "pk")
    named = [(f"{funnel}/{slug}", pk) for funnel, slug, pk in stages.values_list("funnel__slug", "slug", "pk")]
    return {
        "stages": [{"stage": name, "automations": counts.get(pk, 0)} for name, pk in named],
        "global": sum(not stages for stages in scopes),
    }


def _counts(scopes: Sequence[Sequence[int]]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for stages in scopes:
        for stage in stages:
            counts[stage] = counts.get(stage, 0) + 1
    return counts
