"""What a dead worker held is walked by nobody until it is marked, and a worker that hangs dies (DESIGN 5.2, poison; RELIABILITY 26)."""

from __future__ import annotations

import multiprocessing
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections

from automations import tasks
from automations.engine.run_state import RunState
from automations.models import Run, Worker
from automations.worker import advance, claim, poison, stuck
from automations.worker.poison import Holder
from automations.worker.route import route_batch
from tests.factories import make_customer, make_workspace
from tests.isolation.hosts import until
from tests.worker.living import happen, live

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 5


@pytest.fixture(autouse=True)
def holder() -> Iterator[Holder]:
    yield poison.start()
    poison.stop()


@pytest.fixture
def due() -> list[int]:
    """Runs that are due."""
    automation = live(make_workspace(), "steps:\n- {type: action, action: create_task, message: x}\n")
    for _ in range(COUNT):
        happen(make_customer(automation.workspace))
    while route_batch():
        pass
    claim.due_workspaces.forget()
    return list(Run.objects.filter(automation=automation).order_by("pk").values_list("pk", flat=True))


def dies(ids: list[int]) -> None:
    """A worker writes down what it holds and is gone, with its locks, before anybody has looked."""
    other = Holder()
    other.hold(ids)
    other._connection.close()


def states() -> list[tuple[str, int]]:
    return list(Run.objects.order_by("pk").values_list("status", "lost"))


def test_the_next_worker_does_not_take_up_what_the_last_one_died_of(due: list[int]) -> None:
    dies(due[:2])
    assert advance._batch(lambda: claim.claim(500)) == COUNT - 2
    assert [status for status, _ in states()] == ["RUNNING"] * 2 + ["COMPLETED"] * (COUNT - 2)
    until(lambda: poison.reap() or [lost for _, lost in states()][:2] == [1, 1], 10)
    while advance.advance_batch():
        pass
    assert states() == [("COMPLETED", 0)] * COUNT


def test_without_that_they_would_be_walked_unmarked(due: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    write = Holder._write
    monkeypatch.setattr(Holder, "_write", lambda self, ids: None if write(self, ids) is None else [])
    dies(due[:2])
    assert advance._batch(lambda: claim.claim(500)) == COUNT
    assert {status for status, _ in states()} == {"COMPLETED"}


def test_one_death_marks_once_however_many_look(due: list[int]) -> None:
    dies(due)
    for _ in range(3):  # each would have died of it as well
        assert advance._batch(lambda: claim.claim(500)) == 0
    until(lambda: not poison.reap() and Worker.objects.count() == 1, 10)
    assert {lost for _, lost in states()} == {1}


def test_a_worker_that_has_been_silent_for_long_keeps_nobody_from_its_runs(due: list[int], holder: Holder) -> None:
    other = Holder()  # frozen, say: its session lives, so it is never found dead
    other.hold(due)
    Worker.objects.filter(pk=other.id).update(beat_at="2026-01-01T00:00:00Z")
    assert holder.hold(due) == []
    other.hold(due)
    assert sorted(holder.hold(due)) == due
    other.close()


def test_a_worker_looks_for_the_dead_before_it_claims(due: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    from automations.worker import loop

    seen: list[str] = []
    worker = loop.Loop(deliver=False)

    def note(name: str) -> int:
        seen.append(name)
        if name == "advance":
            worker.stop()
        return 0

    monkeypatch.setattr(loop, "route_batch", lambda: note("route"))
    monkeypatch.setattr(loop, "advance_batch", lambda: note("advance"))
    monkeypatch.setattr(loop, "settle_memory", lambda after: None)
    monkeypatch.setattr(poison, "reap", lambda: note("reap"))
    worker.run()
    assert seen[0] == "reap"
    assert "advance" in seen


def test_a_whole_batch_of_suspects_is_through_in_a_few_turns(due: list[int]) -> None:
    Run.objects.update(lost=1)
    turns = 0
    while set(states()) != {("COMPLETED", 0)}:
        advance._Suspects.last = 0.0
        advance.advance_batch()
        turns += 1
        assert turns <= COUNT
    assert turns < COUNT  # more than one in a turn, each alone


def _in_child(work: Callable[[], Any], limit: float, tracked: bool) -> int:
    """Run `work` under the watch in a process of its own; its exit code."""
    connections.close_all()

    def child() -> None:
        from django.conf import settings

        settings.ONWARD_STUCK_SECONDS = limit
        poison._holder = poison._holder if tracked else None
        with stuck.stuck_ends():
            work()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "it hung"
    return process.exitcode


def hang() -> None:
    time.sleep(5)


def grind() -> None:
    re.match(r"(a+)+$", "a" * 40 + "b")


def test_a_worker_that_hangs_is_ended(holder: Holder) -> None:
    assert _in_child(hang, 0.2, tracked=True) == -signal.SIGALRM
    assert _in_child(grind, 0.2, tracked=True) == -signal.SIGALRM


def test_one_whose_death_would_not_be_noted_is_left_alone() -> None:
    assert _in_child(lambda: time.sleep(0.3), 0.1, tracked=False) == 0


def test_whoever_speaks_to_the_database_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    armed: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: armed.append(seconds))
    with stuck.stuck_ends(), connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute("SELECT 1")
    assert armed == [stuck.SECONDS] * 7 + [0]  # at the start, before and after each statement; none at the end


def test_no_thread_beside_the_main_one_arms_it(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that did would each restore what the other had armed, and kill a process in which nobody walks any more."""
    armed: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: armed.append(seconds))

    def walk() -> None:
        with stuck.stuck_ends():
            assert poison.noted()

    beside = threading.Thread(target=walk)
    beside.start()
    beside.join()
    assert armed == []
    walk()
    assert armed == [stuck.SECONDS, 0]


def test_the_limit_lies_between_that_of_a_statement_and_that_of_an_idle_transaction() -> None:
    from config.database import SESSION_LIMITS

    limits = SESSION_LIMITS["worker"]
    assert limits["statement_timeout"] < stuck.SECONDS * 1000 < limits["idle_in_transaction_session_timeout"]


def test_the_alarm_of_a_queue_s_task_goes_on_afterwards() -> None:
    def handler(*_: Any) -> None:
        """As the queue has one."""

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        with stuck.stuck_ends():
            assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGALRM) is handler
        assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_pass_of_the_queue_notes_what_it_holds(due: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    poison.stop()
    seen: list[list[int]] = []
    walk = advance._walk

    def look(runs: list[RunState]) -> Any:
        seen.append(Worker.objects.get(kind="pass").holding)
        return walk(runs)

    monkeypatch.setattr(advance, "_walk", look)
    tasks.automation_pass()
    assert seen[0] == due
    assert not Worker.objects.exists()
