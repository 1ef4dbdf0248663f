"""The worker's loop: route, advance, second looks, deliver, schedules, sweeps, fold, until nothing is due; then listen (DESIGN 5.4)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from django.conf import settings
from django.db import Error, close_old_connections, connection, transaction

from accounts import provenance
from accounts.memory import settle_memory
from automations.services.inflight import follow_marks
from automations.services.sweeps import run_sweeps
from automations.worker import poison
from automations.worker.advance import advance_batch
from automations.worker.deliver import deliver_batch
from automations.worker.planner import switch
from automations.worker.plans import broken_versions
from automations.worker.retrying import is_transient
from automations.worker.route import MOST_EVENTS, route_batch
from automations.worker.schedules import find_lost_times, fire_schedules
from automations.worker.second_look import look_again
from automations.worker.strays import find_strays
from automations.worker.tally import fold_tallies

log = logging.getLogger(__name__)
Job = Literal["automation", "mail", "sweep"]
PASS_SECONDS = 200.0  # a pass ends before the next one begins; the rest follows there (CRN-09)
IDLE = 1.0  # seconds between two looks without a bell
_AFTERLOOK = 0.06  # a ring within 50 ms of another is swallowed, so the first look after work comes soon
# A batch costs some 15 ms before it looks at its second event. After one that was not full the next gathers for so many seconds; an event
# that comes to a worker at rest is routed at once.
GATHER = 0.02


@dataclass(slots=True)
class Chore:
    """Something the loop does about every `every` seconds, not in every turn."""

    work: Callable[[], int]
    every: float
    last: float = field(default=0.0)

    def run(self, force: bool = False) -> int:
        """Do it if its time has come; answers how much was done."""
        if not force and time.monotonic() - self.last < self.every:
            return 0
        self.last = time.monotonic()
        return self.work()


def advance_work() -> int:
    """One turn of everything that stays inside the database."""
    return route_batch() + advance_batch() + look_again()


def _chores() -> list[Chore]:
    return [
        Chore(fire_schedules, 0.5),
        Chore(find_lost_times, 60.0),
        Chore(find_strays, 60.0),
        Chore(follow_marks, 1.0),
        Chore(run_sweeps, 5.0),
        Chore(poison.reap, 1.0),
        Chore(fold_tallies, 3.0),
    ]


def drain(deliver: bool = True) -> int:
    """Everything due by the clock as it stands, until nothing is (`work --until-idle`). Answers how many things were done; nothing
    on a restored copy that nobody has confirmed."""
    if not provenance.may_work():
        return 0
    done = find_lost_times() + find_strays()
    while turn := _everything(deliver):
        done += turn
    return done


def _everything(deliver: bool) -> int:
    done = run_sweeps() + fire_schedules() + follow_marks() + poison.reap() + advance_work() + fold_tallies()
    return done + (deliver_batch() if deliver else 0)


def one_pass(job: Job = "automation", command: bool = False) -> int:
    """One pass of a job: bounded in time, correct on its own (CRN-01 to 09). `automation` routes, fires schedules and advances and
    sends nothing; `mail` delivers; `sweep` does what becomes true by time alone. A pass made by command is a point of the tick
    grid of its own."""
    if not provenance.may_work():
        return 0
    if job == "automation":
        find_lost_times()
        find_strays()
        if command:
            release_ticks()
    work = {"automation": _automation_turn, "mail": deliver_batch, "sweep": run_sweeps}[job]
    end = time.monotonic() + PASS_SECONDS
    done = 0
    while time.monotonic() < end and (turn := work()):
        done += turn
    return done


def _automation_turn() -> int:
    return fire_schedules() + follow_marks() + poison.reap() + advance_work() + fold_tallies()


def release_ticks() -> int:
    """Make runs that rest between two steps (`pacing: tick`) due now: the pass at hand is their point of the grid. They rest for
    one interval of the grid at most, so no timer beyond it is looked at; a run put to rest when the interval was set longer goes on
    at its own time. One statement: a run that is taken up and rests again meanwhile is not released twice."""
    with transaction.atomic(), connection.cursor() as cursor:
        switch(cursor, _SWITCHES, "off")  # the indexes, also before the first ANALYZE
        cursor.execute(_RELEASE, [settings.ONWARD_PASS_MINUTES])
        count = int(cursor.rowcount)
        switch(cursor, _SWITCHES, "on")
    return count


_SWITCHES = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort")
# By the index `run_due`, which gives them in this order, for each workspace a stretch of one interval. Runs that somebody holds are
# skipped, so nobody is waited for. They are found once and then looked up (`ANY`), whatever the statistics say.
_RELEASE = """
UPDATE automations_run SET due_at = onward_now() WHERE id = ANY (ARRAY(
    SELECT r.id FROM accounts_workspace w CROSS JOIN LATERAL (
        SELECT id FROM automations_run WHERE workspace_id = w.id AND due_at > onward_now()
            AND due_at <= onward_now() + make_interval(mins => %s) AND parked_on IS NULL
        ORDER BY due_at FOR NO KEY UPDATE SKIP LOCKED) r))
