"""What is read before anything is decided about a batch: a fixed few queries, whatever its size (DESIGN 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import connection

from accounts.services.merged import survivors_of
from automations.worker.batch import Listening, Occurrence
from automations.worker.gates import Known, entry_key
from automations.worker.hearing import hears
from automations.worker.reading import Reader


def follow_merged(occurrences: Sequence[Occurrence]) -> None:
    """An event that was recorded for a record which has been merged since is about the survivor, through however many merges. One
    query."""
    into = survivors_of({item.customer_id for item in occurrences if item.customer_id is not None})
    for item in occurrences:
        if item.customer_id in into:
            item.facts = replace(item.facts, subjects={**item.facts.subjects, "customer": into[item.customer_id]})


def know(occurrences: Sequence[Occurrence], listening: Sequence[Listening], now: datetime) -> Known:
    """Read what the gates ask, a fixed few queries for the whole batch."""
    workspaces = {item.workspace_id for item in occurrences}
    zones, limits = _workspaces(workspaces)
    reader = Reader(now, zones)
    pairs = [
        (item, occurrence)
        for occurrence in occurrences
        for item in listening
        if item.workspace_id == occurrence.workspace_id and hears(item, occurrence)
    ]
    for item, occurrence in pairs:
        reader.expect(occurrence, (*item.plan.where, *item.plan.filter))
        reader.expect_live(occurrence, (found.predicate for found in item.plan.predicates if found.predicate))
    reader.load()
    customers = {occurrence.customer_id for _, occurrence in pairs if occurrence.customer_id is not None}
    causes = {occurrence.facts.cause_run for _, occurrence in pairs if occurrence.facts.cause_run is not None}
    return Known(reader, _causes(causes), limits, _erased(customers), *_entries(pairs))


def _workspaces(ids: set[int]) -> tuple[dict[int, ZoneInfo], dict[int, tuple[int | None, int | None]]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select w.id, w.time_zone, p.stage_automations, p.global_automations from accounts_workspace w"
            " join accounts_plan p on p.slug = w.plan where w.id = any(%s)",
            [sorted(ids)],
        )
        rows = cursor.fetchall()
    return {row[0]: ZoneInfo(row[1] or "UTC") for row in rows}, {row[0]: (row[2], row[3]) for row in rows}


def _causes(runs: set[int]) -> dict[int, int]:
    if not runs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute("select id, automation_id from automations_run where id = any(%s)", [sorted(runs)])
        return dict(cursor.fetchall())


def _erased(customers: set[int]) -> frozenset[int]:
    if not customers:
        return frozenset()
    with connection.cursor() as cursor:
        cursor.execute(
            "select id from accounts_customer where id = any(%s) and erased_at is not null", [sorted(customers)]
        )
        return frozenset(row[0] for row in cursor.fetchall())


# A key kept by `once` stands for ever; for `one_at_a_time` it counts as long as its run has not ended.
_TAKEN = """
select e.automation_id, e.key, e.run_id, v.once and e.once or r.ended_at is null
from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::boolean[]) v (workspace_id, automation_id, key, once)
join automations_entry e on e.workspace_id = v.workspace_id and e.automation_id = v.automation_id and e.key = v.key
left join automations_run r on r.id = e.run_id
"""
Keys = dict[tuple[int, str], int]


def _entries(pairs: Sequence[tuple[Listening, Occurrence]]) -> tuple[Keys, Keys]:
    """Re-entry keys that are taken, and those that ended runs left behind."""
    wanted = {
        (item.workspace_id, item.id, key, item.plan.settings.reentry == "once")
        for item, occurrence in pairs
        if (key := entry_key(item.plan, occurrence)) is not None
    }
    if not wanted:
        return {}, {}
    with connection.cursor() as cursor:
        cursor.execute(_TAKEN, [list(column) for column in zip(*sorted(wanted), strict=True)])
        rows = cursor.fetchall()
    taken = {(automation, key): run for automation, key, run, counts in rows if counts}
    return taken, {(automation, key): run for automation, key, run, counts in rows if not counts}
