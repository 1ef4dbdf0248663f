"""What is locked before customers are (DESIGN 5.2, "Lock order"), for the changes of `accounts` that touch runs: merging, erasing.

The shards come first: while they are held no router is at work for these customers, so none of their runs appears, is woken or is
ended between this and the end of the change. Then the runs: no worker holds one of them and waits for its customer.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection

from automations.services.events import shard_of
from automations.worker.locks import hold_shards

# The workspace is asked of the customers: of the runs it would invite the planner to read all that the workspace has.
_HOLD = """
select id from automations_run where customer_id = any(
    array(select id from accounts_customer where workspace_id = %s and id = any(%s)))
order by id for no key update
"""


def hold_runs(workspace_id: int, customers: Collection[int]) -> None:
    """Wait for the routers and workers that are busy with these customers, a batch at most, and keep others away from their runs
    until the transaction ends. Deliveries follow runs and customers in the lock order, so they are not locked here."""
    hold_shards({shard_of(workspace_id, customer) for customer in customers})
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [workspace_id, sorted(customers)])
