"""Advisory locks of a transaction (DESIGN 5.1, "Against races", and 5.2, "Lock order": automations come before all rows).

A router holds whole shards, so that one customer's events are routed in their order by nobody else, and a *shared* lock on each
automation of its batch. Pause, activate and reorder take that lock exclusively: after they have committed, no run appears that a
router began to start before.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection

from accounts.prepared import prepared
from automations.worker.copying import array
from automations.worker.planner import without

# The upper half of the 64-bit key says what is locked, the lower half which one.
_SHARD = 0x0E01 << 40
_AUTOMATION = 0x0E02 << 40
_SHARE = "select pg_advisory_xact_lock_shared(key) from (select unnest(%s::bigint[]) as key) keys"
_TRY_SHARE = "select id from unnest(%s::bigint[]) as id where pg_try_advisory_xact_lock_shared(%s + id)"
_OWN = "select pg_advisory_xact_lock(key) from (select unnest(%s::bigint[]) as key) keys"


def lock_shared(automation_ids: Collection[int]) -> None:
    """Keep their states as they are until the transaction ends; waits for whoever is changing one. In id order."""
    _take(_SHARE, automation_ids)


def try_lock_shared(automation_ids: Collection[int]) -> set[int]:
    """The same without waiting, for claims: those of the automations that nobody is changing at the moment."""
    with connection.cursor() as cursor:
        cursor.execute(_TRY_SHARE, [sorted(set(automation_ids)), _AUTOMATION])
        return {row[0] for row in cursor.fetchall()}


def lock_exclusively(automation_ids: Collection[int]) -> None:
    """Change their states: waits until every router that is starting runs of them has committed. In id order."""
    _take(_OWN, automation_ids)


def _take(statement: str, automation_ids: Collection[int]) -> None:
    if automation_ids:
        with prepared() as cursor:
            cursor.execute(statement, [array([_AUTOMATION + id for id in sorted(set(automation_ids))])])


# A shard is busy when it has a recorded event that nobody has routed. From one to the next by a probe of the queue's index each: a
# plainer question reads all of it, however many events wait. How many make a full batch is judged by the first that are wanted: of
# each so many events are counted as its share would be.
_BUSY = """
with recursive shards (s) as (
    select min(u.shard)::int from automations_unrouted u
    union all
    select (select min(u.shard)::int from automations_unrouted u where u.shard > shards.s)
    from shards where shards.s is not null
), busy as materialized (
    select s from shards where s is not null order by (s - %s + %s) %% %s
), events as (
    select count(*) as found from (select s from busy limit %s) first
    cross join lateral (select from automations_unrouted u where u.shard = first.s limit %s) u
)
select s from busy where pg_try_advisory_xact_lock(%s + s)
limit (select greatest(%s, %s / nullif(found, 0)) from events)
"""
# Without the switches the planner may read a whole shard to count its first events.
_SWITCHES = ("enable_seqscan", "enable_bitmapscan")


def take_shards(count: int, most: int, start: int, events: int = 0) -> list[int]:
    """Up to `most` busy shards of `count` that nobody else holds, for the rest of the transaction; more as long as so many would give
    fewer than `events` events, if all are as full as the first ones. `start` is where to begin, so that many routers do not all try
    the same ones first."""
    share = events // most + 1
    with connection.cursor() as cursor:
        parameters = [start % count, count, count, most, share, _SHARD, most, most * events]
        without(cursor, _SWITCHES, _BUSY, parameters)
        return [row[0] for row in cursor.fetchall()]


def hold_shards(shards: Collection[int]) -> None:
    """Wait for these shards and hold them for the rest of the transaction, in order."""
    with connection.cursor() as cursor:
        cursor.execute(_OWN, [[_SHARD + shard for shard in sorted(set(shards))]])
