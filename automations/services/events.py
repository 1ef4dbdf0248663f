"""Recording events: once, in the caller's transaction, in one statement for one or a thousand (DESIGN 5.1, E1, E2)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from django.db import connection, transaction

from accounts.errors import Refusal
from automations.engine.kinds import Content, EventFacts
from automations.engine.values import invoice_status
from automations.models import SHARDS
from automations.services import event_rows, shapes, snapshots, tracking
from automations.services.event_rows import Key, Row
from automations.services.jsontext import dumps, loads
from automations.services.snapshots import Known
from automations.worker import bell


@dataclass(slots=True)  # not frozen: that would take four times as long to make, and a request makes a thousand
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


class Recorded(NamedTuple):
    """The event's id, and whether it was there before."""

    id: int
    status: Literal["accepted", "duplicate"]


EARLIER = """
select e.workspace_id, e.source, e.key, e.id, e.body_sha256
from unnest(%s::bigint[], %s::text[], %s::text[]) v (workspace_id, source, key)
join automations_event e on e.workspace_id = v.workspace_id and e.source = v.source and e.key = v.key
"""
# An event's id is given before its transaction ends: one that was recorded, and routed, after another may have a smaller id, by so many
# at most. It takes a caller whose commit hangs while so many others come through; connections that idle in a transaction are ended.
IDS_UNDER_WAY = 50_000
DEPTHS = """
select r.id, e.depth + 1 from automations_run r join automations_event e on e.id = r.event_id where r.id = any(%s)
"""


def shard_of(workspace_id: int, customer_id: int | None) -> int:
    """Events of one customer are routed in their order; the hash never changes, since it is stored."""
    return zlib.crc32(f"{workspace_id}:{customer_id or 0}".encode()) % SHARDS


def short(key: str) -> str:
    """A caller's key with room for what is put beside it: a long one by its hash."""
    return key if len(key) <= 200 else hashlib.sha256(key.encode()).hexdigest()


def record_events(events: Sequence[NewEvent], known: Known | None = None) -> list[Recorded]:
    """Record them in their order, in the caller's transaction. Answers in the order of the events; an event whose source and
    key are there already is a `duplicate` and starts nothing again (TRG-50). Raises Refusal `event_conflict` when it is there
    with another body. A fixed number of statements; what the caller has read for the snapshots is `known`. The workers hear of it
    when the transaction commits."""
    if not events:
        return []
    bodies = [_body(event) for event in events]
    first: dict[Key, tuple[NewEvent, _Body]] = {}
    for event, body in zip(events, bodies, strict=True):
        first.setdefault(event.once, (event, body))
    alone = _is_alone(events, first)
    with nullcontext() if alone else transaction.atomic(savepoint=False):  # a refusal rolls back the caller's as well
        new = event_rows.write(_rows(list(first.values()), known))
        old = _earlier([once for once in first if once not in new]) if len(new) < len(first) else {}
        if len(new) < len(events):
            hashes = {once: old[once][1] if once in old else body.sha256 for once, (_, body) in first.items()}
            _refuse_other_bodies(events, bodies, hashes)
        if not alone:
            fresh = [first[once][0] for once in new]
            tracking.note_facts(fresh)
            shapes.learn(fresh)
        bell.ring()
    seen: set[Key] = set()
    return [_answer(event.once, new, old, seen) for event in events]


def _is_alone(events: Sequence[NewEvent], first: Collection[Key]) -> bool:
    """Whether the one statement that writes an event is all there is to write: it needs no transaction around it."""
    return len(first) == 1 and not connection.in_atomic_block and not tracking.tell(events) and shapes.are_known(events)


def _answer(once: Key, new: Mapping[Key, int], old: Mapping[Key, tuple[int, str]], seen: set[Key]) -> Recorded:
    if once in new:
        status: Literal["accepted", "duplicate"] = "duplicate" if once in seen else "accepted"
        seen.add(once)
        return Recorded(new[once], status)
    return Recorded(old[once][0], "duplicate")


class _Body(NamedTuple):
    """What the sender says, as JSON texts with sorted keys, and its hash. The snapshot is ours and no part of it: it may differ
    between two deliveries of one event."""

    subjects: str
    payload: str
    sha256: str


