"""django-q2's cluster as we start it: keeps its schedules, does its tasks, leaves no orphans (STACK 3)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from django.conf import settings
from django_q.models import Failure, OrmQ, Schedule
from django_q.tasks import async_task

from config.environment import CHECKOUT
from config.management.commands.qcluster import Command

SECONDS = 60


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def cluster(database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A cluster of its own process on the test's database, its pool at work."""
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "manage.py"), "qcluster"],
        env={**os.environ, "DATABASE_URL": database_url, "ONWARD_PASS_MINUTES": "30"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    until(
        lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 5
    )  # sentinel, pusher, monitor, two workers
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=SECONDS)


class TestCluster:
    def test_its_start_makes_the_schedules_those_of_the_settings(self, cluster: subprocess.Popen[bytes]) -> None:
        found = dict(Schedule.objects.filter(name__startswith="onward.").values_list("name", "cron"))
        assert found == {
            "onward.pass": "*/30 * * * *",
            "onward.sweep": "*/30 * * * *",
            "onward.mail": "* * * * *",
            "onward.housekeeping": "17 3 * * *",
        }

    def test_it_does_the_tasks_of_the_schedules(self, cluster: subprocess.Popen[bytes]) -> None:
        # CRN-01: a task that failed would be on record, one that was not understood would stay in the queue
        for name in ("automation_pass", "mail_pass", "sweep_pass", "housekeeping"):
            async_task(f"automations.tasks.{name}")
        assert OrmQ.objects.exists()
        until(lambda: not OrmQ.objects.exists())
        assert not Failure.objects.exists()

    def test_a_signal_ends_it_with_all_its_processes(self, cluster: subprocess.Popen[bytes]) -> None:
        family = psutil.Process(cluster.pid).children(recursive=True)
        cluster.terminate()
        assert cluster.wait(timeout=SECONDS) == 0
        until(lambda: all(gone(process) for process in family))

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
    def test_kill_9_leaves_no_orphans_that_go_on_with_tasks(self, cluster: subprocess.Popen[bytes]) -> None:
        family = psutil.Process(cluster.pid).children(recursive=True)
        cluster.send_signal(signal.SIGKILL)
        cluster.wait()
        until(lambda: all(gone(process) for process in family))


def test_a_connection_pool_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forks would share the pool's sockets (STACK 3)."""
    monkeypatch.setattr(settings, "DATABASES", {"default": {"OPTIONS": {"pool": True}}})
    with pytest.raises(SystemExit, match="remove `pool`"):
        Command().handle()
