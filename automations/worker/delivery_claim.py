"""Claiming deliveries: workspaces in turn, oldest first, in one short transaction (DESIGN 5.3).

The claim waits for nobody: deliveries, runs and customers are taken with SKIP LOCKED, and what somebody else holds is
left for the next time. So it can stand outside of the lock order without ever being part of a deadlock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from automations.worker import delivery_check
from automations.worker.envelopes import from_json
from automations.worker.jobs import Job, Stopped
from automations.worker.losses import record_losses
from automations.worker.planner import switch
from automations.worker.policy import Rules, Tries, may_repeat

LEASE = 60  # seconds of the database's clock; renewed while a provider takes its time

_COLUMNS = """
id, workspace_id, run_id, visit, key, step, action, state, fence, attempts, customer_id, envelope::text, kind, "to",
subject, customer_mail, waits, money, retries, retry_delay, backoff, exact_waits, request_sha256, first_attempt_at,
unknown_since, sending_at, onward_now() AS now, clock_timestamp() AS real
"""
# A row being sent is due again when its lease ends, so one index finds both: what is due and what a dead worker left.
_CLAIM = f"""
SELECT {_COLUMNS} FROM (
    SELECT d.* FROM unnest(%s::bigint[]) AS w(id) CROSS JOIN LATERAL (
        SELECT * FROM automations_delivery
        WHERE workspace_id = w.id AND due_at <= onward_now() AND (state <> 'SENDING' OR lease_until < clock_timestamp())
          AND (%s::text[] IS NULL OR kind = ANY(%s)) AND id <> ALL(%s)
        ORDER BY due_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
    ) d
) d
"""
_DUE_WORKSPACES = """
SELECT id FROM accounts_workspace w WHERE EXISTS (
    SELECT 1 FROM automations_delivery d WHERE d.workspace_id = w.id AND d.due_at <= onward_now())
ORDER BY id
"""
_TAKE = """
UPDATE automations_delivery d SET state = 'SENDING', fence = d.fence + 1, lease_until = clock_timestamp() + %s *
interval '1 second',
    due_at = onward_now() + %s * interval '1 second',
    attempts = d.attempts + CASE WHEN u.acts THEN 1 ELSE 0 END,
    sending_at = CASE WHEN u.acts THEN clock_timestamp() ELSE d.sending_at END,
    first_attempt_at = CASE WHEN u.acts THEN coalesce(d.first_attempt_at, clock_timestamp()) ELSE d.first_attempt_at
    END, unknown_since = CASE WHEN u.acts THEN d.unknown_since ELSE coalesce(d.unknown_since, onward_now()) END
FROM unnest(%s::bigint[], %s::bool[]) AS u(id, acts) WHERE d.id = u.id
RETURNING d.id, d.fence, d.attempts, d.first_attempt_at, d.unknown_since
"""
# What has ended; a loss that is only seen now is counted beside it (`losses`).
_TRIES = """
SELECT delivery_id, count(*) FILTER (WHERE outcome = 'failed'), count(*) FILTER (WHERE outcome = 'unknown'),
    count(*) FILTER (WHERE outcome = 'lost' AND request_sha256 <> ''), count(*) FILTER (WHERE outcome = 'lost' AND number > survived)
FROM (SELECT a.*, coalesce(max(a.number) FILTER (WHERE outcome <> 'lost') OVER (PARTITION BY delivery_id), 0) AS survived
    FROM automations_deliveryattempt a JOIN unnest(%s::bigint[], %s::int[]) AS u(id, seen) ON a.delivery_id = u.id AND a.number <> u.seen) a