def _body(event: NewEvent) -> _Body:
    subjects, payload = dumps(event.subjects, sort_keys=True), dumps(event.payload, sort_keys=True)
    occurred = "null" if event.occurred_at is None else f'"{event.occurred_at.isoformat()}"'
    only = "null" if event.only_automation is None else event.only_automation
    text = f"[{_quoted(event.name)},{subjects},{payload},{occurred},{only}]"
    return _Body(subjects, payload, hashlib.sha256(text.encode()).hexdigest())


_quoted = lru_cache(maxsize=1024)(dumps)  # of names there are few


def _rows(events: Sequence[tuple[NewEvent, _Body]], known: Known | None) -> list[Row]:
    depths = _depths({event.cause_run for event, _ in events if event.cause_run is not None})
    texts = snapshots.texts([event for event, _ in events], known)
    return [_row(event, body, depths, snapshot) for (event, body), snapshot in zip(events, texts, strict=True)]


def _row(event: NewEvent, body: _Body, depths: Mapping[int, int], snapshot: str) -> Row:
    customer = event.subjects.get("customer")
    return Row(
        event.workspace_id,
        event.name,
        event.source,
        event.key,
        body.sha256,
        customer,
        body.subjects,
        event.origin,
        event.cause_run,
        depths.get(event.cause_run or 0, 0),
        event.occurred_at,
        shard_of(event.workspace_id, customer),
        event.only_automation,
        body.payload,
        snapshot,
    )


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


def _refuse_other_bodies(events: Sequence[NewEvent], bodies: Sequence[_Body], hashes: Mapping[Key, str]) -> None:
    for index, (event, body) in enumerate(zip(events, bodies, strict=True)):
        if body.sha256 != hashes[event.once]:
            message = (
                f"An event “{event.key}” with another body is recorded already; send this one under an id of its own."
            )
            raise Refusal("event_conflict", message, {"index": index, "id": event.key})


_CONTENT = """c.payload::text, c.snapshot::text from automations_event e
left join automations_event_content c on c.event_id = e.id and c.recorded_at = e.recorded_at where e.id = any(%s)"""
LOAD = f"select e.id, e.name, e.subjects, e.occurred_at, e.origin, e.cause_run, e.depth, {_CONTENT}"
TRIGGERS = f"select e.id, e.name, {_CONTENT}"
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
    rows, kept = _read(LOAD, ids)
    return {row[0]: facts_of(row, kept.get(row[0])) for row in rows}


def load_triggers(ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """What the root `trigger` reads of these events, and nothing else of them."""
    rows, kept = _read(TRIGGERS, ids)
    return {row[0]: _trigger(row[1], *_content(row, kept.get(row[0]))) for row in rows}


def _read(statement: str, ids: Collection[int]) -> tuple[list[Any], dict[int, Any]]:
    """The rows, and the content of those whose partition is gone."""
    if not ids:
        return [], {}
    with connection.cursor() as cursor:
        cursor.execute(statement, [sorted(ids)])
        rows = cursor.fetchall()
        gone = sorted(row[0] for row in rows if row[-2] is None)
        if not gone:
            return rows, {}
        cursor.execute(KEPT, [gone])
        return rows, {id: loads(text) for id, text in cursor.fetchall()}


def _content(row: Sequence[Any], kept: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Payload and snapshot, which end the row as texts."""
    if row[-2] is None:
        kept = kept or {}
        return kept.get("payload", {}), kept.get("snapshot", {})
    return loads(row[-2]), loads(row[-1])


def _trigger(name: str, payload: Mapping[str, Any], snapshot: Mapping[str, Any]) -> dict[str, Any]:
    return _dressed(name, {**snapshot, **payload})


def facts_of(row: Sequence[Any], kept: Mapping[str, Any] | None = None) -> EventFacts:
    """Facts of one row (id, name, subjects, occurred_at, origin, cause_run, depth, payload, snapshot)."""
    id, name, subjects, occurred_at, origin, cause_run, depth, *_ = row

    def work_out() -> tuple[dict[str, Any], dict[str, Any]]:
        payload, snapshot = _content(row, kept)
        return payload, _trigger(name, payload, snapshot)

    return EventFacts(
        id=id,
        name=name,
        subjects=loads(subjects),
        content=Content(work_out),
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
