"""Settling deliveries: the second transaction, which must still own the fence (DESIGN 5.3).

Rows are locked in the one order: runs, then what an action's own `settle` touches, then deliveries. A worker that was
taken over finds another fence and writes nothing at all.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection, transaction

from accounts.services.tasks import NewTask, create_tasks
from automations.engine.kinds import OutsideAction
from automations.engine.outcomes import Done, Outcome
from automations.models import OPEN_STATES, Delivery
from automations.services.erasing import empty_deliveries
from automations.services.jsontext import plain_text
from automations.worker.answers import encode, error_of
from automations.worker.bell import ring
from automations.worker.jobs import Job, Stopped
from automations.worker.losses import record_losses
from automations.worker.policy import Verdict, judge, read_back
from automations.worker.retrying import is_transient, retrying
from automations.worker.settle_runs import Settled, lock_runs, tell_runs

log = logging.getLogger(__name__)


#: Tries of a settlement, ten seconds in all: what an act came to is known here alone, so a restart of the server is waited out.
PATIENCE = 10


class TakenOver(Exception):
    """Another worker has claimed the delivery since; what this one knows is not written."""


@dataclass(slots=True)
class _Entry:
    """One row to be settled: what it must still be, and what it becomes."""

    job: Job
    verdict: Verdict
    outcome: Outcome | None
    error: dict[str, Any] | None
    acted: bool


_SETTLE = """
WITH mine AS (
    SELECT d.id FROM automations_delivery d JOIN unnest(%(ids)s::bigint[], %(fences)s::int[], %(states)s::text[])
        AS u(id, fence, state) ON d.id = u.id AND d.fence = u.fence AND d.state = u.state
    ORDER BY d.id FOR NO KEY UPDATE OF d
)
UPDATE automations_delivery d SET state = u.state, lease_until = NULL,
    due_at = onward_now() + u.wait * interval '1 second',
    outcome = coalesce(u.outcome::jsonb, d.outcome), error = u.error::jsonb,
    provider_ref = CASE WHEN u.reference = '' THEN d.provider_ref ELSE u.reference END,
    unknown_since = CASE WHEN u.state = 'UNKNOWN' THEN coalesce(d.unknown_since, onward_now()) ELSE NULL END,
    sent_at = CASE WHEN u.state = 'SENT' THEN onward_now() ELSE d.sent_at END
FROM mine, unnest(%(ids)s::bigint[], %(fences)s::int[], %(next)s::text[], %(waits)s::float8[], %(outcomes)s::text[], %(errors)s::text[],
    %(references)s::text[]) AS u(id, fence, state, wait, outcome, error, reference)
WHERE d.id = u.id AND d.id = mine.id RETURNING d.id
"""
_ATTEMPTS = """
INSERT INTO automations_deliveryattempt
    (workspace_id, delivery_id, number, fence, outcome, error, request_sha256, at, started_at)
