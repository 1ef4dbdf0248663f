"""Evaluation rows: why some listening version did not simply start on an event (PRI-13; DESIGN 5.1, at most one per event)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from automations.services.jsontext import dumps
from automations.worker.batch import Evaluated, Occurrence
from automations.worker.copying import arrays

_WRITE = """
insert into automations_evaluation (event_id, recorded_at, workspace_id, decisions, values)
select * from unnest(%s::bigint[], %s::timestamptz[], %s::bigint[], %s::jsonb[], %s::jsonb[])
on conflict do nothing
"""


def failed(occurrence: Occurrence, error: Exception) -> Evaluated:
    """The evaluation of an event that could not be routed."""
    return Evaluated(occurrence, error=f"{type(error).__name__}: {error}"[:500])


def write(evaluated: Sequence[Evaluated]) -> None:
    """Write them in one statement. They lie in the partition of their event, beside its content."""
    if not evaluated:
        return
    rows = [
        (
            item.occurrence.facts.id,
            item.occurrence.recorded_at,
            item.occurrence.workspace_id,
            dumps(_decisions(item)),
            dumps(item.values),
        )
        for item in evaluated
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, arrays(rows))


def _decisions(item: Evaluated) -> list[Mapping[str, Any]]:
    """The decisions; the default settings and an error stand behind them as entries of their own."""
    rows: list[Mapping[str, Any]] = [decision.as_json() for decision in item.decisions]
    if item.default:
        rows.append({"default": item.default})
    if item.error:
        rows.append({"error": item.error})
    return rows
