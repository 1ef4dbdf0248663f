"""Several hosts on one database: their clocks are wrong, they all see to the schedules, they are asked to end, their logs find no
room (RELIABILITY 8, 10, 11, 12)."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from accounts.clock import set_clock
from accounts.models import Customer, Task
from automations.doctor.run import examine
from automations.models import Automation, Delivery, DeliveryAttempt, Event, Run
from automations.worker import run
from tests.chaos import without
from tests.chaos.fleet import MANAGE, ROOT, Host, environment, workers
from tests.chaos.peers import Receiver
from tests.chaos.storm import remains
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, live

pytestmark = pytest.mark.django_db(transaction=True)
JUMPS = (120, 0, -120, 0)  # seconds by which a clock is off, one after the other
LOOKS = 0.05  # seconds, as in `site`
SECONDS = 120  # until something is held to have come to a stop, on the busiest machine
CALLS = """
steps:
  - {id: before, type: action, action: send_webhook, url: "RECEIVER", body: {number: "{{trigger.number}}"}}
  - {id: rest, type: delay, duration: 2s}
  - {id: after, type: action, action: send_webhook, url: "RECEIVER", body: {number: "{{trigger.number}}"}}
"""


@contextmanager
def up(*hosts: Host) -> Iterator[None]:
    try:
        yield
    except AssertionError:
        print("\n".join(host.said() for host in hosts))
        raise
    finally:
        for host in hosts:
            host.destroy()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(random.Random(1)) as receiver:
        yield receiver


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"it did not happen in time: {remains()}"
        time.sleep(0.1)


def begin(receiver: Receiver, runs: int) -> Automation:
    automation = live(make_workspace(), CALLS.replace("RECEIVER", receiver.url))
    customers = [make_customer(automation.workspace) for _ in range(10)]
    for number in range(runs):
        happen(customers[number % 10], payload={"number": number})
    return automation


def finished(automation: Automation) -> bool:
    runs = Run.objects.filter(automation=automation)
    return not Event.objects.filter(routed=None).exists() and not runs.filter(ended_at=None).exists()


def ring() -> None:
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY onward")


@pytest.mark.parametrize("taken_away", ["", "database_time"])
def test_leases_and_timers_follow_the_clock_of_the_database(
    database_url: str, receiver: Receiver, taken_away: str
) -> None:
    """Two hosts, one two minutes ahead and one two minutes behind. With leases by the hosts' clocks the one that is ahead steals what
    the other does; that one's is right then, since one that is behind would find nothing due to begin with."""
    automation = begin(receiver, 40)
    clocks = ("120", "0" if taken_away else "-120")
    hosts = [workers(database_url, 1, CHAOS_CLOCK=clock, CHAOS_WITHOUT=taken_away) for clock in clocks]
    with up(*hosts):
        until(lambda: more(automation) if taken_away else finished(automation))
    assert bool(stolen()) == bool(taken_away)
    if not taken_away:
        judge_calls(automation, receiver)


class Clock:
    """The clock of one host, which is set while its processes look at it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    def jump(self, seconds: float) -> None:
        """At once for all of them: they never find half a number."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)

    @property
    def variables(self) -> dict[str, str]:
        return {"CHAOS_CLOCK_FILE": str(self._file)}


@pytest.mark.parametrize("taken_away", ["", "database_time"])
def test_leases_and_timers_stand_when_the_clocks_of_hosts_jump(
    database_url: str, receiver: Receiver, tmp_path: Path, taken_away: str
) -> None:
    """Two hosts at work: whenever the receiver has got some more calls, the clock of one goes two minutes ahead, right again, two
    minutes back, right again; the other's stands where the first one's will stand next. There is work until each has been had."""
    automation = begin(receiver, 40)
    clocks = [Clock(tmp_path / name) for name in ("one", "other")]
    calls = [0]  # how many there were at each turn

    def done() -> bool:
        if receiver.record.acts.total() > calls[-1] + 2:
            calls.append(receiver.record.acts.total())
            for number, clock in enumerate(clocks):
                clock.jump(JUMPS[(len(calls) + number) % len(JUMPS)])
        if taken_away:
            return more(automation)
        if finished(automation) and len(calls) <= len(JUMPS):
            more(automation)
        return finished(automation)

    hosts = [workers(database_url, 1, CHAOS_WITHOUT=taken_away, **clock.variables) for clock in clocks]
    with up(*hosts):
        until(done)
    assert bool(stolen()) == bool(taken_away)
    if not taken_away:
        assert len(calls) > len(JUMPS)
        judge_calls(automation, receiver)


