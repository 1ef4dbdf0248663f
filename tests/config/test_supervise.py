"""The parent: restarts the dead with back-off, ends everything on one signal, leaves no orphans."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from config.environment import CHECKOUT
from config.supervise import Child

PARENT = """
import json, os, sys
from config.supervise import Child, Parent
commands = json.loads(sys.argv[1])
children = [Child(f"child{n}", [sys.executable, "-c", *command], os.environ) for n, command in enumerate(commands)]
Parent(children, lambda line: print(line, flush=True)).run(lambda: True)
print("ended", flush=True)
"""
# Each notes its process id, one a line, in the file that it is given.
NOTE = """
import os, signal, sys, time
def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
"""
SLEEPER = NOTE + "note(); time.sleep(600)"
DEAF = NOTE + "signal.signal(signal.SIGTERM, signal.SIG_IGN); note(); time.sleep(600)"
FAILING = NOTE + "note(); sys.exit(3)"
CROWD = (
    NOTE
    + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
kept = bytearray(30_000_000)
for _ in range(12):
    if not os.fork():
        kept[::4096] = b"x" * len(kept[::4096])  # memory of its own takes a while to be given back
        break
note()
time.sleep(600)
"""
)
FORKING = NOTE + "os.fork(); note(); time.sleep(600)"


def start(folder: Path, *programs: str) -> subprocess.Popen[str]:
    """A parent of these programs."""
    commands = [[program, str(folder / f"pids{number}")] for number, program in enumerate(programs)]
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(commands)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )


def pids(folder: Path, child: int = 0) -> list[int]:
    path = folder / f"pids{child}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TestParent:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_one_signal_ends_every_child(self, tmp_path: Path, number: int) -> None:
        parent = start(tmp_path, SLEEPER, SLEEPER)
        until(lambda: bool(pids(tmp_path, 0) and pids(tmp_path, 1)))
        parent.send_signal(number)
        out, _ = parent.communicate(timeout=20)
        assert (parent.returncode, out) == (0, "Stopping.\nended\n")
        assert all(gone(pid) for pid in pids(tmp_path, 0) + pids(tmp_path, 1))

    def test_a_dead_child_is_started_again(self, tmp_path: Path) -> None:
        parent = start(tmp_path, SLEEPER)
        until(lambda: len(pids(tmp_path)) == 1)
        os.kill(pids(tmp_path)[0], signal.SIGKILL)
        until(lambda: len(pids(tmp_path)) == 2)
        parent.terminate()
        out, _ = parent.communicate(timeout=20)
        assert out.splitlines()[0] == "child0 ended (signal SIGKILL); starting it again in 1 s."

    def test_one_that_keeps_failing_is_started_less_and_less_often(self, tmp_path: Path) -> None:
        parent = start(tmp_path, FAILING)
        until(lambda: len(pids(tmp_path)) == 3)
        parent.terminate()
        out, _ = parent.communicate(timeout=20)
        assert out.splitlines()[:2] == [
            "child0 ended (exit code 3); starting it again in 1 s.",
            "child0 ended (exit code 3); starting it again in 2 s.",
        ]

    def test_what_a_dead_child_forked_ends_before_it_is_replaced(self, tmp_path: Path) -> None:
        parent = start(tmp_path, FORKING)
        until(lambda: len(pids(tmp_path)) == 2)
        first = pids(tmp_path)
        os.kill(psutil.Process(parent.pid).children()[0].pid, signal.SIGKILL)
        until(lambda: len(pids(tmp_path)) == 4)
        assert all(gone(pid) for pid in first)
        parent.terminate()
        parent.communicate(timeout=20)
        assert all(gone(pid) for pid in pids(tmp_path))

    def test_asking_twice_ends_one_that_does_not_listen(self, tmp_path: Path) -> None:
        parent = start(tmp_path, DEAF)
        until(lambda: bool(pids(tmp_path)))
        parent.terminate()
        assert parent.stdout
        assert parent.stdout.readline() == "Stopping.\n"
        parent.terminate()
        parent.communicate(timeout=10)
        assert gone(pids(tmp_path)[0])

    def test_nobody_of_a_killed_group_is_left_when_it_ends(self, tmp_path: Path) -> None:
        """They hold what they held until they are gone: the lock of the embedded server, which would stay up."""
        parent = start(tmp_path, CROWD)
        until(lambda: len(pids(tmp_path)) == 13)
        for _ in range(2):
            parent.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert parent.stdout
        for line in parent.stdout:
            if line == "ended\n":
                break
        left = [
            pid
            for pid in pids(tmp_path)
            if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        ]
        parent.communicate(timeout=20)
        assert left == []

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
    def test_kill_9_of_the_parent_leaves_no_orphans(self, tmp_path: Path) -> None:
        parent = start(tmp_path, SLEEPER, SLEEPER)
        until(lambda: bool(pids(tmp_path, 0) and pids(tmp_path, 1)))
        parent.kill()
        parent.communicate()
        until(lambda: all(gone(pid) for pid in pids(tmp_path, 0) + pids(tmp_path, 1)))

    def test_it_sleeps_while_nothing_happens(self, tmp_path: Path) -> None:
        parent = start(tmp_path, SLEEPER)
        until(lambda: bool(pids(tmp_path)))
        process = psutil.Process(parent.pid)
        until(lambda: process.status() == psutil.STATUS_SLEEPING)
        before = process.num_ctx_switches().voluntary
        time.sleep(1.0)  # the span that is measured
        assert process.num_ctx_switches().voluntary - before <= 2
        parent.terminate()
        parent.communicate(timeout=20)


class TestBackOff:
    def test_waits_double_up_to_half_a_minute(self) -> None:
        child = Child("x", [], {})
        child.started = time.monotonic()
        assert [child.plan_restart() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]

    def test_one_that_lived_long_starts_again_at_once(self) -> None:
        child = Child("x", [], {}, failures=5)
        child.started = time.monotonic() - 3600
        assert child.plan_restart() == 0
        assert child.failures == 0

    def test_a_child_that_was_never_started_takes_no_signal(self) -> None:
        child = Child("x", [], {})
        child.signal(signal.SIGTERM)
        assert child.ended() is None
