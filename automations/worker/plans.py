"""Compiled plans by version. A version that was activated never changes, so a process compiles each one once."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection

from automations.engine.plan import Plan, PlanError, compile_plan
from automations.engine.problems import DefinitionError
from automations.engine.reading import read_data
from automations.engine.registry import registry
from automations.models import Version

log = logging.getLogger(__name__)
_KEPT = 1024
_plans: OrderedDict[int, Plan] = OrderedDict()


def plans_for(version_ids: Collection[int]) -> dict[int, Plan]:
    """Plans of these versions, in at most one query; a version that cannot be compiled is absent."""
    missing = [id for id in set(version_ids) if id not in _plans]
    if missing:
        rows = Version.objects.filter(pk__in=missing).exclude(state="draft")
        for id, definition in rows.values_list("pk", "definition"):
            _compile(id, definition)
    found = {}
    for id in version_ids:
        if id in _plans:
            _plans.move_to_end(id)
            found[id] = _plans[id]
    return found


def _compile(id: int, definition: dict[str, object]) -> None:
    try:
        _plans[id] = compile_plan(read_data(definition, registry).definition, registry)
    except (PlanError, DefinitionError):
        log.exception("version %s cannot be compiled", id)
        return
    while len(_plans) > _KEPT:
        _plans.popitem(last=False)


def forget_plans() -> None:
    """Empty the cache (tests that rebuild the database reuse ids)."""
    _plans.clear()