"""


def next_due() -> datetime | None:
    """The next moment at which something falls due by the clock: runs, deliveries, schedules (`work --through`)."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_DUE, [broken_versions()])
        return cursor.fetchone()[0]


_NEXT_DUE = """
SELECT least(
    (SELECT min(due_at) FROM accounts_workspace w CROSS JOIN LATERAL (SELECT due_at FROM automations_run r
        WHERE r.workspace_id = w.id AND due_at IS NOT NULL ORDER BY due_at LIMIT 1) d),
    (SELECT min(due_at) FROM accounts_workspace w CROSS JOIN LATERAL (SELECT due_at FROM automations_delivery r
        WHERE r.workspace_id = w.id AND due_at IS NOT NULL ORDER BY due_at LIMIT 1) d),
    (SELECT min(next_fire_at) FROM automations_automation WHERE state = 'ACTIVE' AND next_fire_at IS NOT NULL
        AND active_version_id <> ALL(%s)))
"""


class Loop:
    """A worker process for ever: one thread advances, one delivers (unless told not to), so that a slow receiver delays no run."""

    def __init__(self, deliver: bool = True) -> None:
        self.stopping = threading.Event()
        self._rung = threading.Event()  # something may be there to deliver
        work = self._deliveries if deliver else self.stopping.wait
        self._delivering = threading.Thread(target=work, name="deliveries", daemon=True)
        self._gathered = 0.0  # when the next batch of events may be taken, by the clock of this machine

    def stop(self) -> None:
        """Take nothing new; what is at hand is finished."""
        self.stopping.set()
        self._rung.set()

    def run(self) -> None:
        """Work until `stop`."""
        settle_memory(after=100_000)
        holder = poison.start()
        # Before anything is claimed: what the last worker died of must not be taken up like any other.
        self._turn(poison.reap)
        self._delivering.start()
        chores = _chores()
        try:
            while not self.stopping.is_set():
                while not self.stopping.is_set() and self._may_work() and self._all(chores):
                    self._rung.set()
                if not self.stopping.is_set():
                    self._turn(lambda: self._listen(holder))
        finally:
            self.stop()
            self._delivering.join(timeout=30)
            poison.stop()
            connection.close()

    def _may_work(self) -> bool:
        """False on a restored copy that nobody has confirmed, and while the database cannot be asked (RELIABILITY 36)."""
        return bool(self._turn(lambda: int(provenance.may_work())))

    def _all(self, chores: Sequence[Chore]) -> int:
        """Everything once, each on its own: what cannot be done in one place must not keep the rest waiting."""
        works = (self._route, advance_batch, look_again, *(chore.run for chore in chores))
        return sum(self._turn(work) for work in works)

    def left_to_gather(self) -> float:
        """Seconds until the next batch of events may be taken; 0 or less when it may be now."""
        return self._gathered - time.monotonic()

    def _route(self) -> int:
        if self.left_to_gather() > 0:
            return 0
        routed = route_batch()
        self._gathered = time.monotonic() + GATHER if 0 < routed < MOST_EVENTS else 0.0
        return routed

    def _turn(self, work: Callable[[], int]) -> int:
        """One turn; an error of the database is waited out, any other is logged, and the worker goes on."""
        try:
            return work()
        except Error as error:
            if not is_transient(error):
                log.exception("a turn failed")
        except Exception:  # a defect in one place must not stop everything else
            log.exception("a turn failed")
        close_old_connections()
        connection.close()
        provenance.look_again()
        self.stopping.wait(0.5)
        return 0

    def _listen(self, holder: poison.Holder) -> int:
        """Wait for the bell, a due time or a second, whichever comes first; without the ticker, for the bell alone."""
        poison.rest()
        if not self._may_work():
            self.stopping.wait(IDLE)
            return 0
        if (gathering := self.left_to_gather()) > 0:
            holder.heard(gathering)  # what else becomes due meanwhile rings
            self._rung.set()
            return 0
        if not settings.ONWARD_TICKER:
            while not self.stopping.is_set() and not holder.heard(IDLE):
                poison.rest()
            self._rung.set()
            return 0
        if holder.heard(_AFTERLOOK) or self.stopping.is_set() or self._all(()):
            return 0
        holder.heard(self._until_due())
        return 0

    def _until_due(self) -> float:
        due = self._turn_due()
        return min(IDLE, max(0.0, due)) if due is not None else IDLE

    def _turn_due(self) -> float | None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT extract(epoch FROM ({_NEXT_DUE}) - onward_now())", [broken_versions()])
            seconds = cursor.fetchone()[0]
        return float(seconds) if seconds is not None else None

    def _deliveries(self) -> None:
        while not self.stopping.is_set():
            if not (self._may_work() and self._turn(deliver_batch)):
                self._rung.wait(0.1 if settings.ONWARD_TICKER else None)
                self._rung.clear()
        connection.close()
