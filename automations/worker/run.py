"""Running workers from the command line: the clock first, then one process or several under a watching parent."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connections

from accounts import provenance
from accounts.clock import evaluation_now, refuse_unless_movable, set_clock
from accounts.errors import Refusal
from automations.services import sweeps
from automations.worker import poison
from automations.worker.loop import Job, Loop, drain, next_due, one_pass

log = logging.getLogger(__name__)
_RESTART_AFTER = 0.5  # seconds before a dead child is replaced
LONGEST_WAIT = 10.0  # seconds, for one that keeps dying at its start
STEADY = 5.0  # seconds of life after which a death is not counted with the ones before
# Once it was at work: from outside, or by a run that harms its worker, which may do so three times (`poison`).
_KILLED = {signal.SIGKILL, signal.SIGALRM, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
MOST_FAILURES = 4  # after so many in a row `--until-idle` gives up


def work(
    *,
    processes: int = 1,
    until_idle: bool = False,
    once: Job | None = None,
    now: str | None = None,
    through: str | None = None,
) -> int | None:
    """What `manage.py work` does; answers how many things were done when it comes to an end by itself.

    Raises `WorkersFailed`, and Refusal when the clock cannot be moved as asked; then nothing was done.
    """
    if now is not None or through is not None:
        _refuse_while_held()
    if now is not None:
        set_clock(now)
    if through is not None:
        return walk_through(through)
    if once is not None:
        return one_pass(once, command=True)
    if now is not None and not until_idle:
        return None
    if processes > 1:
        return _parent(processes, until_idle)
    if until_idle:
        return _idle()
    _forever()
    return None


def _refuse_while_held() -> None:
    """Nothing would happen at the new time, and much be late for it afterwards."""
    if why := provenance.why_held():
        raise Refusal(
            "wrong_state", f"The clock is not moved while workers are held: {why} Say `manage.py restored --go` first."
        )


def walk_through(target: str) -> int:
    """Go to `target` from due time to due time, draining at each, so that every timer fires at its own moment."""
    refuse_unless_movable()
    end = _moment(target)
    done = moved = drain()
    while (due := _next()) is not None and due < end:
        if due > evaluation_now():
            set_clock(due.isoformat())
        elif not moved:
            break  # what is due cannot be done here, as where its version cannot be compiled
        moved = drain()
        done += moved
    if end > evaluation_now():
        set_clock(end.isoformat())
    return done + drain()


def _next() -> datetime | None:
    moments = [moment for moment in (next_due(), sweeps.next_due()) if moment is not None]
    return min(moments) if moments else None


def _moment(target: str) -> datetime:
    try:
        if target.startswith("+"):
            from automations.engine.durations import parse_duration

            return parse_duration(target[1:]).after(evaluation_now(), _utc())
        moment = datetime.fromisoformat(target)
    except (OverflowError, ValueError):
        raise Refusal("invalid", f"“{target[:60]}” is no time: write 2026-11-20T09:00:00Z or +3d.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc() -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo("UTC")


def _idle() -> int:
    poison.start()
    try:
        return drain()
    finally:
        poison.stop()


def _forever() -> None:
    loop = Loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    loop.run()


def _child(until_idle: bool, began: Any) -> None:
    connections.close_all()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C goes to the parent, which ends us in order
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the parent's handler, until there is a loop to stop
    poison.start()
    began.value = 1
    if until_idle:
        _idle()
    else:
        _forever()


class WorkersFailed(RuntimeError):
    """A worker died again and again before it could work, and nobody waits for the cause to be mended."""


@dataclass(slots=True)
class _Place:
    """One worker that should live. `failures` counts the deaths in a row that are its own fault, not of what killed it."""

    child: Any
    began: Any  # its `value` is set by the child when it has reached the server
    started: float
    failures: int = 0
    again_at: float | None = None  # when it is started again, monotonic; None while it lives, or ended for good
    given_up: bool = False

    def died(self, now: float) -> float:
        """Note a death; answers the seconds until the next start: half a second, and twice as long for each failure in a row."""
        killed = self.began.value and -self.child.exitcode in _KILLED
        failed = not killed and (now - self.started < STEADY or not self.began.value)
        self.failures = self.failures + 1 if failed else 0
        wait = min(LONGEST_WAIT, _RESTART_AFTER * 2.0 ** max(0, self.failures - 1))
        self.again_at = now + wait
        return wait


class _Parent:
    """Watches the children: one that died is replaced, all end with the parent."""

    def __init__(self, processes: int, until_idle: bool) -> None:
        self._until_idle = until_idle
        self._context = multiprocessing.get_context("fork")
        self._ending = False
        self._places = [_Place(*self._start(), time.monotonic()) for _ in range(processes)]

    @property
    def children(self) -> list[Any]:
        """The process of each place, alive or not."""
        return [place.child for place in self._places]

    def _start(self) -> tuple[Any, Any]:
        began = self._context.RawValue("b", 0)  # no lock that a killed child could leave behind
        child = self._context.Process(target=_child, args=(self._until_idle, began), name="onward-worker")
        child.start()
        return child, began

    def end(self, *_: object) -> None:
        """SIGTERM or Ctrl-C: ask the children to finish."""
        self._ending = True
        for child in self.children:
            if child.pid and child.is_alive():
                os.kill(child.pid, signal.SIGTERM)

    def watch(self) -> None:
        """Until all children have ended, in order or because the work is done. Raises `WorkersFailed` when it gave up on some."""
        while self._tend():
            multiprocessing.connection.wait(
                [child.sentinel for child in self.children if child.is_alive()], self._pause()
            )
        failed = [place.child.exitcode for place in self._places if place.given_up]
        if failed:
            raise WorkersFailed(
                f"{len(failed)} of {len(self._places)} workers died {MOST_FAILURES} times in a row at their start, at last with exit "
                f"code {failed[0]}, and were given up. What they said stands above."
            )

    def _tend(self) -> bool:
        """See to each place, so that one which keeps dying delays no other; whether there is anything left to watch."""
        for place in self._places:
            if place.again_at is not None:
                self._start_again(place)
            elif not (place.child.is_alive() or self._over(place)):
                self._mourn(place)
        return not all(self._over(place) for place in self._places)

    def _over(self, place: _Place) -> bool:
        """Whether nobody will live in this place again. One that has just died is not over before it has been seen to."""
        ended = place.child.exitcode is not None and place.again_at is None
        return ended and (place.given_up or self._ending or place.child.exitcode == 0)

    def _start_again(self, place: _Place) -> None:
        if self._ending:
            place.again_at = None
        elif place.again_at is not None and place.again_at <= time.monotonic():
            place.again_at, place.started = None, time.monotonic()
            place.child, place.began = self._start()

    def _mourn(self, place: _Place) -> None:
        pid, code = place.child.pid, place.child.exitcode
        wait = place.died(time.monotonic())
        if self._until_idle and place.failures >= MOST_FAILURES:
            place.again_at, place.given_up = None, True
            log.error("worker %s ended with exit code %s and is not started again", pid, code)
        else:
            log.error("worker %s ended with exit code %s and is started again in %g s", pid, code, wait)

    def _pause(self) -> float:
        """Seconds to wait at most: until the next start that is due, and never longer than a second."""
        now = time.monotonic()
        waits = [place.again_at - now for place in self._places if place.again_at is not None]
        return max(0.0, min([1.0, *waits]))


def _parent(processes: int, until_idle: bool) -> int | None:
    connections.close_all()
    parent = _Parent(processes, until_idle)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, parent.end)
    parent.watch()
    return None
