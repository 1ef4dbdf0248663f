"""Runs in flight when an automation is paused, resumed or published anew (DESIGN 5.5, PAU-04 to 12), and records that are
enrolled when it is activated (DESIGN 5.1).

The pause writes one mark on the automation in its own transaction; claims obey it from that moment. The rows follow here in
chunks: behind the commit of the request as far as it goes, then by the workers, so that a process that dies on the way loses
nothing. An enrolment is a mark as well: how far it has come.

What a hold freezes stands in `run.held`: `{by, status, parkedOn, dueAt, remaining, waitName, waitKey, deafSince}`, `remaining` in
seconds of the evaluation clock, counted from the pause, `deafSince` the real time since which events did not find it waiting; the
row's own `wait_since` says the same by the order of routing, and decides where it is known.
A run that stands on a delivery has no clock: it keeps its row, and the mark alone stops it when the delivery settles.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction

from automations.models import Automation
from automations.services.cancel import end_runs
from automations.services.enrolment import enrol_page
from automations.services.events import IDS_UNDER_WAY
from automations.worker.bell import ring
from automations.worker.claim import NEXT_NUMBER
from automations.worker.retrying import is_surroundings

log = logging.getLogger(__name__)
CHUNK = 500


def follow_marks(limit: int = CHUNK) -> int:
    """One chunk for each of up to twenty automations whose rows have still to follow; how many rows changed. For workers."""
    waiting = Automation.objects.filter(sweep=True).order_by("pk").values_list("pk", flat=True)[:20]
    return sum(_follow_alone(automation_id, limit) for automation_id in list(waiting))


def _follow_alone(automation_id: int, limit: int) -> int:
    """One automation whose rows cannot follow must not keep the others from theirs."""
    try:
        return follow(automation_id, limit)
    except Exception as error:  # whatever a row or a constraint raised
        if is_surroundings(error):
            raise
        log.exception("rows of auto_%s could not follow its mark", automation_id)
        return 0


def follow_all(automation_id: int, chunks: int = 20) -> None:
    """As far as one request may go: the rest is done by the workers."""
    for _chunk in range(chunks):
        if not follow(automation_id):
            return


@transaction.atomic
def follow(automation_id: int, limit: int = CHUNK) -> int:
    """One chunk of rows of one automation, in one transaction. When none is left the marks that are done with are taken
    away. The automation's row is locked first, so a pause or resume never overtakes a chunk."""
    automation = Automation.objects.select_for_update(no_key=True).filter(pk=automation_id, sweep=True).first()
    if automation is None:
        return 0
    changed = _cancel(automation, limit) or _hold(automation, limit) or _release(automation, limit)
    changed = changed or enrol_page(automation, limit)
    if not changed:
        _settle(automation)
    return changed


def _settle(automation: Automation) -> None:
    automation.sweep = False
    automation.cancel_mark, automation.cancel_reason = None, ""
    automation.release_mark, automation.release_how, automation.release_at = None, "", None
    automation.save(
        update_fields=["sweep", "cancel_mark", "cancel_reason", "release_mark", "release_how", "release_at"]
    )


def _cancel(automation: Automation, limit: int) -> int:
    if automation.cancel_mark is None:
        return 0
    ids = _chunk(automation, automation.cancel_mark, limit, "true")
    return len(end_runs(ids, reason=automation.cancel_reason))


def _chunk(automation: Automation, mark: int, limit: int, condition: str) -> list[int]:
    """Ids of unfinished runs up to the mark, oldest first, found by the index over unfinished runs."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id FROM automations_run WHERE workspace_id = %s AND automation_id = %s AND ended_at IS NULL AND id <= %s
            AND {condition} ORDER BY id LIMIT %s FOR NO KEY UPDATE
            """,
            [automation.workspace_id, automation.pk, mark, limit],
        )
        return [row[0] for row in cursor.fetchall()]


def _hold(automation: Automation, limit: int) -> int:
    """Freeze clocks and waits; deliveries that nobody has begun to send lose their time as well."""
    if automation.hold_mark is None:
        return 0
    ids = _chunk(automation, automation.hold_mark, limit, "(due_at IS NOT NULL OR wait_name IS NOT NULL)")
    freeze(ids, automation.paused_at)
    return len(ids) or _hold_deliveries(automation, limit)


