"""Making deliveries: claim, render once, act with no transaction open, settle (DESIGN 5.3).

A few are under way at once, in threads; a delivery is claimed only when a thread is free for it, so that a worker
that dies leaves no more in doubt than it was at work on.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, connections, transaction

from automations.channels import smtp
from automations.engine.kinds import OutsideAction
from automations.engine.outcomes import Failed, Unknown
from automations.worker import delivery_claim
from automations.worker.jobs import Job, gone
from automations.worker.policy import in_doubt, is_settled
from automations.worker.retrying import is_surroundings, retrying
from automations.worker.settle import settle_acts, settle_stopped

log = logging.getLogger(__name__)

BATCH = 200
THREADS = 8
RENEW_SECONDS = 20.0
_TOGETHER = 0.01  # seconds that a result waits for others
_EMPTY = hashlib.sha256(b"").hexdigest()


def deliver_batch(limit: int = BATCH, kinds: Sequence[str] | None = None, threads: int | None = None) -> int:
    """Make, read back or set aside up to `limit` deliveries that are due, of these kinds (None: all). Answers how
    many it settled or tried; 0: nothing is due. With `threads` 1 they are made one after the other in this thread."""
    try:
        count = int(threads or getattr(settings, "ONWARD_DELIVERY_THREADS", None) or THREADS)
        return _in_turn(limit, kinds) if count == 1 else _Batch(limit, kinds, count).run()
    finally:
        smtp.close_all()


def _in_turn(limit: int, kinds: Sequence[str] | None) -> int:
    done, later = 0, set[int]()
    while done < limit:
        taken = take(1, kinds, passing_by=later)
        later.update(taken.later)
        if not (taken.jobs or taken.stopped or taken.later):
            break
        for job in taken.jobs:
            act(job)
        settle_acts(taken.jobs)
        done += len(taken.jobs) + taken.stopped
    return done


class Taken(NamedTuple):
    """The jobs that are to be done, how many were set aside, whether these must end before more is taken, and which were found that
    wait for routers."""

    jobs: list[Job]
    stopped: int
    last: bool
    later: list[int]


def take(
    limit: int, kinds: Sequence[str] | None, beside: bool = False, passing_by: Collection[int] = frozenset()
) -> Taken:
    """Claim up to `limit`, render and store what is new, and settle what must not be sent. `beside`: others are under way.
    `passing_by`: none of these."""
    claimed = retrying(lambda: delivery_claim.claim(limit, kinds, beside, passing_by))
    stopped = settle_stopped(claimed.stopped)
    if claimed.jobs:
        _complete(claimed.jobs)
        _prepare_bytes(claimed.jobs)
    return Taken(claimed.jobs, stopped, claimed.last, claimed.later)


class _Batch:
    """One batch over a pool of threads. Everything but the acts themselves is done by the calling thread."""

    def __init__(self, limit: int, kinds: Sequence[str] | None, threads: int) -> None:
        self.left, self.kinds, self.threads = limit, kinds, threads
        self.under_way: dict[Future[None], Job] = {}
        self.done = 0
        self.later: set[int] = set()

    def run(self) -> int:
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="deliver")
        try:
            while self._refill(pool) or self.under_way:
                self._settle(self._finished())
        finally:
            pool.shutdown(wait=True)
            # Only where a claim or renewal broke off: what was done meanwhile is known here alone.
            self._settle(list(self.under_way.values()))
        return self.done

    def _refill(self, pool: ThreadPoolExecutor) -> bool:
        """Take as many as threads are free, but not in trickles; whether anything was taken or set aside."""
        free = min(self.threads - len(self.under_way), self.left)
        if free <= 0 or (self.under_way and free < self.threads // 2):
            return False
        taken = take(free, self.kinds, bool(self.under_way), self.later)
        self.later.update(taken.later)
        self.left -= len(taken.jobs) + taken.stopped
        self.done += taken.stopped
        for job in taken.jobs:
            self.under_way[pool.submit(_in_thread, job)] = job
        if taken.last:
            self.left = 0
        return bool(taken.jobs or taken.stopped or taken.later)

    def _finished(self) -> list[Job]:
        """The jobs that came to an end, as soon as there is one; meanwhile the leases of all are renewed."""
        if not self.under_way:
            return []
        pause = min(RENEW_SECONDS, delivery_claim.lease() / 3)
        ended, _open = wait(self.under_way, timeout=pause, return_when=FIRST_COMPLETED)
        if not ended:
            retrying(lambda: delivery_claim.renew(list(self.under_way.values())))
        elif len(ended) < len(self.under_way):
            ended, _open = wait(self.under_way, timeout=_TOGETHER)  # quick ones settle together, in one transaction
        return [self.under_way.pop(future) for future in ended]

    def _settle(self, jobs: list[Job]) -> None:
        if jobs:
            settle_acts(jobs)
            self.done += len(jobs)


def _in_thread(job: Job) -> None:
    try:
        act(job)
    finally:
        if threading.current_thread() is not threading.main_thread():
            connections.close_all()  # one that an action opened here belongs to nobody else


def act(job: Job) -> None:
    """Do it, or ask what became of it; `job.outcome` says what it came to. Never raises."""
    try:
        job.outcome = _act(job)
        if job.outcome is None and job.mode != "read_back":
            job.outcome = Unknown("The action answered nothing.")
    except Exception as error:  # an adapter that raises has a defect; what it did before that, nobody can tell
        log.exception("delivery %s raised", job.id)
        job.outcome = None if job.mode == "read_back" else Unknown(f"{type(error).__name__}: {error}")


def _act(job: Job) -> Any:
    action = job.action
    if action is None:
        return None if job.mode == "read_back" else gone(job)
    if job.outcome is not None:
        return in_doubt(job.outcome, job.rules, job.tries)  # it could not be rendered
    if job.mode == "read_back":
        return action.find(job.envelope, job.key)
    if job.mode == "recover":
        found = action.find(job.envelope, job.key)
        if is_settled(found):
            return found
    return in_doubt(action.perform(job.envelope, job.key, job.body or b""), job.rules, job.tries)


def _complete(jobs: Iterable[Job]) -> None:
    """Let the actions add secrets and texts, in bulk, one call for each kind of action."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.action_key, []).append(job)
    for members in groups.values():
        action = members[0].action
        if action is not None:
            _complete_alike(action, members)


