"""The routers' queue (`automations_unrouted`): what is in it is still to be routed, and each event leaves it once (DESIGN 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from automations.worker.copying import array
from automations.worker.planner import without

# Without the switches the planner may read the whole queue for the join, however many events wait.
_SWITCHES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
_LEAVE = """
with left_ as (
    delete from automations_unrouted u using unnest(%s::int[], %s::bigint[]) v (shard, event_id)
    where u.shard = v.shard and u.event_id = v.event_id
    returning u.event_id, u.workspace_id
)
insert into automations_routed (event_id, workspace_id, routed_at)
select event_id, workspace_id, clock_timestamp() from left_ order by event_id
"""


def leave(events: Sequence[tuple[int, int]]) -> None:
    """Note of these events, given by shard and id, that they were routed, at the end of the transaction that did it and holds their
    shards. RuntimeError when one was not in the queue: then somebody else has routed it, and nothing of this may stay."""
    with connection.cursor() as cursor:
        without(cursor, _SWITCHES, _LEAVE, [array([shard for shard, _ in events]), array([id for _, id in events])])
        if cursor.rowcount != len(events):
            raise RuntimeError(f"{len(events) - cursor.rowcount} of {len(events)} events were routed by somebody else.")
