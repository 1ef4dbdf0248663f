"""Automations and versions as the API shows them (CONTRACTS 8). A page of any length takes a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Count
from django.db.models.fields.json import KeyTransform

from accounts.api.base import stamp
from automations.engine.problems import Problem
from automations.engine.registry import registry
from automations.engine.validation import validate
from automations.models import Automation, Run, Version, VersionState
from automations.services.drafts import Draft
from automations.services.known import known_for
from automations.services.limits import stage_names
from automations.services.texts import definition_of


def problems_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Problems in the shape of CONTRACTS 4."""
    return [problem.as_json() for problem in problems]


def automation_json(automation: Automation) -> dict[str, Any]:
    """One automation."""
    return automations_json([automation])[0]


def automations_json(automations: Sequence[Automation]) -> list[dict[str, Any]]:
    """A page of automations of one workspace."""
    if not automations:
        return []
    workspace_id = automations[0].workspace_id
    ids = [automation.pk for automation in automations]
    active, drafts = _active(ids), _drafts(workspace_id, ids)
    unfinished = _unfinished(workspace_id, ids)
    stages = stage_names(workspace_id, sorted({stage for item in automations for stage in item.stages}))
    return [
        {
            "id": automation.public_id,
            "key": automation.key or None,
            "name": automation.name,
            "description": automation.description,
            "state": automation.state,
            "trigger": (active.get(automation.pk) or drafts.get(automation.pk) or {}).get("trigger"),
            "dispatch": "exclusive" if automation.exclusive else "parallel",
            "priority": automation.priority,
            "scope": [stages[stage] for stage in automation.stages if stage in stages] or "global",
            "activeVersion": (active.get(automation.pk) or {}).get("number"),
            "draft": _draft_json(automation, drafts.get(automation.pk)),
            "runs": {"unfinished": unfinished.get(automation.pk, 0)},
            "pausedAt": stamp(automation.paused_at),
            "nextFireAt": stamp(automation.next_fire_at) if automation.state == "ACTIVE" else None,
            "createdAt": stamp(automation.created_at),
            "updatedAt": stamp(automation.updated_at),
            "links": {"canvas": f"/automations/{automation.public_id}/edit"},
        }
        for automation in automations
    ]


def _active(ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Number and trigger of active versions; their graphs are not read."""
    rows = Version.objects.filter(automation_id__in=ids, state=VersionState.ACTIVE)
    rows = rows.annotate(trigger=KeyTransform("trigger", "definition"))
    return {row["automation_id"]: dict(row) for row in rows.values("automation_id", "number", "trigger")}


def _drafts(workspace_id: int, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Number, trigger and the count of problems of drafts."""
    known = known_for(workspace_id)
    found = {}
    for version in Version.objects.filter(automation_id__in=ids, state=VersionState.DRAFT).defer("source"):
        problems = validate(definition_of(version), registry, known)
        trigger = version.definition.get("trigger")
        found[version.automation_id] = {"number": version.number, "trigger": trigger, "problems": len(problems)}
    return found


def _draft_json(automation: Automation, draft: dict[str, Any] | None) -> dict[str, Any] | None:
    if draft is None:
        return None
    return {"number": draft["number"], "revision": automation.draft_revision, "problems": draft["problems"]}


def _unfinished(workspace_id: int, ids: Sequence[int]) -> dict[int, int]:
    """By the index over unfinished runs, which leaves out however many ended ones there are."""
    runs = Run.objects.filter(workspace_id=workspace_id, automation_id__in=ids, ended_at__isnull=True)
    rows = runs.values("automation_id").annotate(runs=Count("pk")).order_by()
    return {row["automation_id"]: row["runs"] for row in rows}


def draft_json(draft: Draft) -> dict[str, Any]:
    """`GET …/draft`."""
    return {
        "definition": graph_json(draft.version.definition),
        "number": draft.version.number,
        "revision": draft.revision,
        "problems": problems_json(draft.problems),
    }


def version_json(version: Version) -> dict[str, Any]:
    """One version with its graph."""
    return {**versions_json([version])[0], "definition": graph_json(version.definition)}


#: Parts of a graph in the order of CONTRACTS 4: the database keeps none.
_ORDER = ("version", "key", "name", "description", "trigger", "filter", "exits", "goal", "settings", "nodes", "edges")
_NODE = ("id", "type", "name", "note", "config", "errorHandling", "position")
_EDGE = ("from", "port", "to")


def graph_json(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored graph with its parts in the order in which people read them."""
    graph = _ordered(stored, _ORDER)
    graph["nodes"] = [_ordered(node, _NODE) for node in graph.get("nodes", ())]
    graph["edges"] = [_ordered(edge, _EDGE) for edge in graph.get("edges", ())]
    return graph


def _ordered(data: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: data[name] for name in (*names, *(key for key in data if key not in names)) if name in data}


def versions_json(versions: Sequence[Version]) -> list[dict[str, Any]]:
    """Rows of the list of versions, without their graphs (VER-05)."""
    return [
        {
            "number": version.number,
            "state": version.state,
            "author": version.author.email if version.author else None,
            "activatedAt": stamp(version.activated_at),
            "createdAt": stamp(version.created_at),
            "updatedAt": stamp(version.updated_at),
        }
        for version in versions
    ]