def _complete_alike(action: OutsideAction, members: Sequence[Job]) -> None:
    try:
        completed = action.complete([(job.workspace_id, job.envelope) for job in members])
        for job, envelope in zip(members, completed, strict=True):
            job.envelope = envelope
    except Exception as error:  # a defect of one kind of action must not stop the others; nothing was sent yet
        if is_surroundings(error):
            raise
        log.exception("deliveries of %s cannot be completed", action.key)
        for job in members:
            job.outcome = Failed("internal", f"{type(error).__name__}: {error}", temporary=True)


def _prepare_bytes(jobs: Sequence[Job]) -> None:
    """Bytes are made once and stored before the act; every later try hands over the same (INVARIANTS O3)."""
    acting = [job for job in jobs if job.mode != "read_back"]
    known = [job for job in acting if job.request_sha256]
    fresh = [job for job in acting if not job.request_sha256]
    for job in fresh:
        if job.outcome is None:
            _render(job)
    ready = [job for job in fresh if job.outcome is None]
    retrying(lambda: _exchange_bytes(known, ready))
    for job in known:
        if job.body is None:
            _render_again(job)


@transaction.atomic
def _exchange_bytes(known: Sequence[Job], fresh: Sequence[Job]) -> None:
    with connection.cursor() as cursor:
        if known:
            cursor.execute(_BODIES, [[job.id for job in known]])
            bodies = {delivery_id: bytes(body) for delivery_id, body in cursor.fetchall()}
            for job in known:
                job.body = bodies.get(job.id)
        if fresh:
            _store(cursor, fresh)


def _render(job: Job) -> None:
    action = job.action
    if action is None:
        return
    try:
        job.body = action.render(job.envelope, job.key)
        job.request_sha256 = hashlib.sha256(job.body).hexdigest()
    except (
        Exception
    ) as error:  # a template or an adapter may raise anything; nothing was sent, and it would raise again
        job.outcome = Failed(getattr(error, "code", "not_rendered"), f"It could not be rendered: {error}")


def _render_again(job: Job) -> None:
    """No bytes are kept where there were none to keep. If they were dropped with old content, they must come out
    alike."""
    before = job.request_sha256
    if before == _EMPTY:
        job.body = b""
        return
    _render(job)
    if job.outcome is None and job.request_sha256 != before:
        job.outcome = Failed("bytes_lost", "What was to be sent is not kept any more and cannot be made again.")
    job.request_sha256 = before


def _store(cursor: Any, jobs: Sequence[Job]) -> None:
    """Store bytes and hash of those that are still ours. One taken over meanwhile must not be acted on."""
    cursor.execute(
        _HASHES, [[job.id for job in jobs], [job.fence for job in jobs], [job.request_sha256 for job in jobs]]
    )
    ours = {row[0] for row in cursor.fetchall()}
    for job in jobs:
        if job.id not in ours:
            job.outcome = Failed("taken_over", "Another worker took this delivery over.", temporary=True)
    bodies = [job for job in jobs if job.id in ours and job.body]
    if bodies:
        cursor.execute(
            _KEEP, [[job.id for job in bodies], [job.workspace_id for job in bodies], [job.body for job in bodies]]
        )


_BODIES = "SELECT delivery_id, body FROM automations_delivery_body WHERE delivery_id = ANY(%s)"
_HASHES = """
UPDATE automations_delivery d SET request_sha256 = u.sha FROM unnest(%s::bigint[], %s::int[], %s::text[]) AS u(id,
fence, sha) WHERE d.id = u.id AND d.fence = u.fence AND d.state = 'SENDING' RETURNING d.id
"""
_KEEP = """
INSERT INTO automations_delivery_body (delivery_id, workspace_id, body, recorded_at)
SELECT id, workspace, body, clock_timestamp() FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[]) AS u(id, workspace,
body)
"""