def test_a_clock_jumps_under_a_process_that_looks_at_it(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    look = "import time, datetime; print(time.time(), datetime.datetime.now(datetime.UTC).timestamp(), flush=True)"
    code = f"import sys\nfor _ in sys.stdin:\n time.sleep({2 * LOOKS})\n {look}".replace(
        "import sys", "import sys, time"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, env=environment("", **clock.variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (0, 120, -120, 0):
            clock.jump(seconds)
            print(file=process.stdin, flush=True)
            shown = [float(text) - time.time() for text in process.stdout.readline().split()]
            assert [round(off / 100) * 100 for off in shown] == [round(seconds / 100) * 100] * 2


def more(automation: Automation) -> bool:
    """Work goes on until one host is seen to steal what the other does."""
    happen(make_customer(automation.workspace), payload={"number": 0})
    return bool(stolen())


def stolen() -> int:
    return DeliveryAttempt.objects.filter(outcome="lost").count()


def judge_calls(automation: Automation, receiver: Receiver) -> None:
    """Each call once, and none before its time, as the receiver saw it."""
    runs = Run.objects.filter(automation=automation)
    assert set(runs.values_list("status", flat=True)) == {"COMPLETED"}
    assert set(receiver.record.acts.values()) == {1}
    moments: dict[int, list[float]] = {}
    for key, owner in Delivery.objects.order_by("run_id", "visit").values_list("key", "run_id"):
        moments.setdefault(owner, []).extend(receiver.record.moments[key])
    assert all(len(found) == 2 for found in moments.values())
    assert min(b - a for found in moments.values() for a, b in pairwise(found)) >= 2.0
    assert [finding.as_json() for finding in examine(at_rest=True)] == []


@contextmanager
def schedulers(taken_away: str) -> Iterator[None]:
    """Three workers, forked from this process as `work` forks its children."""
    connections.close_all()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_schedule, args=[taken_away]) for _ in range(3)]
    for child in children:
        child.start()
    try:
        until(lambda: working() == 3)
        yield
        assert [child.exitcode for child in children] == [None] * 3
    finally:
        for child in children:
            child.kill()
            child.join()


def _schedule(taken_away: str) -> None:
    os.environ["CHAOS_WITHOUT"] = taken_away
    without.take_away()
    run._child(False, multiprocessing.get_context("fork").RawValue("b", 0))


@pytest.mark.parametrize("taken_away", ["", "one_scheduler"])
def test_three_schedulers_fire_each_schedule_and_each_timer_once(settings: Any, taken_away: str) -> None:
    """`CHAOS_TIMERS=5000` is the long form."""
    settings.ONWARD_ALLOW_CLOCK = True
    timers, minutes = int(os.environ.get("CHAOS_TIMERS") or 60), 4
    workspace = make_workspace()
    note = "{id: note, type: action, action: create_task, message: Fired}]"
    clocked = [live(workspace, f"trigger: {{type: schedule, cron: '* * * * *'}}\nsteps: [{note}") for _ in range(15)]
    timed = live(workspace, f"steps: [{{type: delay, duration: 45s}}, {note}")
    customer = make_customer(workspace)
    for _ in range(timers):
        happen(customer)
    with schedulers(taken_away):
        until(lambda: Run.objects.filter(automation=timed).count() == timers)
        for minute in range(1, minutes + 1):
            set_clock("+1m")
            ring()
            until(lambda: Run.objects.filter(automation__in=clocked).count() >= 15 * minute)  # noqa: B023  # used at once
        until(lambda: not Run.objects.filter(ended_at=None).exists())
    fires = Counter(Run.objects.filter(automation__in=clocked).values_list("automation_id", flat=True))
    moments = Event.objects.filter(name="schedule").values_list("only_automation", "occurred_at")
    if taken_away:
        assert len(set(moments)) < sum(fires.values())
        return
    assert len(fires) == 15
    assert set(fires.values()) <= {minutes, minutes + 1, minutes + 2}  # real minutes may have turned meanwhile
    assert len(set(moments)) == sum(fires.values())
    tasks = Counter(Task.objects.filter(message="Fired").values_list("run_id", flat=True))
    assert set(tasks.values()) == {1}
    assert len(tasks) == sum(fires.values()) + timers
    assert [finding.as_json() for finding in examine(at_rest=True)] == []


def working() -> int:
    """How many workers hold a row of their own, which they do before they look at schedules."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM automations_worker")
        return int(cursor.fetchone()[0])


def test_workers_that_are_asked_to_end_leave_nothing_held(database_url: str, receiver: Receiver) -> None:
    """As at a deploy: no lease, no lock, no row of theirs is left, and nothing is in doubt."""
    automation = begin(receiver, 80)
    host = workers(database_url)
    with up(host):
        until(lambda: receiver.record.acts.total() >= 20)
        assert host.end() == 0
    assert Delivery.objects.filter(state="SENDING").count() == 0
    assert working() == 0
    assert not finished(automation)  # it was in the middle
    later = workers(database_url)
    with up(later):
        until(lambda: finished(automation))
    assert stolen() == 0
    judge_calls(automation, receiver)


def test_a_worker_whose_log_finds_no_room_goes_on(database_url: str) -> None:
    workspace = make_workspace()
    automation = live(
        workspace,
        'steps: [{type: action, action: send_webhook, url: "http://127.0.0.1:9/", errorHandling: {retries: 0}}]',
    )
    customer: Customer = make_customer(workspace)
    for _ in range(5):
        happen(customer)
    variables = environment(database_url, ONWARD_LOG="debug")
    with open("/dev/full", "w") as full:  # answers each write as a disk does that has no room
        done = subprocess.run(
            [*MANAGE, "work", "--until-idle"], cwd=ROOT, env=variables, stderr=full, check=False, timeout=SECONDS
        )
    assert done.returncode in (0, 120)  # 120: Python could not empty its own buffer at its end
    assert finished(automation)
    assert Run.objects.filter(automation=automation, status="FAILED").count() == 5
