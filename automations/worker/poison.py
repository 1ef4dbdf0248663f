"""Poison: which runs and events a worker holds, written where its death cannot undo it (DESIGN 5.2).

Each worker process keeps a second connection with a session lock on its own row of `worker`. When the process dies the lock is
gone; whoever finds it free marks the runs that were held. Marked runs are claimed one at a time, and at the third death fail. Events
stand in the row by their negative ids: a marked one is routed alone, its runs are not walked with it, and at the tenth death it is
given up.

Until a dead worker's row is found, nobody else walks what stands in it: else the next worker would take up the same batch, and die of
it in its turn, before anybody has marked what the first one held. A worker that hangs is made to die (`stuck`).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import uuid
from collections.abc import Sequence

import psycopg
from django.db import connection, transaction

from automations.worker.bell import CHANNEL

log = logging.getLogger(__name__)
LOCK_CLASS = 0x0_0DEAD  # advisory locks (class, worker id)
DEATHS = 3
# Routing does nothing but judge filters, so a death in it is mostly by chance, and who is given up starts nothing: a storm that killed
# workers all the time took three for a proof, against two innocent events of 14,000.
EVENT_DEATHS = 10
# Seconds of silence after which a worker's row keeps nobody from its runs any more: it is frozen, or its host is cut off.
FRESH = 10


class Poison(Exception):
    """What is written down for an event that killed its workers."""


class Holder:
    """This process's row of `worker` and the connection that keeps it."""

    def __init__(self, kind: str = "work") -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._kind = kind
        self._open()

    def _open(self) -> None:
        """A row of its own, and the lock on it before anybody else can see the row."""
        parameters = {key: value for key, value in connection.get_connection_params().items() if key not in _DJANGO}
        parameters["application_name"] = "onward-holder"
        self._connection = psycopg.connect(**parameters, autocommit=True)
        self._connection.execute("SET synchronous_commit = off")  # it need not survive a crash of the server itself
        with self._connection.transaction():
            row = self._connection.execute(
                "INSERT INTO automations_worker (name, kind, holding) VALUES (%s, %s, '{}') RETURNING id",
                [f"{self.name}:{uuid.uuid4().hex[:8]}", self._kind],
            ).fetchone()
            assert row is not None
            self.id = row[0]
            self._connection.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_CLASS, self.id])
        self._connection.execute(f"LISTEN {CHANNEL}")

    def reopen(self) -> None:
        """After the connection was lost, or the row was taken for that of a dead worker. The row of before goes: nobody has died."""
        self._connection.close()
        before = self.id
        self._open()
        self._connection.execute("DELETE FROM automations_worker WHERE id = %s", [before])

    def heard(self, seconds: float) -> bool:
        """Whether the bell rings within so many seconds; a lost connection is opened again and counts as a ring."""
        try:
            return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.OperationalError:
            self.reopen()
            return True

    def hold(self, ids: Sequence[int]) -> list[int]:
        """Say which runs are about to be walked; also the heartbeat. Answers those that another worker says to hold although they
        were free: it is dead, or has just put them down. Raises `psycopg.OperationalError` while there is no server."""
        for last in (False, True):
            try:
                found = self._write(ids)
                if found is not None:
                    return found
            except psycopg.OperationalError:
                if last:
                    raise
            self.reopen()
        return []

    def _write(self, ids: Sequence[int]) -> list[int] | None:
        row = self._connection.execute(_HOLD, {"ids": list(ids), "id": self.id, "fresh": FRESH}).fetchone()
        return None if row is None else list(row[0])

    def close(self) -> None:
        """End in order: the row goes with the process."""
        try:
            self._connection.execute("DELETE FROM automations_worker WHERE id = %s", [self.id])
        except psycopg.OperationalError:
            log.warning("the server is gone; the row of %s is left to the next reaper", self.name)
        self._connection.close()


