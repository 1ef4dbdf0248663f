"""Judging the records of a query in bulk (STP-24, `forEach`, enrolment)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from automations.engine.expressions import Environment, Expression, ExpressionError, compile_expression
from automations.engine.plan import Plan
from automations.engine.registry import registry
from automations.engine.scope import RunData
from automations.worker.context import Context

log = logging.getLogger(__name__)


def matching(
    page: Sequence[Mapping[str, int]], where: Any, plan: Plan, now: datetime, zone: str
) -> list[Mapping[str, int]]:
    """The records of a page for which `where` holds, on the record and its customer, read in bulk."""
    if not where:
        return list(page)
    expressions = [compile_expression(text, plan.names) for text in ([where] if isinstance(where, str) else where)]
    context = Context(now)
    roots = frozenset().union(*(expression.roots for expression in expressions)) & registry.roots.keys()
    ids = [_ids(subjects) for subjects in page]
    context.load({root: {some[root] for some in ids if root in some} for root in roots})
    found = []
    for subjects, some in zip(page, ids, strict=True):
        env = Environment(RunData(context.records, some, {"now": now}), now, zone or "UTC")
        if _holds(expressions, env, subjects):
            found.append(subjects)
    return found


def _holds(expressions: Sequence[Expression], env: Environment, subjects: Mapping[str, int]) -> bool:
    """A condition that cannot be worked out for a record skips this record, as a filter skips its event."""
    try:
        return all(expression.test(env) for expression in expressions)
    except ExpressionError as error:
        log.warning("a record of a query is passed over, %s: %s", dict(subjects), error)
        return False


def _ids(subjects: Mapping[str, int]) -> dict[str, int]:
    return {name: subjects[root.subject] for name, root in registry.roots.items() if root.subject in subjects}
