"""Workers as an operator starts them, each host a process group with its own environment (and a network of its own, `network.py`)."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]


def environment(url: str) -> dict[str, str]:
    """What tells a process which database and settings are meant."""
    return {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.isolation.settings", "ONWARD_DEBUG": "1"}


def work_beside(url: str) -> None:
    """Let this process read and write the database of the hosts, by the product's own code."""
    os.environ |= environment(url)
    import django

    django.setup()


class Host:
    """One `manage.py <command>`, or `python -m <module>`, and all its children. `enter` stands before it (`ip netns exec …`)."""

    def __init__(
        self,
        url: str,
        command: Sequence[str] = ("work", "--processes", "2"),
        *,
        enter: Sequence[str] = (),
        module: Sequence[str] = (),
        memory: int | None = None,
        **variables: str,
    ) -> None:
        own = {
            "PYTHONPATH": str(ROOT),
            "ONWARD_EGRESS_ALLOW": "127.0.0.0/8,10.99.0.0/16",
            "ONWARD_LOG": "warning",
        }
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `destroy`
        self._process = subprocess.Popen(
            [*enter, sys.executable, *(["-m", *module] if module else [str(ROOT / "manage.py"), *command])],
            cwd=ROOT,
            env=os.environ | environment(url) | own | variables,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
            preexec_fn=(lambda: _limit(memory)) if memory else None,
        )

    def said(self, most: int = 3000) -> str:
        """The last of what it wrote."""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - most))
        return self._said.read().decode(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """The first process and all below it that live."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            found = [first, *first.children(recursive=True)]
            return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]
        return []

    def alive(self) -> bool:
        """Whether its first process lives."""
        return self._process.poll() is None

    def end(self) -> int:
        """Ask for an orderly end; answers the exit code."""
        self._process.terminate()
        return self._process.wait(120)

    def destroy(self) -> None:
        """Leave nothing behind, whatever happened before."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def until(ready: Callable[[], Any], seconds: float, hosts: Sequence[Host] = (), pause: float = 0.05) -> Any:
    """What `ready` answers as soon as it is true. Asserts that it comes to that; `seconds` is patience, not a goal."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        for host in hosts:
            assert host.alive(), f"a host ended by itself: {host.said()}"
        assert time.monotonic() < end, f"not within {seconds} s: " + "\n".join(host.said() for host in hosts)
        time.sleep(pause)  # polling what other processes do
    return found
