"""Workers that die at their start: started again more and more slowly, and with `--until-idle` given up (DESIGN 5.4, CONTRACTS 2)."""

from __future__ import annotations

import multiprocessing.connection
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from django.db import connections

from automations.worker import run
from automations.worker.run import _Parent
from config.environment import CHECKOUT
from tests.config.conftest import manage, plain_environment

NOBODY = {"ONWARD_DEBUG": "1", "DATABASE_URL": "postgres://nobody:none@127.0.0.1:9/none"}  # no server listens there


def test_until_idle_gives_up_with_a_clear_word() -> None:
    ended = manage("work", "--processes", "2", "--until-idle", **NOBODY)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "CommandError: 2 of 2 workers died 4 times in a row at their start, at last with exit code 1"
    )
    waits = re.findall(r"worker \d+ ended with exit code 1 and is started again in (\S+) s", ended.stderr)
    assert sorted(map(float, waits)) == [0.5, 0.5, 1, 1, 2, 2]
    assert ended.stderr.count("is not started again") == 2


def test_workers_without_an_end_are_tried_for_ever_but_more_and_more_slowly() -> None:
    command = [sys.executable, str(CHECKOUT / "manage.py"), "work", "--processes", "2"]
    process = subprocess.Popen(command, env=plain_environment(**NOBODY), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    waits: list[float] = []
    try:
        for line in process.stderr:
            waits += map(float, re.findall(r"started again in (\S+) s", line))
            if len(waits) == 8:
                break
        assert waits == [0.5, 0.5, 1, 1, 2, 2, 4, 4]
        assert process.poll() is None
        process.terminate()  # while it waits to start them again
        assert process.stderr.read() == ""  # none of them is started any more
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def parent(transactional_db: None) -> Iterator[_Parent]:
    """A parent of one worker that has begun."""
    connections.close_all()  # as `work` does before it forks
    found = _Parent(1, until_idle=False)
    try:
        begins(found)
        yield found
    finally:
        found.end()
        for child in found.children:
            child.join()


def dies(parent: _Parent, number: int) -> tuple[float, int]:
    """Kill the worker by a signal; the seconds until its next start, and the failures counted."""
    [child] = parent.children
    psutil.Process(child.pid).send_signal(number)
    child.join()
    [place] = parent._places
    assert not parent._over(place)  # it died while others were seen to: it is seen to in the next round
    assert parent._tend()
    assert place.again_at is not None
    return place.again_at - time.monotonic(), place.failures


def begins(parent: _Parent) -> None:
    """Watch until the worker of the only place has begun."""
    end = time.monotonic() + 20
    [place] = parent._places
    while place.again_at is not None or not place.began.value:
        assert time.monotonic() < end
        parent._tend()
        multiprocessing.connection.wait([place.child.sentinel], min(0.05, parent._pause()))


def test_one_that_somebody_kills_at_its_work_is_no_failure(parent: _Parent) -> None:
    for _ in range(2):
        wait, failures = dies(parent, signal.SIGKILL)
        assert (wait <= 0.5, failures) == (True, 0)
        begins(parent)


def test_one_that_lived_for_a_while_begins_anew(parent: _Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dies(parent, signal.SIGUSR1)[1] == 1
    begins(parent)
    wait, failures = dies(parent, signal.SIGUSR1)
    assert (wait > 0.5, failures) == (True, 2)
    begins(parent)
    monkeypatch.setattr(run, "STEADY", 0.0)  # as if it had lived long enough
    assert dies(parent, signal.SIGUSR1)[1] == 0


def test_the_wait_has_a_longest() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()

    class Ended:
        exitcode = process.returncode

    class Never:
        value = 0

    place = run._Place(Ended(), Never(), 0.0)
    assert [place.died(1000.0 * number) for number in range(8)] == [0.5, 1, 2, 4, 8, 10, 10, 10]
