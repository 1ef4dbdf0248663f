"""Real worker processes, `manage.py work --processes 2`, that are killed and frozen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
FROZEN_SECONDS = 3.0  # longer than the lease: others take over what a frozen worker holds


class Fleet:
    """One parent with two children on the database of `url`; started again whenever the whole of it was killed."""

    def __init__(self, url: str, mail: str, chance: random.Random) -> None:
        self._environment = os.environ | {
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "PYTHONPATH": str(ROOT),
            "ONWARD_SMTP_URL": mail,
            "ONWARD_EGRESS_ALLOW": "127.0.0.0/8",
            "ONWARD_LOG": "error",
            "ONWARD_DEBUG": "1",
        }
        self._chance = chance
        self._thaws: list[threading.Timer] = []
        self.counts: Counter[str] = Counter()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the fleet, in `destroy`
        self._parent = self._start()

    def said(self) -> str:
        """The last of what the workers wrote."""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 2000))
        return self._said.read().decode(errors="replace")

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(ROOT / "manage.py"), "work", "--processes", "2"]
        return subprocess.Popen(command, cwd=ROOT, env=self._environment, start_new_session=True, stderr=self._said)

    def children(self) -> list[psutil.Process]:
        """The workers that live now."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self._parent.pid).children()
            return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
        return []

    def strike(self, whole: bool) -> None:
        """SIGKILL: one child, which its parent replaces, or the whole group, which is started again."""
        children = self._wait_for_children()
        if whole:
            os.killpg(self._parent.pid, signal.SIGKILL)
            self._parent.wait()
            self._parent = self._start()
            self.counts["groups"] += 1
        else:
            self._signal(self._chance.choice(children), signal.SIGKILL)
            self.counts["children"] += 1

    def freeze(self) -> None:
        """SIGSTOP one child for longer than its leases, then let it go on as if nothing had been."""
        victim = self._chance.choice(self._wait_for_children())
        self._signal(victim, signal.SIGSTOP)
        thaw = threading.Timer(FROZEN_SECONDS, self._signal, [victim, signal.SIGCONT])
        thaw.start()
        self._thaws.append(thaw)
        self.counts["freezes"] += 1

    @staticmethod
    def _signal(process: psutil.Process, number: int) -> None:
        with suppress(psutil.NoSuchProcess):  # killed while it was frozen
            process.send_signal(number)

    def _wait_for_children(self) -> list[psutil.Process]:
        end = time.monotonic() + 30
        while not (found := self.children()):
            assert self._parent.poll() is None, f"the workers ended by themselves: {self.said()}"
            assert time.monotonic() < end, "no worker came up"
            time.sleep(0.02)
        return found

    def end(self) -> int:
        """Ask for an orderly end; answers the exit code."""
        for thaw in self._thaws:
            thaw.join()
        self._parent.terminate()
        return self._parent.wait(30)

    def destroy(self) -> None:
        """Leave nothing behind, whatever happened before."""
        with suppress(ProcessLookupError):
            os.killpg(self._parent.pid, signal.SIGKILL)
        self._parent.wait()
        self._said.close()
