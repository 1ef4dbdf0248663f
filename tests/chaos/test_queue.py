"""Whichever process of the queue is killed, wherever: the queue goes on, and ends when it is asked to (RELIABILITY 1, 2, 10).

Found by a storm: django-q2 replaces the dead one alone, and what that one held of the queues' locks nobody gets any more.
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
from django.conf import settings
from django.core.management import CommandError
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import Failure, OrmQ
from django_q.tasks import async_task

from config import cluster
from config.cluster import Flag
from tests.chaos import fleet
from tests.chaos.fleet import Host

SECONDS = 60
HERE = "tests.chaos.test_queue"


def until(holds: Callable[[], Any], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


class Queue:
    """A queue of its own processes on the test's database, by the roles of its processes."""

    def __init__(self, host: Host) -> None:
        self.host, self.sentinel, self.four = host, 0, list[psutil.Process]()
        self.whole()

    def whole(self) -> None:
        """Wait for a set that was not seen before."""
        until(self._another)

    def _another(self) -> bool:
        with suppress(psutil.NoSuchProcess):
            for sentinel in psutil.Process(self.host.parent.pid).children():
                four = sorted(sentinel.children(), key=lambda process: (process.create_time(), process.pid))
                if sentinel.pid != self.sentinel and len(four) == 4:
                    self.sentinel, self.four = sentinel.pid, four
                    return True
        return False

    def kill(self, *places: int) -> None:
        """By the order in which they were started: two workers, monitor, pusher."""
        for place in places:
            with suppress(psutil.NoSuchProcess):  # went with the one before
                self.four[place].kill()

    def works(self, seconds: float = SECONDS) -> None:
        """A task that is put now is done and off the list."""
        async_task("automations.tasks.sweep_pass")
        until(lambda: not OrmQ.objects.exists(), seconds)
        assert not Failure.objects.exists()

    def ends(self, seconds: float = 30) -> int:
        """Asked to; answers the code."""
        self.host.parent.terminate()
        return self.host.parent.wait(seconds)


@contextmanager
def queue(url: str, **more: str) -> Iterator[Queue]:
    host = fleet.queue(url, ONWARD_QUEUE_KEY=settings.ONWARD_QUEUE_KEY, **more)
    try:
        yield Queue(host)
    finally:
        host.destroy()


def die_with_the_timer() -> NoReturn:
    """A task that is killed while it holds the lock for which the sentinel waits, as one may be that hands over its result."""
    frame = inspect.currentframe()
    while frame and "timer" not in frame.f_locals:
        frame = frame.f_back
    assert frame
    frame.f_locals["timer"].get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")


def hear_nothing() -> None:
    """A task that nothing but its end ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(600)


def note(path: str, seconds: float) -> None:
    """A task that says who began it, takes a while the first time, and says that it is done."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(Path(path).read_text().split()) == 1:
        time.sleep(seconds)
    with Path(path).open("a") as file:
        file.write("done\n")


def test_whoever_dies_the_queue_goes_on_and_ends_when_asked(database_url: str) -> None:
    with queue(database_url) as found:
        found.works()
        found.kill(0, 1)  # one of two idle workers waits with the lock in its hand, the other one for the lock
        found.whole()
        found.kill(2)  # the monitor waits with the lock of the results in its hand
        found.whole()
        async_task(f"{HERE}.die_with_the_timer")
        found.whole()
        OrmQ.objects.all().delete()
        psutil.Process(found.sentinel).kill()
        found.whole()
        found.works()
        found.kill(0, 1)
        assert found.ends() == 0


def test_without_new_queues_it_is_deaf_and_does_not_end(database_url: str) -> None:
    with queue(database_url, CHAOS_WITHOUT="whole_queue") as found:
        found.works()
        found.kill(0, 1)
        async_task("automations.tasks.sweep_pass")
        until(lambda: OrmQ.objects.filter(lock__gt=timezone.now()).exists())  # taken from the broker
        with pytest.raises(subprocess.TimeoutExpired):
            found.ends(3)
        assert OrmQ.objects.exists()


def test_without_an_alarm_a_sentinel_waits_for_the_lock_of_the_dead(database_url: str) -> None:
    with queue(database_url, CHAOS_WITHOUT="alarm") as found:
        async_task(f"{HERE}.die_with_the_timer")
        until(lambda: not all(alive(process) for process in found.four))
        with pytest.raises(AssertionError, match="waited too long"):
            until(lambda: not alive(psutil.Process(found.sentinel)), 2)


def test_the_task_of_the_dead_comes_back_and_the_one_beside_it_is_finished(database_url: str, tmp_path: Path) -> None:
    dead, beside = tmp_path / "dead", tmp_path / "beside"
    with queue(database_url) as found:
        held = async_task(f"{HERE}.note", str(dead), 600)
        async_task(f"{HERE}.note", str(beside), 1.5)
        until(lambda: dead.exists() and dead.read_text() and beside.exists() and beside.read_text())
        psutil.Process(int(dead.read_text())).kill()
        found.whole()
        assert beside.read_text().split()[1:] == ["done"]
        assert held in {row.task_id() for row in OrmQ.objects.all()}
        OrmQ.objects.update(lock=timezone.now())  # as the time of the lock will
        until(lambda: "done" in dead.read_text())

        sentinel = psutil.Process(found.sentinel)
        async_task(
            f"{HERE}.hear_nothing", timeout=1
        )  # past its time it is ended by the sentinel, and nobody else with it
        until(lambda: sum(alive(process) for process in found.four) == 3)
        with pytest.raises(AssertionError, match="waited too long"):
            until(lambda: not alive(sentinel), 1.5)


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentinel that hears nothing, in the end."""
    monkeypatch.setattr(cluster, "LONGEST_STOP", 0.3)
    asked = Flag()
    sentinel = cluster.original.get_mp_context().Process(target=time.sleep, args=(600,))
    sentinel.start()
    asked.set()
    cluster._wait(sentinel, asked)
    assert sentinel.exitcode == -signal.SIGKILL


class Deadly:
    """A broker over which the first sentinel is killed, and the second one stumbles."""

    seen: Path

    def __init__(self, **_: object) -> None:
        if not self.seen.exists():
            self.seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError("no broker")


@pytest.fixture
def handlers() -> Iterator[None]:
    kept = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in kept:
        signal.signal(number, handler)


def test_one_that_cannot_start_says_so_and_one_that_is_killed_at_its_start_is_started_again(
    monkeypatch: pytest.MonkeyPatch, handlers: None, tmp_path: Path
) -> None:
    monkeypatch.setattr(Conf, "BROKER_CLASS", f"{HERE}.Deadly")
    monkeypatch.setattr(Deadly, "seen", tmp_path / "seen", raising=False)
    with pytest.raises(CommandError, match="does not start: exit code 1"):
        cluster.keep()
    assert Deadly.seen.exists()


def test_a_flag_is_seen_by_other_processes_and_needs_no_lock() -> None:
    flag = Flag()
    assert not flag.wait(0.01)
    child = cluster.original.get_mp_context().Process(target=flag.set)
    child.start()
    child.join()
    assert flag.wait(0.01)
