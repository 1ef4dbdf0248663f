"""Ending runs before their time: one by hand, many by a filter, or all that a mark covers (PAU-05, PAU-11, SUP-05).

A CANCELLED run cancels its QUEUED deliveries; one that is being sent, or may have been, is always finished and shown (DESIGN 5.3).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from accounts.actor import Actor
from accounts.audit import record, record_many
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from automations.models import Run
from automations.services.executions import RunFilter, filtered

CHUNK = 500
#: The most that one request cancels; a larger set is cancelled by asking again, or by pausing with `cancel`.
MOST = 10_000


def end_runs(run_ids: Sequence[int], *, status: str = "CANCELLED", reason: str) -> list[int]:
    """End these runs in the caller's transaction; ended ones are left alone. Answers the ids that were ended.

    Rows are locked in id order, runs before deliveries (DESIGN 5.2). What a run holds goes with it: its re-entry key unless that
    is kept for ever, its second look, its loop items, and for CANCELLED its deliveries that nobody has begun to send.
    """
    if not run_ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM automations_run WHERE id = ANY(%s) AND ended_at IS NULL ORDER BY id FOR NO KEY UPDATE",
            [list(run_ids)],
        )
        locked = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            """
            UPDATE automations_run
            SET status = %s, end_reason = %s, ended_at = greatest(onward_now(), started_at), parked_on = NULL,
                due_at = NULL, wait_name = NULL, wait_key = NULL, wait_since = NULL, answer = NULL, held = NULL
            WHERE id = ANY(%s)
            """,
            [status, reason, locked],
        )
        cursor.execute("DELETE FROM automations_entry WHERE run_id = ANY(%s) AND NOT once", [locked])
        cursor.execute("DELETE FROM automations_secondlook WHERE run_id = ANY(%s)", [locked])
        cursor.execute("DELETE FROM automations_runinput WHERE run_id = ANY(%s)", [locked])
    if status == "CANCELLED":
        cancel_queued(locked)
    return locked


def cancel_queued(run_ids: Collection[int]) -> int:
    """Cancel the deliveries of these runs that nobody has begun to send, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH queued AS (
                SELECT delivery.id FROM automations_delivery AS delivery
                JOIN automations_run AS run ON run.workspace_id = delivery.workspace_id AND run.id = delivery.run_id
                WHERE run.id = ANY(%s) AND delivery.state = 'QUEUED' ORDER BY delivery.id FOR NO KEY UPDATE OF delivery
            )
            UPDATE automations_delivery SET state = 'CANCELLED', due_at = NULL FROM queued
            WHERE automations_delivery.id = queued.id
            """,
            [list(run_ids)],
        )
        return cursor.rowcount


@transaction.atomic
def cancel_run(*, actor: Actor, run_id: int, reason: str = "") -> Run:
    """Cancel one run (PAU-11). Cancelling a CANCELLED one again changes nothing; one that ended otherwise is `wrong_state`."""
    actor.require("operate")
    run = Run.objects.filter(workspace_id=actor.workspace_id, pk=run_id).first()
    if run is None:
        raise not_found("execution", public_id("exec", run_id))
    if end_runs([run_id], reason="cancelled"):
        record(actor, "run.cancel", public_id("exec", run_id), None, {"reason": reason[:500]})
    run.refresh_from_db()
    if run.status != "CANCELLED":
        raise Refusal(
            "wrong_state",
            f"exec_{run_id} is {run.status}; only a run that has not ended can be cancelled.",
            {"runStatus": run.status},
        )
    return run


def preview_cancel(*, actor: Actor, filter: RunFilter) -> dict[str, Any]:
    """How many unfinished runs a filter covers, and on which automations, without changing anything."""
    actor.require("operate")
    rows = _unfinished(actor, filter).values_list("automation_id", flat=True)[: MOST + 1]
    counts: dict[str, int] = {}
    for automation_id in rows:
        name = public_id("auto", automation_id)
        counts[name] = counts.get(name, 0) + 1
    total = sum(counts.values())
    return {"runs": min(total, MOST), "more": total > MOST, "byAutomation": counts}


def cancel_runs(*, actor: Actor, filter: RunFilter, confirm: int | None, reason: str = "") -> Mapping[str, Any]:
    """Cancel the unfinished runs that a filter covers, in chunks. `confirm` is the number that the preview showed: with
    another one nothing is cancelled and the answer is `choice_required`, so that nobody ends more than they looked at."""
    actor.require("operate")
    ids = list(_unfinished(actor, filter).values_list("pk", flat=True)[:MOST])
    if confirm != len(ids):
        raise Refusal(
            "choice_required",
            f"This would cancel {len(ids)} runs; repeat it with confirm={len(ids)} to do so.",
            {"runs": len(ids)},
        )
    cancelled = 0
    for start in range(0, len(ids), CHUNK):
        cancelled += _cancel_chunk(actor, ids[start : start + CHUNK], reason)
    return {"cancelled": cancelled}


@transaction.atomic
def _cancel_chunk(actor: Actor, ids: Sequence[int], reason: str) -> int:
    ended = end_runs(ids, reason="cancelled")
    record_many(actor, "run.cancel", [public_id("exec", pk) for pk in ended], {"reason": reason[:500]})
    return len(ended)


def _unfinished(actor: Actor, filter: RunFilter) -> QuerySet[Run]:
    return filtered(actor, filter).filter(Q(ended_at__isnull=True)).order_by("pk")
