"""A worker that hangs in a run is made to die, so that the run is found like one that crashes its worker (DESIGN 5.2, poison)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection

from automations.worker import poison

# Seconds that a batch may go on without a word to the database. Longer than any statement is allowed to take, and shorter than the
# server waits before it gives the batch's locks, and with them the run that hangs, to the next worker (`config.database`).
SECONDS = 20.0


@contextmanager
def stuck_ends() -> Iterator[None]:
    """Within, a process that says nothing to the database for `SECONDS` is ended by the kernel, which ends also one that never comes
    back to the interpreter. Only where deaths are noted, and in the main thread, where workers walk: a process has one alarm."""
    if not poison.noted() or threading.current_thread() is not threading.main_thread():
        yield
        return
    limit = float(
        getattr(settings, "ONWARD_STUCK_SECONDS", SECONDS)
    )  # tests shorten it, by a setting without a variable

    def again(execute: Callable[..., Any], *statement: Any) -> Any:
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            return execute(*statement)
        finally:
            signal.setitimer(signal.ITIMER_REAL, limit)

    with _borrowed_alarm(), connection.execute_wrapper(again):
        signal.setitimer(signal.ITIMER_REAL, limit)
        yield


@contextmanager
def _borrowed_alarm() -> Iterator[None]:
    """SIGALRM ends the process within. The queue's workers use the one alarm too, for the time a task may take: it goes on after."""
    handler, rest, began = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0], time.monotonic()
    if handler is not signal.SIG_DFL:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if handler is not signal.SIG_DFL:
            signal.signal(signal.SIGALRM, handler)
        if rest:
            signal.setitimer(signal.ITIMER_REAL, max(0.01, rest - (time.monotonic() - began)))
