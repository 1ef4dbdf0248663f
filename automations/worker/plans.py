"""Compiled plans by version. A version that was activated never changes, so a process compiles each one once.

One that cannot be compiled here, as an older process meets it while newer ones come up, is absent; it is tried again after a minute.
Whoever finds it absent leaves what is due to a process that can, or to the next try.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Collection

from automations.engine.plan import Plan, compile_plan
from automations.engine.reading import read_data
from automations.engine.registry import registry
from automations.models import Version

log = logging.getLogger(__name__)
RETRY = 60.0  # seconds before a version that could not be compiled is tried again
_KEPT = 1024
_plans: OrderedDict[int, Plan] = OrderedDict()
_broken: dict[int, float] = {}  # by version, when to try again (monotonic)


def plans_for(version_ids: Collection[int]) -> dict[int, Plan]:
    """Plans of these versions, in at most one query; a version that cannot be compiled is absent."""
    missing = {id for id in version_ids if id not in _plans}.difference(broken_versions())
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


def broken_versions() -> list[int]:
    """The versions that this process could not compile within the last minute."""
    now = time.monotonic()
    for id in [id for id, again in list(_broken.items()) if again <= now]:
        _broken.pop(id, None)
    return list(_broken)


def _compile(id: int, definition: dict[str, object]) -> None:
    try:
        _plans[id] = read_plan(definition)
    except Exception:  # whatever an older text does to newer code: no other version may suffer for it
        log.exception("version %s cannot be compiled and is tried again in %g seconds", id, RETRY)
        _broken[id] = time.monotonic() + RETRY
        return
    while len(_plans) > _KEPT:
        _plans.popitem(last=False)


def read_plan(definition: dict[str, object]) -> Plan:
    """The plan of a stored definition. Raises `DefinitionError` or `PlanError`, and whatever a defect raises."""
    return compile_plan(read_data(definition, registry).definition, registry)


def forget_plans() -> None:
    """Empty the cache, as a new process has it (tests that rebuild the database reuse ids)."""
    _plans.clear()
    _broken.clear()