# What Django adds for its own cursors. All else says how to reach the server, and how soon each side notes that the other is cut off.
_DJANGO = {"cursor_factory", "context", "prepare_threshold"}
_HOLD = """
UPDATE automations_worker SET holding = %(ids)s::bigint[], beat_at = clock_timestamp() WHERE id = %(id)s
RETURNING ARRAY(
    SELECT unnest(holding) FROM automations_worker o
    WHERE o.id <> %(id)s AND o.beat_at > clock_timestamp() - %(fresh)s * interval '1 second'
    INTERSECT SELECT unnest(%(ids)s::bigint[]))
"""
_holder: Holder | None = None


def start(kind: str = "work") -> Holder:
    """Open this process's holder; batches of a process without one are not tracked (a pass of the qcluster, a test)."""
    global _holder
    if _holder is None:
        _holder = Holder(kind)
    return _holder


def stop() -> None:
    """Close the holder, if any."""
    global _holder
    if _holder is not None:
        _holder.close()
        _holder = None


def hold(ids: Sequence[int]) -> frozenset[int]:
    """Before walking: write the ids down. Answers those that must be left alone until it is known what became of their holder."""
    return frozenset(_holder.hold(ids)) if _holder is not None else frozenset()


def hold_events(ids: Sequence[int]) -> frozenset[int]:
    """The same before routing, for events."""
    return frozenset(-id for id in hold([-id for id in ids]))


def noted() -> bool:
    """Whether the death of this process will be noted."""
    return _holder is not None


def out_of_memory() -> None:
    """Memory ran out in a batch: in a process of many threads nobody knows what else was hurt, so it ends at once where deaths are
    noted, and its runs become suspects (RELIABILITY 9)."""
    if _holder is not None:
        log.critical("out of memory; this worker ends, and each of its runs is walked alone")
        os.kill(os.getpid(), signal.SIGKILL)


def rest() -> None:
    """About to idle: hold nothing, and beat."""
    if _holder is not None:
        _holder.hold([])


def reap() -> int:
    """Find rows of dead workers, mark what they held, and fail what killed three. Answers how many dead were found."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM automations_worker WHERE pg_try_advisory_lock(%s, id::int)", [LOCK_CLASS])
        dead = [row[0] for row in cursor.fetchall()]
    try:
        if dead:
            _bury(dead)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_unlock(%s, id::int) FROM unnest(%s::bigint[]) AS u(id)", [LOCK_CLASS, dead]
            )
    return len(dead)


def _bury(dead: Sequence[int]) -> None:
    """Mark what these rows name, each run and each event once. A row names its worker's last batch, also when that was done and others
    have taken up runs of it since; so when all workers die at once (the server restarts, the host is lost) one run stands in several
    rows. And a death in company proves nothing against one run: it makes a suspect, which is then walked alone, and only deaths alone
    add up. Nor does the loss of a lock that went with the server: the worker may well live."""
    from automations.worker.advance import fail_bare

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ROWS, [list(dead)])
        rows = cursor.fetchall()
        held = sorted({id for ids, _ in rows for id in ids})
        if not held:
            return
        log.warning("%s workers died holding %s runs", len(rows), len(held))
        alone = [ids[0] for ids, died in rows if died and len(ids) == 1]
        cursor.execute(_MARK_RUNS, [alone, held])
        for run, lost in cursor.fetchall():
            if lost >= DEATHS:
                fail_bare(run, "poison", f"{DEATHS} workers died while they walked this run.")
        cursor.execute(_MARK_EVENTS, [[-id for id in alone], [-id for id in held]])


_ROWS = "DELETE FROM automations_worker WHERE id = ANY(%s) RETURNING holding, beat_at > pg_postmaster_start_time()"
_MARK = "lost = CASE WHEN {id} = ANY(%s) THEN lost + 1 ELSE greatest(lost, 1) END"
_MARK_RUNS = f"""
UPDATE automations_run SET {_MARK.format(id="id")} WHERE id IN
    (SELECT id FROM automations_run WHERE id = ANY(%s) AND due_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE) RETURNING id, lost
"""
_MARK_EVENTS = f"""
UPDATE automations_unrouted u SET {_MARK.format(id="u.event_id")} FROM automations_event e
WHERE e.id = ANY(%s) AND u.shard = e.shard AND u.event_id = e.id
"""