def freeze(run_ids: Sequence[int], since: datetime | None) -> None:
    """Stop the clocks of these locked runs, in the caller's transaction. What is left of their time counts from `since`, the
    moment of the pause. Also called by a claim that meets a run under a mark before its row was reached."""
    if not run_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE automations_run AS run SET
                held = jsonb_build_object('by', 'pause', 'status', run.status, 'parkedOn', run.parked_on, 'dueAt', run.due_at,
                    'remaining', extract(epoch FROM run.due_at - %s::timestamptz), 'waitName', run.wait_name,
                    'waitKey', run.wait_key, 'deafSince', coalesce(
                        (SELECT created_at FROM automations_secondlook AS look WHERE look.run_id = run.id), now())),
                wait_since = CASE WHEN run.parked_on IS NULL OR EXISTS (
                    SELECT FROM automations_secondlook AS look WHERE look.run_id = run.id) THEN run.wait_since ELSE {NEXT_NUMBER} END,
                status = 'RUNNING', parked_on = 'hold', due_at = NULL, wait_name = NULL, wait_key = NULL
            WHERE run.id = ANY(%s)
            """,
            [since, list(run_ids)],
        )
        cursor.execute("DELETE FROM automations_secondlook WHERE run_id = ANY(%s)", [list(run_ids)])


#: Deliveries of unfinished runs up to a mark that nobody has begun to send, with or without a time.
_QUEUED = """
    WITH queued AS (
        SELECT delivery.id FROM automations_run AS run
        JOIN automations_delivery AS delivery
          ON delivery.workspace_id = run.workspace_id AND delivery.run_id = run.id
        WHERE run.workspace_id = %s AND run.automation_id = %s AND run.ended_at IS NULL AND run.id <= %s
          AND delivery.state = 'QUEUED' AND (delivery.due_at IS NULL) = %s
        ORDER BY delivery.id LIMIT %s FOR NO KEY UPDATE OF delivery
    )
    UPDATE automations_delivery SET due_at = {due} FROM queued WHERE automations_delivery.id = queued.id
"""


def _hold_deliveries(automation: Automation, limit: int) -> int:
    with connection.cursor() as cursor:
        parameters = [automation.workspace_id, automation.pk, automation.hold_mark, False, limit]
        cursor.execute(_QUEUED.format(due="NULL"), parameters)
        return cursor.rowcount


#: When a held run goes on (CONTRACTS 8). A wait without a time-out has no clock and stays a wait, unless it is skipped.
#: `ready` runs were due, or moved by their event, when they were held.
_DUE = {
    "continue": """CASE WHEN held->>'dueAt' IS NOT NULL THEN
        %(at)s::timestamptz + greatest((held->>'remaining')::float8, 0) * interval '1 second' END""",
    "reanchor": "CASE WHEN held->>'dueAt' IS NOT NULL THEN greatest((held->>'dueAt')::timestamptz, %(at)s::timestamptz) END",
    "skip": "%(at)s::timestamptz",
}


def _release(automation: Automation, limit: int) -> int:
    if automation.release_mark is None:
        return 0
    ids = _chunk(automation, automation.release_mark, limit, "parked_on = 'hold' AND held->>'by' = 'pause'")
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_AGAIN, [ids])
        cursor.execute(
            f"""
            UPDATE automations_run SET
                status = held->>'status', parked_on = held->>'parkedOn', wait_name = held->>'waitName',
                wait_key = held->>'waitKey', due_at = {_DUE[automation.release_how]}, held = NULL
            WHERE id = ANY(%(ids)s)
            """,
            {"at": automation.release_at, "ids": ids},
        )
    ring()
    return len(ids) or _release_deliveries(automation, limit)


#: Waits match what happened since their step began, the time of the hold included (DESIGN 5.2): a worker looks over the events
#: that were routed while the run could not be seen waiting.
_LOOK_AGAIN = f"""
    INSERT INTO automations_secondlook (run_id, workspace_id, customer_id, since, created_at)
    SELECT id, workspace_id, customer_id, event_id - {IDS_UNDER_WAY}, (held->>'deafSince')::timestamptz FROM automations_run
    WHERE id = ANY(%s) AND held->>'waitName' IS NOT NULL ON CONFLICT (run_id) DO NOTHING
"""


def _release_deliveries(automation: Automation, limit: int) -> int:
    with connection.cursor() as cursor:
        parameters = [automation.workspace_id, automation.pk, automation.release_mark, True, limit]
        cursor.execute(_QUEUED.format(due="onward_now()"), parameters)
        return cursor.rowcount
