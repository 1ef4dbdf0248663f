"""Recording events: once, in the caller's transaction, in one statement for one or a thousand (DESIGN 5.1, E1, E2)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.db import connection, transaction

from accounts.errors import Refusal
from automations.engine.kinds import EventFacts
from automations.engine.values import invoice_status
from automations.models import SHARDS
from automations.services import shapes, snapshots, tracking
from automations.services.jsontext import dumps, loads
from automations.worker import bell
from automations.worker.copying import arrays

Key = tuple[int, str, str]  # workspace, source, key


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened. `source` and `key` name the occurrence for ever (CONTRACTS 7); `subjects` maps object names to
    ids. Without a `snapshot` it is made from the objects as they are now; without `occurred_at` it happens now. `cause_run`
    is the run that brought it about; `only_automation` addresses one automation instead of all that listen."""

    workspace_id: int
    name: str
    source: str
    key: str
    subjects: Mapping[str, int]
    payload: Mapping[str, Any]
    snapshot: Mapping[str, Any] | None = None
    occurred_at: datetime | None = None
    origin: Literal["live", "api", "schedule", "backfill"] = "live"
    cause_run: int | None = None
    only_automation: int | None = None

    @property
    def once(self) -> Key:
        """What the unique rule is about."""
        return self.workspace_id, self.source, self.key


@dataclass(frozen=True, slots=True)
class Recorded:
    """The event's id, and whether it was there before."""

    id: int
    status: Literal["accepted", "duplicate"]


INSERT = """
with input as materialized (
    select * from unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::jsonb[], %s::text[],
        %s::bigint[], %s::int[], %s::timestamptz[], %s::int[], %s::bigint[], %s::jsonb[], %s::jsonb[])
    with ordinality v (workspace_id, name, source, key, body_sha256, customer_id, subjects, origin, cause_run, depth,
        occurred_at, shard, only_automation, payload, snapshot, place)
), recorded as (
    insert into automations_event (workspace_id, name, source, key, body_sha256, customer_id, subjects, origin, cause_run, depth,
        occurred_at, shard, only_automation)
    select workspace_id, name, source, key, body_sha256, customer_id, subjects, origin, cause_run, depth,
        coalesce(occurred_at, (select onward_now())), shard, only_automation
    from input order by place
    on conflict (workspace_id, source, key) do nothing
    returning id, workspace_id, source, key, recorded_at
), content as (
    insert into automations_event_content (event_id, recorded_at, workspace_id, payload, snapshot)
    select r.id, r.recorded_at, r.workspace_id, i.payload, i.snapshot
    from recorded r join input i using (workspace_id, source, key)
)
select workspace_id, source, key, id from recorded
"""
EARLIER = """
select e.workspace_id, e.source, e.key, e.id, e.body_sha256
from unnest(%s::bigint[], %s::text[], %s::text[]) v (workspace_id, source, key)
join automations_event e on e.workspace_id = v.workspace_id and e.source = v.source and e.key = v.key
"""
DEPTHS = """
select r.id, e.depth + 1 from automations_run r join automations_event e on e.id = r.event_id where r.id = any(%s)
"""


def shard_of(workspace_id: int, customer_id: int | None) -> int:
    """Events of one customer are routed in their order; the hash never changes, since it is stored."""
    return zlib.crc32(f"{workspace_id}:{customer_id or 0}".encode()) % SHARDS


def short(key: str) -> str:
    """A caller's key with room for what is put beside it: a long one by its hash."""
    return key if len(key) <= 200 else hashlib.sha256(key.encode()).hexdigest()


def record_events(events: Sequence[NewEvent]) -> list[Recorded]:
    """Record them in their order, in the caller's transaction. Answers in the order of the events; an event whose source and
    key are there already is a `duplicate` and starts nothing again (TRG-50). Raises Refusal `event_conflict` when it is there
    with another body. A fixed number of statements. The workers hear of it when the transaction commits."""
    if not events:
        return []
    hashes = [body_hash(event) for event in events]
    first: dict[Key, tuple[NewEvent, str]] = {}
    for event, sha in zip(events, hashes, strict=True):
        first.setdefault(event.once, (event, sha))
    with transaction.atomic(
        savepoint=False
    ):  # two round trips less; a refusal rolls the caller's transaction back as well
        new = _insert(list(first.values()))
        old = _earlier([once for once in first if once not in new])
        _refuse_other_bodies(events, hashes, {once: old.get(once, (0, sha))[1] for once, (_, sha) in first.items()})
        fresh = [first[once][0] for once in new]
        tracking.note_facts(fresh)
        shapes.learn(fresh)
        bell.ring()
    seen: set[Key] = set()
    return [_answer(event.once, new, old, seen) for event in events]


def _answer(once: Key, new: Mapping[Key, int], old: Mapping[Key, tuple[int, str]], seen: set[Key]) -> Recorded:
    if once in new:
        status: Literal["accepted", "duplicate"] = "duplicate" if once in seen else "accepted"
        seen.add(once)
        return Recorded(new[once], status)
    return Recorded(old[once][0], "duplicate")


