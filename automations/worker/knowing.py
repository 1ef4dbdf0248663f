"""What is read before anything is decided about a batch: a fixed few queries, whatever its size (DESIGN 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import connection

from accounts.prepared import prepared
from accounts.services.merged import survivors_of
from automations.worker.batch import Listening, Occurrence
from automations.worker.copying import array, arrays
from automations.worker.gates import Known, entry_key
from automations.worker.hearing import Audience
from automations.worker.planner import without
from automations.worker.reading import Reader


def know(occurrences: Sequence[Occurrence], listening: Sequence[Listening], now: datetime) -> Known:
    """Read what the gates ask, a fixed few queries for the whole batch. An event that was recorded for a record which has been
    merged since is made one of the survivor."""
    erased = _follow_merged(occurrences)
    workspaces = {item.workspace_id for item in occurrences}
    zones, limits = _workspaces(workspaces)
    reader = Reader(now, zones)
    audience = Audience(listening)
    pairs = [(item, occurrence) for occurrence in occurrences for item in audience.of(occurrence)]
    for item, occurrence in pairs:
        reader.expect(occurrence, item.plan.where)
        reader.expect(occurrence, item.plan.filter)
        if item.plan.predicates:
            reader.expect_live(occurrence, (found.predicate for found in item.plan.predicates if found.predicate))
    reader.load()
    causes = {occurrence.facts.cause_run for _, occurrence in pairs if occurrence.facts.cause_run is not None}
    return Known(reader, audience, _causes(causes), limits, erased, *_entries(pairs))


# One by one by the key: for the planner, reading all customers looked cheaper than a hundred of ten thousand.
_GONE = """
select c.* from unnest((select %s::bigint[])) v (key) cross join lateral (
    select id, merged_into_id is not null as merged, erased_at is not null as erased from accounts_customer where id = v.key limit 1
) c where c.merged or c.erased
"""


def _follow_merged(occurrences: Sequence[Occurrence]) -> frozenset[int]:
    """Make the events of merged records those of the survivors, through however many merges; answers the customers that were
    erased. One query, and two more where a record was merged."""
    gone = _gone({item.customer_id for item in occurrences if item.customer_id is not None})
    into = survivors_of([id for id, merged, _ in gone if merged])
    if into:
        for item in occurrences:
            if item.customer_id in into:
                item.move_to(into[item.customer_id])
        gone += _gone(set(into.values()))
    return frozenset(id for id, merged, erased in gone if erased and not merged)


def _gone(customers: set[int]) -> list[tuple[int, bool, bool]]:
    """Those that were merged, and those that were erased."""
    if not customers:
        return []
    with prepared() as cursor:
        cursor.execute(_GONE, [array(sorted(customers))])
        rows: list[tuple[int, bool, bool]] = cursor.fetchall()
    return rows


_WORKSPACES = """
select w.id, w.time_zone, p.stage_automations, p.global_automations from accounts_workspace w join accounts_plan p on p.slug = w.plan
where w.id = any((select %s::bigint[])::bigint[])
"""


def _workspaces(ids: set[int]) -> tuple[dict[int, ZoneInfo], dict[int, tuple[int | None, int | None]]]:
    with prepared() as cursor:
        cursor.execute(_WORKSPACES, [array(sorted(ids))])
        rows = cursor.fetchall()
    return {row[0]: ZoneInfo(row[1] or "UTC") for row in rows}, {row[0]: (row[2], row[3]) for row in rows}


def _causes(runs: set[int]) -> dict[int, int]:
    if not runs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute("select id, automation_id from automations_run where id = any(%s)", [sorted(runs)])
        return dict(cursor.fetchall())


# A key kept by `once` stands for ever; for `one_at_a_time` it counts as long as its run has not ended.
_TAKEN = """
select e.automation_id, e.key, e.run_id, v.once and e.once or r.ended_at is null
from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::boolean[]) v (workspace_id, automation_id, key, once)
join automations_entry e on e.workspace_id = v.workspace_id and e.automation_id = v.automation_id and e.key = v.key
left join automations_run r on r.id = e.run_id
"""
# Without the switches the planner may read all keys that were ever kept.
KEY_SWITCHES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
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
        without(cursor, KEY_SWITCHES, _TAKEN, arrays(sorted(wanted)))
        rows = cursor.fetchall()
    taken = {(automation, key): run for automation, key, run, counts in rows if counts}
    return taken, {(automation, key): run for automation, key, run, counts in rows if not counts}
