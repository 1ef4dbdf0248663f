"""Writing events into their tables, the row, its content and its place in the routers' queue: many by COPY, and by one statement
where some may be there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from accounts.prepared import prepared
from automations.services.bulk import copy_new
from automations.worker.copying import NULL, arrays, field, json_field, moment

Key = tuple[int, str, str]  # workspace, source, key
#: Up to here one statement costs less than three COPYs, their savepoint and the round trips of all of them.
FEW = 200


class Row(NamedTuple):
    """An event as it is stored. `occurred_at` is None for now; `subjects`, `payload` and `snapshot` are JSON text."""

    workspace_id: int
    name: str
    source: str
    key: str
    body_sha256: str
    customer_id: int | None
    subjects: str
    origin: str
    cause_run: int | None
    depth: int
    occurred_at: datetime | None
    shard: int
    only_automation: int | None
    payload: str
    snapshot: str

    @property
    def once(self) -> Key:
        """What the unique rule is about."""
        return self.workspace_id, self.source, self.key


_EVENT = """workspace_id, name, source, key, body_sha256, customer_id, subjects, origin, cause_run, depth, occurred_at, shard,
    only_automation"""
# Ids follow the order of the events. The rows are written in the order of their keys, as Python orders texts and so by COPY as well:
# two callers with the same events in different orders wait one for the other and never crosswise (DESIGN 5.2, lock order).
_INSERT = f"""
with input as materialized (
    select nextval('automations_event_id_seq') as id, v.*
    from unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::jsonb[], %s::text[],
        %s::bigint[], %s::int[], %s::timestamptz[], %s::int[], %s::bigint[], %s::json[], %s::json[])
    v ({_EVENT}, payload, snapshot)
), recorded as (
    insert into automations_event (id, {_EVENT})
    select id, workspace_id, name, source, key, body_sha256, customer_id, subjects, origin, cause_run, depth,
        coalesce(occurred_at, (select onward_now())), shard, only_automation
    from input order by workspace_id, source collate "C", key collate "C"
    on conflict (workspace_id, source, key) do nothing
    returning id, workspace_id, source, key, recorded_at, shard
), queue as (
    insert into automations_unrouted (shard, event_id, workspace_id) select shard, id, workspace_id from recorded
), content as (
    insert into automations_event_content (event_id, recorded_at, workspace_id, payload, snapshot)
    select id, r.recorded_at, r.workspace_id, i.payload, i.snapshot from recorded r join input i using (id)
)
select workspace_id, source, key, id from recorded
"""
# The same for one, which is what most requests bring: without arrays, order and joins it costs the server half.
_INSERT_ONE = f"""
with recorded as (
    insert into automations_event (id, {_EVENT})
    values (nextval('automations_event_id_seq'), %s::bigint, %s::text, %s::text, %s::text, %s::text, %s::bigint, %s::jsonb, %s::text,
        %s::bigint, %s::int, coalesce(%s::timestamptz, onward_now()), %s::int, %s::bigint)
    on conflict (workspace_id, source, key) do nothing
    returning id, workspace_id, recorded_at, shard
), queue as (
    insert into automations_unrouted (shard, event_id, workspace_id) select shard, id, workspace_id from recorded
), content as (
    insert into automations_event_content (event_id, recorded_at, workspace_id, payload, snapshot)
    select id, recorded_at, workspace_id, %s::json, %s::json from recorded
)
select id from recorded
"""
_IDS = """
select nextval('automations_event_id_seq'), (select onward_now()), statement_timestamp() from generate_series(1, %s)
"""
_COPY_EVENT = f"copy automations_event (id, recorded_at, {_EVENT}) from stdin"
_COPY_QUEUE = "copy automations_unrouted (shard, event_id, workspace_id) from stdin"
_COPY_CONTENT = "copy automations_event_content (event_id, recorded_at, workspace_id, payload, snapshot) from stdin"


def write(rows: Sequence[Row]) -> dict[Key, int]:
    """Write those that are not there yet, in the caller's transaction; answers their ids, which ascend in the order of the rows.
    `rows` are about different keys. Many are copied on the chance that none is there, which costs half as much as asking for
    each."""
    copied = _copy(rows) if len(rows) > FEW else None
    return _insert(rows) if copied is None else copied


def _insert(rows: Sequence[Row]) -> dict[Key, int]:
    """One statement, which waits for whoever is writing one of them and leaves out what is there (TRG-50)."""
    with prepared() as cursor:
        if len(rows) == 1:
            cursor.execute(_INSERT_ONE, [None if value is None else str(value) for value in rows[0]])
            found = cursor.fetchone()
            return {} if found is None else {rows[0].once: found[0]}
        cursor.execute(_INSERT, arrays(rows))
        return {(workspace, source, key): id for workspace, source, key, id in cursor.fetchall()}


def _copy(rows: Sequence[Row]) -> dict[Key, int] | None:
    """None when one is there, or somebody else's comes first: then nothing was written."""
    with connection.cursor() as cursor:
        cursor.execute(_IDS, [len(rows)])
        found = cursor.fetchall()
        ids = [row[0] for row in found]
        now, recorded_at = moment(found[0][1]), moment(found[0][2])
        placed = sorted(zip(ids, rows, strict=True), key=lambda pair: pair[1].once)  # as `_INSERT` says
        events = "".join([_event_line(id, row, now, recorded_at) for id, row in placed])
        queue = "".join([f"{row.shard}\t{id}\t{row.workspace_id}\n" for id, row in zip(ids, rows, strict=True)])
        contents = "".join([_content_line(id, row, recorded_at) for id, row in zip(ids, rows, strict=True)])
        copies = ((_COPY_EVENT, events), (_COPY_QUEUE, queue), (_COPY_CONTENT, contents))
        written = copy_new(cursor, "event_recorded_once", *copies)
    return {row.once: id for id, row in zip(ids, rows, strict=True)} if written else None


def _event_line(id: int, row: Row, now: str, recorded_at: str) -> str:
    occurred_at = now if row.occurred_at is None else moment(row.occurred_at)
    return (
        f"{id}\t{recorded_at}\t{row.workspace_id}\t{field(row.name)}\t{field(row.source)}\t{field(row.key)}\t{row.body_sha256}\t"
        f"{_number(row.customer_id)}\t{json_field(row.subjects)}\t{row.origin}\t{_number(row.cause_run)}\t{row.depth}\t"
        f"{occurred_at}\t{row.shard}\t{_number(row.only_automation)}\n"
    )


def _content_line(id: int, row: Row, recorded_at: str) -> str:
    return f"{id}\t{recorded_at}\t{row.workspace_id}\t{json_field(row.payload)}\t{json_field(row.snapshot)}\n"


def _number(value: int | None) -> str | int:
    return NULL if value is None else value