def body_hash(event: NewEvent) -> str:
    """Of all that the sender says; the snapshot is ours and may differ between two deliveries of one event."""
    occurred = event.occurred_at.isoformat() if event.occurred_at else None
    body = [event.name, dict(event.subjects), dict(event.payload), occurred, event.only_automation]
    return hashlib.sha256(dumps(body, sort_keys=True).encode()).hexdigest()


def _insert(hashed: Sequence[tuple[NewEvent, str]]) -> dict[Key, int]:
    events = [event for event, _ in hashed]
    depths = _depths({event.cause_run for event in events if event.cause_run is not None})
    contents = snapshots.complete(events)
    rows = [
        (
            event.workspace_id,
            event.name,
            event.source,
            event.key,
            sha,
            event.subjects.get("customer"),
            dumps(dict(event.subjects)),
            event.origin,
            event.cause_run,
            depths.get(event.cause_run or 0, 0),
            event.occurred_at,
            shard_of(event.workspace_id, event.subjects.get("customer")),
            event.only_automation,
            dumps(dict(event.payload)),
            dumps(content),
        )
        for (event, sha), content in zip(hashed, contents, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.execute(INSERT, arrays(rows))
        return {(workspace, source, key): id for workspace, source, key, id in cursor.fetchall()}


def _depths(causes: set[int]) -> dict[int, int]:
    """How long the chain of causes becomes: one more than that of the run's own event."""
    if not causes:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(DEPTHS, [sorted(causes)])
        return dict(cursor.fetchall())


def _earlier(keys: Sequence[Key]) -> dict[Key, tuple[int, str]]:
    """Id and body hash of events that were there before: a second statement, so that it sees what the first waited for."""
    if not keys:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(EARLIER, [list(column) for column in zip(*keys, strict=True)])
        return {(workspace, source, key): (id, sha) for workspace, source, key, id, sha in cursor.fetchall()}


def _refuse_other_bodies(events: Sequence[NewEvent], hashes: Sequence[str], known: Mapping[Key, str]) -> None:
    for index, (event, sha) in enumerate(zip(events, hashes, strict=True)):
        if sha != known[event.once]:
            message = (
                f"An event “{event.key}” with another body is recorded already; send this one under an id of its own."
            )
            raise Refusal("event_conflict", message, {"index": index, "id": event.key})


LOAD = """
select e.id, e.name, e.subjects, e.occurred_at, e.origin, e.cause_run, e.depth, c.payload, c.snapshot
from automations_event e
left join automations_event_content c on c.event_id = e.id and c.recorded_at = e.recorded_at
where e.id = any(%s)
"""
KEPT = """
select r.event_id, i.snapshot
from automations_event e
join automations_automation a on a.workspace_id = e.workspace_id
join automations_run r on r.workspace_id = e.workspace_id and r.automation_id = a.id and r.event_id = e.id
join automations_runinput i on i.run_id = r.id
where e.id = any(%s) and i.snapshot is not null
"""


def load_events(ids: Collection[int]) -> dict[int, EventFacts]:
    """The events of these ids, in one query; where the content's partition is gone, from the inputs of their unfinished runs
    (`run_input.snapshot`, as `{"payload", "snapshot"}`). Unknown ids are absent."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(LOAD, [sorted(ids)])
        rows = cursor.fetchall()
        gone = sorted(row[0] for row in rows if row[7] is None)
        kept: dict[int, Any] = {}
        if gone:
            cursor.execute(KEPT, [gone])
            kept = {id: loads(text) for id, text in cursor.fetchall()}
    return {row[0]: facts_of(row, kept.get(row[0])) for row in rows}


def facts_of(row: Sequence[Any], kept: Mapping[str, Any] | None = None) -> EventFacts:
    """Facts of one row (id, name, subjects, occurred_at, origin, cause_run, depth, payload, snapshot)."""
    id, name, subjects, occurred_at, origin, cause_run, depth, payload_text, snapshot_text = row
    payload = loads(payload_text) if payload_text is not None else (kept or {}).get("payload", {})
    snapshot = loads(snapshot_text) if snapshot_text is not None else (kept or {}).get("snapshot", {})
    return EventFacts(
        id=id,
        name=name,
        subjects=loads(subjects),
        trigger=_dressed(name, {**snapshot, **payload}),
        payload=payload,
        occurred_at=occurred_at,
        origin=origin,
        cause_run=cause_run,
        depth=depth,
        changed_by_run=cause_run,
    )


def _dressed(name: str, trigger: dict[str, Any]) -> dict[str, Any]:
    """Give the invoice's status its other names again, which JSON does not keep (C-14)."""
    invoice = trigger.get("invoice")
    if isinstance(invoice, dict) and isinstance(invoice.get("status"), str):
        status = invoice_status(invoice["status"], bool(invoice.get("isOverdue")))
        trigger["invoice"] = {**invoice, "status": status}
    if name.startswith("invoice.") and isinstance(trigger.get("status"), str):
        trigger["status"] = invoice_status(trigger["status"], bool(trigger.get("isOverdue")))
    return trigger
