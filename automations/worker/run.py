"""Running workers from the command line: the clock first, then one process or several under a watching parent."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

from django.db import connections

from accounts.clock import evaluation_now, set_clock
from automations.services import sweeps
from automations.worker import poison
from automations.worker.loop import Job, Loop, drain, next_due, one_pass

log = logging.getLogger(__name__)
_RESTART_AFTER = 0.5  # seconds before a dead child is replaced


def work(
    *,
    processes: int = 1,
    until_idle: bool = False,
    once: Job | None = None,
    now: str | None = None,
    through: str | None = None,
) -> int | None:
    """What `manage.py work` does; answers how many things were done when it comes to an end by itself."""
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


def walk_through(target: str) -> int:
    """Go to `target` from due time to due time, draining at each, so that every timer fires at its own moment."""
    end = _moment(target)
    done = drain()
    while (due := _next()) is not None and due < end:
        if due > evaluation_now():
            set_clock(due.isoformat())
        done += drain()
    if end > evaluation_now():
        set_clock(end.isoformat())
    return done + drain()


def _next() -> datetime | None:
    moments = [moment for moment in (next_due(), sweeps.next_due()) if moment is not None]
    return min(moments) if moments else None


def _moment(target: str) -> datetime:
    if target.startswith("+"):
        from automations.engine.durations import parse_duration

        return parse_duration(target[1:]).after(evaluation_now(), _utc())
    moment = datetime.fromisoformat(target)
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


def _child(until_idle: bool) -> None:
    connections.close_all()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C goes to the parent, which ends us in order
    if until_idle:
        _idle()
    else:
        _forever()


class _Parent:
    """Watches the children: one that died is replaced, all end with the parent."""

    def __init__(self, processes: int, until_idle: bool) -> None:
        self._until_idle = until_idle
        self._context = multiprocessing.get_context("fork")
        self._ending = False
        self._children = [self._start() for _ in range(processes)]

    def _start(self) -> Any:
        child = self._context.Process(target=_child, args=(self._until_idle,), name="onward-worker")
        child.start()
        return child

    def end(self, *_: object) -> None:
        """SIGTERM or Ctrl-C: ask the children to finish."""
        self._ending = True
        for child in self._children:
            if child.pid and child.is_alive():
                os.kill(child.pid, signal.SIGTERM)

    def watch(self) -> None:
        """Until all children have ended, in order or because the work is done."""
        while self._revive():
            multiprocessing.connection.wait([child.sentinel for child in self._children if child.is_alive()], timeout=1)

    def _revive(self) -> bool:
        """Start those again that died, all of them at once included; whether any is alive then."""
        for place, child in enumerate(self._children):
            if not child.is_alive() and child.exitcode != 0 and not self._ending:
                log.error("worker %s ended with %s and is started again", child.pid, child.exitcode)
                time.sleep(_RESTART_AFTER)
                self._children[place] = self._start()
        return any(child.is_alive() for child in self._children)


def _parent(processes: int, until_idle: bool) -> int | None:
    connections.close_all()
    parent = _Parent(processes, until_idle)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, parent.end)
    parent.watch()
    return None
