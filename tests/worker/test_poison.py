"""The worker's own row: found when it dies, made again when only its connection died, and never a reason to fail a run."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from django.db import OperationalError, connection

from automations.models import Run, Worker
from automations.worker import advance, claim, poison
from automations.worker.loop import Loop
from automations.worker.retrying import is_surroundings, is_transient
from automations.worker.route import route_batch
from config.database import CLIENT_ALIVE, SERVER_ALIVE
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, live, settle, the_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def holder():
    yield poison.start()
    poison.stop()


def cut(holder):
    """End the holder's connection from the server's side, as a restart does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'onward-holder'"
        )


def due_run():
    workspace = make_workspace()
    automation = live(workspace, "steps:\n- {type: action, action: create_task, message: x}\n")
    happen(make_customer(workspace))
    while route_batch():
        pass
    claim.due_workspaces.forget()
    return automation


def test_the_ids_that_are_about_to_be_walked_stand_in_the_row(holder):  # DESIGN 5.2, poison
    holder.hold([3, 4])
    assert Worker.objects.get(pk=holder.id).holding == [3, 4]
    poison.rest()
    assert Worker.objects.get(pk=holder.id).holding == []


def test_a_living_worker_is_never_reaped(holder):
    holder.hold([3])
    assert poison.reap() == 0
    assert Worker.objects.filter(pk=holder.id).exists()


def test_the_holder_s_connection_is_watched_like_any_other(
    holder,
):  # RELIABILITY 6: its lock falls when the host is cut off
    said = holder._connection.info.get_parameters()
    for name, value in CLIENT_ALIVE.items():
        assert int(said.get(name, 1)) == value  # libpq leaves out what is its own default
    for name, value in SERVER_ALIVE.items():
        assert f"-c {name}={value}" in said["options"]
    assert said["application_name"] == "onward-holder"


def test_a_lost_connection_is_opened_again_under_a_row_of_its_own(holder):  # RELIABILITY 4
    before = holder.id
    cut(holder)
    holder.hold([7])
    assert holder.id != before
    assert Worker.objects.get(pk=holder.id).holding == [7]


def test_a_row_that_was_taken_for_dead_is_replaced(holder):
    Worker.objects.all().delete()
    holder.hold([7])
    assert Worker.objects.get(pk=holder.id).holding == [7]


def test_no_run_fails_because_the_worker_lost_its_connection(holder):  # E: the server's fault is nobody's fault
    automation = due_run()
    cut(holder)
    assert advance.advance_batch() == 1
    assert the_run(automation).status == "COMPLETED"


def test_no_run_fails_because_the_server_is_out_of_something(monkeypatch):  # RELIABILITY 7
    automation = due_run()

    def full(ids):
        raise OperationalError("no space left") from psycopg.errors.DiskFull("no space left")

    monkeypatch.setattr(poison, "hold", full)
    with pytest.raises(OperationalError):
        advance.advance_batch()
    monkeypatch.undo()
    assert the_run(automation).status == "RUNNING"
    settle()
    assert the_run(automation).status == "COMPLETED"


@pytest.mark.parametrize(
    ("error", "transient", "surroundings"),
    [
        (psycopg.errors.DeadlockDetected(), True, True),
        (psycopg.errors.AdminShutdown(), True, True),
        (psycopg.errors.DiskFull(), False, True),
        (psycopg.errors.QueryCanceled(), False, True),
        (psycopg.errors.ReadOnlySqlTransaction(), False, True),
        (psycopg.errors.CheckViolation(), False, False),
        (psycopg.errors.NumericValueOutOfRange(), False, False),
        (ValueError("of a step"), False, False),
    ],
)
def test_errors_of_the_rows_are_told_from_those_of_the_server(error, transient, surroundings):
    assert (is_transient(error), is_surroundings(error)) == (transient, surroundings)


def test_the_bell_is_heard_and_a_cut_line_counts_as_a_ring(holder):
    assert not holder.heard(0.01)
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY onward")
    assert holder.heard(5)
    cut(holder)
    assert holder.heard(5)
    assert Worker.objects.filter(pk=holder.id).exists()


def test_the_loop_moves_what_becomes_due_and_stops_when_asked():  # DESIGN 5.4
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        automation = due_run()
        end = time.monotonic() + 10
        while time.monotonic() < end and not Run.objects.filter(automation=automation, status="COMPLETED").exists():
            time.sleep(0.02)
    finally:
        loop.stop()
        thread.join(timeout=15)
    assert not thread.is_alive()
    assert the_run(automation).status == "COMPLETED"
    assert not Worker.objects.exists()


def test_what_fails_in_one_place_does_not_keep_the_rest_waiting(monkeypatch):  # ERR-11
    from automations.worker import loop as loop_module

    automation = due_run()
    done = []

    def broken():
        raise ValueError("a look that raises")

    monkeypatch.setattr(loop_module, "look_again", broken)
    worker = Loop()
    worker.stopping.wait = lambda seconds=None: False  # type: ignore[method-assign]  # no pause between the turns
    worker._all([loop_module.Chore(lambda: done.append(1) or 1, 0.0)])
    assert the_run(automation).status == "COMPLETED"
    assert done == [1]