SELECT d.workspace_id, d.id, d.attempts, d.fence, u.outcome, u.error::jsonb, d.request_sha256, onward_now(),
d.sending_at FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS u(id, outcome, error) JOIN automations_delivery d ON
d.id = u.id
"""


def settle_acts(jobs: Sequence[Job]) -> int:
    """Write what these acts came to. Those whose action has consequences on our rows, each in a transaction of its
    own."""
    own = [job for job in jobs if _has_consequences(job)]
    together = [job for job in jobs if not _has_consequences(job)]
    written = _settle([_entry(job) for job in together]) if together else 0
    return written + sum(_settle_alone(job) for job in own)


def settle_stopped(stopped: Sequence[Stopped]) -> int:
    """Write down that these are not sent, unless somebody was faster."""
    entries = [
        _Entry(
            item.job,
            Verdict(item.state, "", answer=item.answer, person=item.state == "REVIEW"),
            item.answer,
            item.error,
            False,
        )
        for item in stopped
    ]
    return _settle(entries) if entries else 0


def _has_consequences(job: Job) -> bool:
    action = job.action
    return action is not None and type(action).settle is not OutsideAction.settle


def _entry(job: Job) -> _Entry:
    verdict = _verdict(job, job.outcome)
    return _Entry(job, verdict, job.outcome, error_of(job.outcome) if job.outcome else None, job.mode != "read_back")


def _verdict(job: Job, outcome: Outcome | None) -> Verdict:
    if job.mode == "read_back":
        return read_back(outcome, job.rules, job.unknown_since or job.now, job.now)
    assert outcome is not None, "an act always comes to something"
    return judge(outcome, job.rules, job.tries, job.unsure(), random.random())


def _settle(entries: Sequence[_Entry]) -> int:
    """All in one transaction; if that fails for good, each alone, so that one cannot keep the others from being
    written."""
    try:
        return retrying(lambda: _transaction(entries), PATIENCE)
    except Exception as error:  # whatever the database finds wrong with one row; alone it shows itself
        if len(entries) == 1 or is_transient(error):
            log.exception("deliveries %s cannot be settled", [entry.job.id for entry in entries])
            return 0
    return sum(_settle([entry]) for entry in entries)


@transaction.atomic
def _transaction(entries: Sequence[_Entry]) -> int:
    with connection.cursor() as cursor:
        runs = lock_runs(cursor, {entry.job.run_id for entry in entries})
        return len(_write(cursor, entries, runs))


def _settle_alone(job: Job) -> int:
    try:
        return retrying(lambda: _with_consequences(job), PATIENCE)
    except TakenOver:
        log.warning("delivery %s was taken over; its late result is not written", job.id)
        _tell_of_late_money(job)
    except Exception:  # the consequences could not be written; the lease runs out and the provider is asked what it did
        log.exception("delivery %s cannot be settled", job.id)
    return 0


def _tell_of_late_money(job: Job) -> None:
    """Money that a provider took after all, although the charge was settled without it: nobody but a person can put that right."""
    if job.rules.money and isinstance(job.outcome, Done):
        try:
            retrying(lambda: _tell_unless_settled_alike(job), PATIENCE)
        except Exception:  # it was found out late and by chance; what is settled stays as it is
            log.exception("the late result of delivery %s could not be told to anybody", job.id)


@transaction.atomic
def _tell_unless_settled_alike(job: Job) -> None:
    state = Delivery.objects.values_list("state", flat=True).get(pk=job.id)
    if state not in (*OPEN_STATES, "SENT"):
        _ask_people([job], f"The provider acted after all, and said so when this was settled already ({state})")


@transaction.atomic
def _with_consequences(job: Job) -> int:
    """The action writes first, on rows that come before deliveries in the lock order; a lost fence takes it all
    back."""
    entry = _entry(job)
    with connection.cursor() as cursor:
        runs = lock_runs(cursor, {job.run_id})
        cursor.execute("SELECT fence, state FROM automations_delivery WHERE id = %s", [job.id])
        if cursor.fetchone() != (job.fence, job.state):
            raise TakenOver
        final = entry.verdict.state != "QUEUED"
        if job.action is not None and job.outcome is not None and final:
            seen = job.action.settle(replace(job.envelope), job.outcome, job.now)
            entry.outcome = seen
            if entry.verdict.answer is not None:
                entry.verdict = replace(entry.verdict, answer=seen)
        if not _write(cursor, [entry], runs):
            raise TakenOver
    return 1


def _write(cursor: Any, entries: Sequence[_Entry], runs: dict[int, Any]) -> list[int]:
    """Deliveries, attempts, runs, log and tasks of what is still ours; answers the ids."""
    cursor.execute(
        _SETTLE,
        {
            "ids": [entry.job.id for entry in entries],
            "fences": [entry.job.fence for entry in entries],
            "states": [entry.job.state for entry in entries],
            "next": [entry.verdict.state for entry in entries],
            "waits": [entry.verdict.wait for entry in entries],
            "outcomes": [plain_text(encode(entry.outcome)) if entry.outcome else None for entry in entries],
            "errors": [plain_text(entry.error) if entry.error else None for entry in entries],
            "references": [_reference(entry.outcome) for entry in entries],
        },
    )
    mine = {row[0] for row in cursor.fetchall()}
    kept = [entry for entry in entries if entry.job.id in mine]
    record_losses(cursor, [entry.job for entry in kept if not entry.acted])
    acted = [entry for entry in kept if entry.acted]
    if acted:
        errors = [plain_text(entry.error) if entry.error else None for entry in acted]
        cursor.execute(
            _ATTEMPTS, [[entry.job.id for entry in acted], [entry.verdict.attempt for entry in acted], errors]
        )
    tell_runs(cursor, [Settled(entry.job, entry.verdict, entry.error) for entry in kept], runs)
    _ask_people([entry.job for entry in kept if entry.verdict.person])
    _forget_erased(cursor, [entry.job.id for entry in kept if entry.verdict.wait is None and entry.job.customer_id])
    ring()
    return sorted(mine)


def _forget_erased(cursor: Any, ids: Sequence[int]) -> None:
    """A person erased while it was under way: now that it is settled, nothing of them is kept, in the log of what came too late
    neither (SUP-06)."""
    if ids:
        cursor.execute(_ERASED, [ids])
        empty_deliveries([row[0] for row in cursor.fetchall()])


_ERASED = """
SELECT d.id FROM automations_delivery d JOIN accounts_customer c ON c.id = d.customer_id
WHERE d.id = ANY(%s) AND c.erased_at IS NOT NULL
"""


def _reference(outcome: Outcome | None) -> str:
    found = outcome.output.get("reference") if isinstance(outcome, Done) else None
    return str(found)[:200] if found else ""


def _ask_people(jobs: Sequence[Job], why: str = "It may or may not have acted; nobody can tell") -> None:
    """What nobody can tell becomes a task (DESIGN 5.3, UNKNOWN)."""
    if not jobs:
        return
    create_tasks(
        [
            NewTask(
                workspace_id=job.workspace_id,
                title=f"Find out what became of delivery dlv_{job.id}",
                message=f"Step “{job.step}” of exec_{job.run_id}: {why}. "
                f"Look at the receiver for the key {job.key} before anything is done again.",
                customer_id=job.customer_id,
                subjects=dict(job.envelope.subjects),
                run_id=job.run_id,
            )
            for job in jobs
        ]
    )
