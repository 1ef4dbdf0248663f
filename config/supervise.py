"""A parent that keeps a few processes running: starts them, waits for signals, restarts with back-off, ends them all.

It sleeps in one `select` until a child ends, a signal comes or a restart is due; it never polls.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType

STEADY_SECONDS = 60.0  # a child that lived that long starts again at once
LONGEST_WAIT = 30.0  # seconds between two starts of a child that keeps failing
STOP_SECONDS = 25.0  # for finishing what is at hand; then it is killed
DYING_SECONDS = 5.0  # for the killed to be gone; where nobody reaps orphans they stay for ever, and hold nothing
PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel signal this process when its parent is gone, so that kill -9 leaves no orphans (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


@dataclass
class Child:
    """One process to keep alive, in a process group of its own."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    next_start: float = 0.0

    def start(self) -> None:
        """Start it; `start_new_session` keeps the terminal's Ctrl-C for the parent alone."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command, env=dict(self.environment), start_new_session=True, preexec_fn=die_with_parent
        )

    def ended(self) -> int | None:
        """The exit code once it ended, negative for a signal; None while it runs or waits for its next start."""
        return None if self.process is None else self.process.poll()

    def plan_restart(self) -> float:
        """Note when to start it again; answers the seconds until then: 1, 2, 4, ... up to half a minute."""
        steady = time.monotonic() - self.started > STEADY_SECONDS
        self.failures = 0 if steady else self.failures + 1
        wait = 0.0 if steady else min(LONGEST_WAIT, 2.0 ** (self.failures - 1))
        self.process, self.next_start = None, time.monotonic() + wait
        return wait

    def signal(self, number: int, *, group: bool = False) -> bool:
        """Signal the process, or its whole group: a group may outlive its first process. Whether anybody was there; 0 only asks."""
        if self.process is None:
            return False
        try:
            (os.killpg if group else os.kill)(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True


@dataclass
class Parent:
    """Runs its children until it is asked to stop. `tell` prints a line for the person at the terminal."""

    children: list[Child]
    tell: Callable[[str], None]
    stopping: bool = False
    _read: int = field(init=False)
    _write: int = field(init=False)

    def __post_init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # wakes the select

    def run(self, ready: Callable[[], bool]) -> None:
        """Start all, call `ready` each quarter second until it answers True, then watch until asked to stop."""
        for child in self.children:
            child.start()
        up = False
        try:
            while not self.stopping:
                up = up or ready()
                self._mend()
                self._sleep(None if up else 0.25)
        finally:
            self._end()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:  # asked twice: no more patience
            for child in self.children:
                child.signal(signal.SIGKILL, group=True)
        self.stopping = True

    def _sleep(self, longest: float | None) -> None:
        """Until a signal arrives (each writes a byte), a restart is due, or `longest` seconds passed."""
        waits = [child.next_start - time.monotonic() for child in self.children if child.process is None]
        waits += [] if longest is None else [longest]
        select.select([self._read], [], [], max(0.0, min(waits)) if waits else None)
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            return

    def _mend(self) -> None:
        """Notice the dead and start those whose time has come."""
        for child in self.children:
            code = child.ended()
            if code is not None and not self.stopping:
                child.signal(signal.SIGKILL, group=True)
                wait = child.plan_restart()
                self.tell(f"{child.name} ended ({_reason(code)}); starting it again in {wait:.0f} s.")
            if child.process is None and child.next_start <= time.monotonic() and not self.stopping:
                child.start()

    def _end(self) -> None:
        """Ask every child to finish, wait, and kill the group of the one that does not."""
        self.tell("Stopping.")
        deadline = time.monotonic() + STOP_SECONDS
        for child in self.children:
            child.signal(signal.SIGTERM)
        while any(self._running(child) for child in self.children) and time.monotonic() < deadline:
            self._sleep(0.5)
        for child in self.children:
            child.signal(signal.SIGKILL, group=True)
            if child.process is not None:
                child.process.wait()
        # The killed hold their locks, that on the database's server among them, until they are gone.
        deadline = time.monotonic() + DYING_SECONDS
        while any(child.signal(0, group=True) for child in self.children) and time.monotonic() < deadline:
            time.sleep(0.02)
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    @staticmethod
    def _running(child: Child) -> bool:
        return child.process is not None and child.process.poll() is None


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