GROUP BY delivery_id
"""


@dataclass(slots=True)
class Claimed:
    """What one claim took: jobs to be done, and deliveries that are not to be sent any more. `put_off`: found, but held by
    somebody else or left for later; 0 of everything means that nothing is due. `last`: what is under way must end before more is
    taken, because there is a suspect that waits for it, or among it. `later`: those found that wait for routers."""

    jobs: list[Job] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)
    put_off: int = 0
    last: bool = False
    later: list[int] = field(default_factory=list)


class _DueWorkspaces:
    """The workspaces with something due, listed about once a second. Each claim begins one further on."""

    def __init__(self) -> None:
        self._found: list[int] = []
        self._at = 0.0
        self._turn = 0

    def take(self, most: int) -> list[int]:
        now = time.monotonic()
        if not self._found or now - self._at > 1:
            with connection.cursor() as cursor:
                cursor.execute(_DUE_WORKSPACES)
                self._found = [row[0] for row in cursor.fetchall()]
            self._at = now
        if not self._found:
            return []
        start = self._turn % len(self._found)
        self._turn = start + min(most, len(self._found))
        return (self._found[start:] + self._found[:start])[:most]

    def turns(self, most: int) -> int:
        """How many claims of so many workspaces reach each of the list once."""
        return max(1, -(-len(self._found) // most))

    def forget(self) -> bool:
        """Drop the list; whether there was one."""
        known, self._found = self._found, []
        return bool(known)


_workspaces = _DueWorkspaces()


def lease() -> float:
    """Seconds that a claim holds. Only tests that kill workers shorten it, by a setting without a variable."""
    return float(getattr(settings, "ONWARD_LEASE_SECONDS", LEASE))


def claim(
    limit: int, kinds: Sequence[str] | None = None, beside: bool = False, passing_by: Collection[int] = ()
) -> Claimed:
    """Up to `limit` deliveries, each taken by a lease and a raised fence, or set aside because it must not be sent. `beside`: others are
    under way in this process, and should not share the fate of one that may end it. `passing_by`: not these."""
    for _turn in range(_workspaces.turns(limit)):
        claimed = _claim(limit, kinds, beside, passing_by)
        if claimed.jobs or claimed.stopped or claimed.put_off:
            return claimed
    # The list is up to a second old.
    return _claim(limit, kinds, beside, passing_by) if _workspaces.forget() else Claimed()


def _claim(limit: int, kinds: Sequence[str] | None, beside: bool, passing_by: Collection[int]) -> Claimed:
    workspaces = _workspaces.take(limit)
    if not workspaces:
        return Claimed()
    with transaction.atomic(), connection.cursor() as cursor:
        rows = _due(cursor, workspaces, max(1, limit // len(workspaces)), kinds, passing_by)
        if not rows:
            return Claimed()
        jobs = [_job(row) for row in rows]
        _count_tries(cursor, [job for job in jobs if job.attempts])
        for job in jobs:
            job.mode = _mode(job)
        claimed = _some(cursor, jobs, beside)
        record_losses(cursor, claimed.jobs)
        _take(cursor, claimed.jobs)
    return claimed


class _Turn:
    """Suspects and others in turn, so that neither waits until there are none of the other kind."""

    suspects_first = True


def _some(cursor: Any, jobs: list[Job], beside: bool) -> Claimed:
    """One suspect that can be taken, alone, or the others. Beside what is under way, the others only."""
    others = [job for job in jobs if not job.suspect()]
    alone = [[job] for job in jobs if job.suspect()]
    groups = [others] if beside else [*alone, others] if _Turn.suspects_first else [others, *alone]
    going, stopped, later = list[Job](), list[Stopped](), list[int]()
    for group in groups:
        checked = delivery_check.check(cursor, group)
        stopped += checked.stopped
        later += checked.later
        if checked.kept:
            renew(checked.kept)  # looked at again when that lease ends
        if going := checked.go:
            break
    suspect = any(job.suspect() for job in going)
    if not beside and going:
        _Turn.suspects_first = not suspect
    last = bool(alone) if beside else suspect and going[0].mode == "recover"
    return Claimed(going, stopped, len(jobs) - len(going) - len(stopped), last, later)


def _due(
    cursor: Any, workspaces: list[int], share: int, kinds: Sequence[str] | None, passing_by: Collection[int]
) -> list[dict[str, Any]]:
    names = None if kinds is None else list(kinds)
    switch(cursor, ("enable_sort", "enable_bitmapscan"), "off")  # the partial index, also before the first ANALYZE
    cursor.execute(_CLAIM, [workspaces, names, names, list(passing_by), share])
    columns = [column.name for column in cursor.description]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    switch(cursor, ("enable_sort", "enable_bitmapscan"), "on")
    return rows


def _job(row: dict[str, Any]) -> Job:
    names = (
        "id",
        "workspace_id",
        "run_id",
        "visit",
        "key",
        "step",
        "state",
        "fence",
        "attempts",
        "customer_id",
        "now",
        "real",
    )
    same = (*names, "request_sha256", "first_attempt_at", "unknown_since")
    kept = ("kind", "to", "subject", "customer_mail", "waits", "money")
    envelope = from_json(json.loads(row["envelope"]), **{name: row[name] for name in kept})
    # What the run is told names the delivery, which had no number yet when the step was prepared (CONTRACTS 9).
    named = {"delivery": f"dlv_{row['id']}", **envelope.output}
    return Job(
        **{name: row[name] for name in same},
        action_key=row["action"],
        envelope=replace(envelope, output=named),
        rules=Rules(row["retries"], row["retry_delay"], row["backoff"], row["exact_waits"], row["money"]),
        lost=row["state"] == "SENDING" and row["unknown_since"] is None,
    )


def _count_tries(cursor: Any, jobs: list[Job]) -> None:
    if not jobs:
        return
    cursor.execute(_TRIES, [[job.id for job in jobs], [job.attempts if job.lost else 0 for job in jobs]])
    counts = {row[0]: Tries(*row[1:]) for row in cursor.fetchall()}
    for job in jobs:
        tries = counts.get(job.id, job.tries)
        job.tries = tries.and_lost(bool(job.request_sha256)) if job.lost else tries


def _mode(job: Job) -> Any:
    """Reading back never acts. A lost act may have taken place, unless its bytes were never stored: they are, before
    it."""
    if job.unknown_since is not None or not may_repeat(job.rules.money, job.first_attempt_at, job.real):
        return "read_back"
    return "recover" if job.tries.lost else "act"


def _take(cursor: Any, jobs: list[Job]) -> None:
    if not jobs:
        return
    cursor.execute(_TAKE, [lease(), lease(), [job.id for job in jobs], [job.mode != "read_back" for job in jobs]])
    found = {row[0]: row[1:] for row in cursor.fetchall()}
    for job in jobs:
        job.state = "SENDING"
        job.fence, job.attempts, job.first_attempt_at, job.unknown_since = found[job.id]


def renew(jobs: Sequence[Job]) -> None:
    """Keep the leases of acts that are under way, or may be; one that was taken over stays taken over."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE automations_delivery d SET lease_until = clock_timestamp() + %s * interval '1 second',
                due_at = onward_now() + %s * interval '1 second'
            FROM unnest(%s::bigint[], %s::int[]) AS u(id, fence)
            WHERE d.id = u.id AND d.fence = u.fence AND d.state = 'SENDING'
            """,
            [lease(), lease(), [job.id for job in jobs], [job.fence for job in jobs]],
        )
