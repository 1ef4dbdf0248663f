"""Advisory locks of a transaction (DESIGN 5.1, "Against races", and 5.2, "Lock order": automations come before all rows).

A router holds whole shards, so that one customer's events are routed in their order by nobody else, and a *shared* lock on each
automation of its batch. Pause, activate and reorder take that lock exclusively: after they have committed, no run appears that a
router began to start before.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection

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
        with connection.cursor() as cursor:
            cursor.execute(statement, [[_AUTOMATION + id for id in sorted(set(automation_ids))]])


# A shard is busy when it has a recorded event that nobody has routed. From one to the next by a probe of the queue's index each: a
# plainer question reads all of it, however many events wait.
_BUSY = """
with recursive shards (s) as (
    select min(u.shard)::int from automations_unrouted u
    union all
    select (select min(u.shard)::int from automations_unrouted u where u.shard > shards.s)
    from shards where shards.s is not null
), busy as materialized (
    select s from shards where s is not null order by (s - %s + %s) %% %s
)
select s from busy where pg_try_advisory_xact_lock(%s + s) limit %s
"""


def take_shards(count: int, most: int, start: int) -> list[int]:
    """Up to `most` busy shards of `count` that nobody else holds, for the rest of the transaction. `start` is where to begin, so
    that many routers do not all try the same ones first."""
    with connection.cursor() as cursor:
        cursor.execute(_BUSY, [start % count, count, count, _SHARD, most])
        return [row[0] for row in cursor.fetchall()]


def hold_shards(shards: Collection[int]) -> None:
    """Wait for these shards and hold them for the rest of the transaction, in order."""
    with connection.cursor() as cursor:
        cursor.execute(_OWN, [[_SHARD + shard for shard in sorted(set(shards))]])
