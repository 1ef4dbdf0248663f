"""django-q2's cluster, made to outlive the death of any of its processes (STACK 3, RELIABILITY 1).

Its processes share queues, and a lock of theirs dies with its holder: a worker waits for a task with the lock of the queue's reading
end in its hand, so one that is killed there leaves all others waiting for ever, its successor and the end of the cluster included. So
when one was killed, the whole set is given up, and another one starts with queues of its own. What was taken from the broker and not
done comes back by the time of its lock (`retry`), as after the fall of a host.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
import uuid
from multiprocessing import Process
from multiprocessing.sharedctypes import RawValue
from typing import Any, NoReturn

from django.core.management import CommandError
from django_q import cluster as original

from config.queue import TASK_SECONDS

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0  # between two looks for the dead
FINISH_SECONDS = 20.0  # for tasks at hand when a set is given up; a supervisor that stops us should have more patience
LONGEST_STOP = TASK_SECONDS + 10.0  # for a whole set that was asked to end: the longest task, and some
PAUSE_SECONDS = 0.5  # before the next set


class Flag:
    """What django-q2 asks of an event, without a lock that a killed process could leave behind."""

    def __init__(self) -> None:
        self._up = RawValue("b", 0)

    def set(self) -> None:
        """For good."""
        self._up.value = 1

    def is_set(self) -> bool:
        """In whichever process it was set."""
        return bool(self._up.value)

    def wait(self, seconds: float) -> bool:
        """Sleep so long, also when it is set meanwhile; answers whether it is."""
        time.sleep(seconds)
        return self.is_set()


class Sentinel(original.Sentinel):
    """Guards one set of processes. Ends with code 1, and they with it, when one of them was killed."""

    def __init__(self, *args: Any) -> None:
        self._family: list[Process] = []
        super().__init__(*args)

    def spawn_process(self, target: Any, *args: Any) -> Process:
        """Also noted here, since django-q2 forgets the dead while it stops."""
        process: Process = super().spawn_process(target, *args)
        self._family.append(process)
        return process

    def guard(self) -> None:
        """Until asked to end, and to that end. It may come to wait for a lock of the dead itself, so an alarm makes it look."""
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
        super().guard()

    def reincarnate(self, process: Process) -> None:
        """Replace one that ended by itself, or whose task took too long: that one is ended by us, in a task, where it holds no lock."""
        self._look()
        self._family.remove(process)
        super().reincarnate(process)

    def _look(self, *_: object) -> None:
        for process in self._family:
            if process.exitcode is not None and process.exitcode < 0:
                self._give_up(process.pid, signal.Signals(-process.exitcode).name)

    def _give_up(self, pid: int | None, by: str) -> NoReturn:
        """Let workers finish what they have at hand, and take nothing new; then leave without waiting for anything shared."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        log.error("process %s of the queue was ended by %s; all of them are given up", pid, by)
        self.pusher.kill()
        end = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < end and any(worker.is_alive() for worker in self.pool):
            for worker in self.pool:
                if worker.timer.get_obj().value <= 0:  # idle; read without the lock, which may be gone
                    worker.kill()
            time.sleep(0.1)
        for process in self._family:
            process.kill()
        os._exit(1)


def keep(once: bool = False) -> None:
    """Run a set until SIGTERM or Ctrl-C, and another one whenever it was given up or its sentinel killed. `once`: look at the queue
    once. Raises CommandError when a set cannot start."""
    asked = Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    while not asked.is_set():
        up = Flag()
        sentinel = original.get_mp_context().Process(target=Sentinel, args=(asked, up, uuid.uuid4()))
        sentinel.start()
        if once:
            asked.set()
        _wait(sentinel, asked)
        if not (asked.is_set() or up.is_set()) and (sentinel.exitcode or 0) > 0:  # by itself
            raise CommandError(f"The queue does not start: exit code {sentinel.exitcode}. Why stands above.")
        if not asked.is_set():
            log.error("the queue ended with exit code %s and starts again in %g s", sentinel.exitcode, PAUSE_SECONDS)
            asked.wait(PAUSE_SECONDS)


def _wait(sentinel: Process, asked: Flag) -> None:
    """Until it has ended; when it was asked to and does not, until it is killed, and its processes with it (`config.start`)."""
    end = math.inf
    while sentinel.is_alive():
        if asked.is_set():
            end = min(end, time.monotonic() + LONGEST_STOP)
        if time.monotonic() > end:
            log.error("the queue did not end within %g s and is killed", LONGEST_STOP)
            sentinel.kill()
        time.sleep(0.2)
