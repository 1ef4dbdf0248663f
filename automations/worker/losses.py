"""Deliveries that a worker was lost over: each loss is one attempt in the log, written where the delivery leaves the hands of its late
owner, in the transaction that takes it from there. Until then the owner may live, and what it says is what counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from automations.worker.jobs import Job

_LOST = """
INSERT INTO automations_deliveryattempt (workspace_id, delivery_id, number, fence, outcome, request_sha256, at,
started_at) SELECT workspace_id, id, attempts, fence, 'lost', request_sha256, onward_now(), coalesce(sending_at,
clock_timestamp()) FROM automations_delivery WHERE id = ANY(%s) ON CONFLICT DO NOTHING
"""


def record_losses(cursor: Any, jobs: Iterable[Job]) -> None:
    """Write the loss of those of these locked deliveries that were found with a lost worker, before their rows change."""
    ids = [job.id for job in jobs if job.lost]
    if ids:
        cursor.execute(_LOST, [ids])
