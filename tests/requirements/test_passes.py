"""Passes over due runs, as a scheduler or a person starts them: one test for each requirement CRN-01 to 11."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import Error, connection, transaction

from accounts.clock import evaluation_now, set_clock
from automations.models import Delivery, Run
from automations.worker.advance import advance_batch
from automations.worker.loop import Loop
from automations.worker.route import route_batch
from config.queue import schedules
from tests.api.outside import Outside
from tests.factories import make_customer, make_workspace
from tests.requirements.flows import PAUSE, TAG, TASK, a_pass, deliveries, enter, flow, mail, runs_of, started

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
ALONE = pytest.mark.django_db(transaction=True)  # several connections must see what was committed
TICK = "settings: {pacing: tick}\n"


@pytest.mark.parametrize("minutes", [5, 15])
def test_crn_01_every_five_minutes_unless_told_otherwise(settings: Any, minutes: int) -> None:  # CRN-01
    if minutes == 5:
        assert settings.ONWARD_PASS_MINUTES == 5
    assert schedules(minutes)["onward.pass"] == ("automations.tasks.automation_pass", f"*/{minutes} * * * *")


def test_crn_01_a_tick_comes_within_five_minutes(onward: Outside) -> None:  # CRN-01
    automation, _ = started(onward, flow(TAG, TASK, head=TICK))
    run = onward.execution(automation)
    due = datetime.fromisoformat(run["nextStepAt"])
    assert (run["stepsExecuted"], due.minute % 5, due.second) == (1, 0, 0)
    assert timedelta(0) < due - evaluation_now() <= timedelta(minutes=5)
    onward.pass_time("+5m")
    assert onward.tasks() == ["Look"]


def test_crn_02_only_due_running_runs_advance(onward: Outside) -> None:  # CRN-02
    due = onward.activate(flow("{id: d, type: delay, duration: 1h}", TASK, event="due"))
    future = onward.activate(flow(PAUSE, TASK, event="future"))
    done = onward.activate(flow(TAG, event="done"))
    waits = onward.activate(flow("{id: w, type: wait_until, event: reply, timeout: 3d}", TASK, event="waits"))
    gone = onward.activate(flow("{id: d, type: delay, duration: 1h}", TASK, event="gone"))
    for name in ("due", "future", "done", "waits", "gone"):
        enter(onward, name)
    onward.api.post(f"/executions/{onward.execution(gone)['id']}/cancel")
    others = [future, done, waits, gone]
    before = [onward.execution(name) for name in others]
    set_clock("+1h")
    a_pass()
    assert [onward.execution(name) for name in others] == before
    assert (onward.execution(due)["status"], onward.tasks()) == ("completed", ["Look"])


def test_crn_03_one_step_a_pass(onward: Outside) -> None:  # CRN-03
    onward.activate(flow(mail("one"), mail("two"), PAUSE, head=TICK))
    onward.emit("sign", onward.customer()["id"])
    counts = []
    for _ in range(4):
        a_pass()
        counts.append(len(deliveries(onward)))
    assert counts == [1, 2, 2, 2]


def due_runs(onward: Outside, count: int) -> str:
    """So many runs whose delay is over."""
    automation = onward.activate(flow(PAUSE, TASK))
    people = [make_customer(onward.workspace).public_id for _ in range(count)]
    onward.api.post("/events", {"events": [{"name": "sign", "customer": name} for name in people]})
    onward.work()
    set_clock("+2d")
    return automation


def at_once(*works: Any) -> None:
    """Start them at one moment, each on a connection of its own."""
    gate = threading.Barrier(len(works))

    def one(work: Any) -> None:
        gate.wait()
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        list(pool.map(one, works))


@ALONE
def test_crn_04_two_passes_at_once_advance_each_run_once(onward: Outside) -> None:  # CRN-04
    automation = due_runs(onward, 20)
    at_once(a_pass, a_pass)
    a_pass()
    assert {(row["status"], row["stepsExecuted"]) for row in runs_of(onward, automation).values()} == {("completed", 2)}
    assert len(onward.tasks()) == 20


def test_crn_05_a_wait_is_taken_up_when_it_is_over(onward: Outside) -> None:  # CRN-05
    automation, _ = started(onward, flow("{id: d, type: delay, duration: 2h}", TASK))
    set_clock("+1h55m")
    a_pass()
    assert onward.steps(automation) == []
    set_clock("+5m")
    a_pass()
    assert onward.steps(automation) == ["d", "task"]


def test_crn_06_a_wait_that_timed_out_moves_on(onward: Outside) -> None:  # CRN-06
    automation, _ = started(onward, flow("{id: w, type: wait_until, event: reply, timeout: 1d}", TASK))
    set_clock("+23h")
    a_pass()
    assert onward.execution(automation)["runStatus"] == "WAITING_FOR_EVENT"
    set_clock("+1h")
    a_pass()
    run = onward.execution(automation)
    assert (run["status"], run["steps"][0]["output"]["outcome"]) == ("completed", "timeout")


def _work_and_die(work: Callable[[], int], killer: psycopg.Connection[Any]) -> None:
    """A mail is queued, and the process is gone before the commit."""
    with transaction.atomic():
        assert work()
        assert Delivery.objects.count() == 1
        pid = connection.connection.info.backend_pid
        killer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        Delivery.objects.count()


@ALONE
@pytest.mark.parametrize("at_once", [True, False])
def test_crn_07_what_a_dead_worker_began_is_done_once(
    onward: Outside, database_url: str, at_once: bool
) -> None:  # CRN-07
    """Be it the router that starts the run, or the worker that has claimed it."""
    automation = onward.activate(flow(mail("m")))
    onward.emit("sign", onward.customer()["id"])
    if not at_once:
        route_batch(walking=False)
    with psycopg.connect(database_url, autocommit=True) as killer, pytest.raises(Error):
        _work_and_die(route_batch if at_once else advance_batch, killer)
    connection.close()
    assert Delivery.objects.count() == 0
    a_pass()
    assert (len(deliveries(onward)), onward.steps(automation)) == (1, ["m"])


@ALONE
def test_crn_08_the_command_twice_in_parallel(onward: Outside) -> None:  # CRN-08
    automation = due_runs(onward, 10)
    at_once(a_pass, a_pass)
    call_command("work", "--once", "--job", "automation")
    assert len(onward.tasks()) == 10
    assert {row["status"] for row in runs_of(onward, automation).values()} == {"completed"}


def test_crn_09_oldest_first_and_workspaces_in_turn(onward: Outside, monkeypatch: pytest.MonkeyPatch) -> None:  # CRN-09
    worlds = [onward, Outside.of(make_workspace())]
    for world in worlds:
        world.activate(flow("{id: d, type: delay, duration: 3h}", TASK))
    for _ in range(3):
        for world in worlds:
            enter(world)
        set_clock("+10m")
    set_clock("+4h")
    due = {run.pk: run.due_at for run in Run.objects.filter(ended_at__isnull=True)}
    order = []
    for _ in range(6):
        advance_batch(2)
        order += [run for run in Run.objects.filter(ended_at__isnull=False) if run.pk not in [one.pk for one in order]]
    assert len(order) == 6
    for world in worlds:
        mine = [due[run.pk] for run in order if run.workspace_id == world.workspace.pk]
        assert mine == sorted(mine)
    assert {run.workspace_id for run in order[:2]} == {world.workspace.pk for world in worlds}


@ALONE
def test_crn_10_immediate_runs_do_not_wait_for_a_pass(onward: Outside) -> None:  # CRN-10
    automation = onward.activate(flow(TAG, "{id: n, type: condition, if: '1 == 1'}", TASK))
    loop = Loop()
    worker = threading.Thread(target=loop.run)
    worker.start()
    try:
        onward.emit("sign", onward.customer()["id"])
        end = datetime.now(UTC) + timedelta(seconds=5)
        while datetime.now(UTC) < end and not any(row["completedAt"] for row in onward.executions(automation)):
            threading.Event().wait(0.02)
    finally:
        loop.stop()
        worker.join(20)
    assert [(row["status"], row["stepsExecuted"]) for row in onward.executions(automation)] == [("completed", 3)]


def test_crn_11_times_are_utc_and_the_clock_can_be_moved(onward: Outside) -> None:  # CRN-11
    automation, _ = started(onward, flow("{id: d, type: delay, duration: 3d}", TASK))
    begun = onward.execution(automation)
    assert begun["nextStepAt"].endswith("Z")
    assert Run.objects.get().due_at.utcoffset() == timedelta(0)
    onward.pass_time("+2d23h")
    assert onward.execution(automation)["runStatus"] == "RUNNING"
    onward.pass_time("+1h")
    ended = onward.execution(automation)
    assert (ended["status"], ended["completedAt"] >= begun["nextStepAt"]) == ("completed", True)
