"""Events that nobody would route: recorded, and in neither table of the queue (E4, E7).

Whoever records an event of this release puts it into the queue by the same transaction. A process of an older one knows no queue, and
while an installation is upgraded it still takes events (RELIABILITY 25). So every worker looks about once a minute at what was
recorded since its last look, and puts into the queue what is missing there.
"""

from __future__ import annotations

import logging

from django.db import connection, transaction

from automations.worker import bell
from automations.worker.locks import hold_shards
from automations.worker.planner import without

log = logging.getLogger(__name__)
FIRST = 100_000  # events that the first look of a process goes back
AGAIN = 5_000  # events before the last look that are looked at once more: ids are given before the transaction ends
MOST = 500
_NEWEST = "select coalesce(max(id), 0) from automations_event"
_SWITCHES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
_STRAYS = """
select e.id, e.shard from automations_event e
left join automations_unrouted u on u.shard = e.shard and u.event_id = e.id
left join automations_routed r on r.event_id = e.id
where e.id > %s and e.id <= %s and u.event_id is null and r.event_id is null
order by e.id limit %s
"""
# Asked again when the shards are held: another worker may have found and routed it meanwhile.
_ENQUEUE = """
insert into automations_unrouted (shard, event_id, workspace_id)
select e.shard, e.id, e.workspace_id from automations_event e
where e.id = any(%s) and not exists (select 1 from automations_routed r where r.event_id = e.id)
on conflict do nothing
"""


class _Look:
    """Up to where this process has looked; None before its first look."""

    after: int | None = None


@transaction.atomic
def find_strays() -> int:
    """Put into the queue what is missing there, up to 500 events; answers how many."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        newest = int(cursor.fetchone()[0])
        after = newest - FIRST if _Look.after is None else min(_Look.after, newest)
        without(cursor, _SWITCHES, _STRAYS, [after, newest, MOST])
        found = cursor.fetchall()
        count = _enqueue(found) if found else 0
    _Look.after = found[-1][0] if len(found) == MOST else newest - AGAIN
    return count


def _enqueue(found: list[tuple[int, int]]) -> int:
    hold_shards({shard for _, shard in found})
    with connection.cursor() as cursor:
        cursor.execute(_ENQUEUE, [[id for id, _ in found]])
        count = int(cursor.rowcount)
    if count:
        log.warning("%s events had no place in the queue; a process of another release recorded them", count)
        bell.ring()
    return count
