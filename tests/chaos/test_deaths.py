"""What the death of workers says about the runs that they held: found by a storm, in which one fall of all workers ended 80 runs as
poison (DESIGN 5.2; RELIABILITY 2, 4, 26)."""

from __future__ import annotations

import time

import pytest
from django.db import connection
from django.db.models.expressions import RawSQL

from automations.models import Run, Worker
from automations.worker import claim, poison
from automations.worker.poison import Holder
from automations.worker.route import route_batch
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, live

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def due() -> list[int]:
    automation = live(make_workspace(), "steps: [{type: action, action: create_task, message: x}]")
    for _ in range(3):
        happen(make_customer(automation.workspace))
    while route_batch():
        pass
    claim.due_workspaces.forget()
    return list(Run.objects.filter(automation=automation).order_by("pk").values_list("pk", flat=True))


def die(*held: list[int], before_the_server: bool = False) -> None:
    """So many workers are gone at one moment, and are found; or they have not been heard of since the server was started."""
    holders = [Holder() for _ in held]
    for holder, ids in zip(holders, held, strict=True):
        holder.hold(ids)
    if before_the_server:
        Worker.objects.update(beat_at=RawSQL("pg_postmaster_start_time() - interval '1 second'", ()))
    for holder in holders:
        holder._connection.close()
    with connection.cursor() as cursor:
        end = time.monotonic() + 30
        while time.monotonic() < end:  # the server notices a closed connection a moment later
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'onward-holder'")
            if cursor.fetchone()[0] == 0:
                break
    assert poison.reap() == len(held)
    assert not Worker.objects.exists()


def lost() -> list[int]:
    return list(Run.objects.order_by("pk").values_list("lost", flat=True))


def test_the_fall_of_all_workers_is_one_death_for_a_run(due: list[int]) -> None:
    """It stands in the rows of those as well who had it before and are done with it."""
    die(due, due[:2], due[:1])
    assert lost() == [1, 1, 1]
    assert set(Run.objects.values_list("status", flat=True)) == {"RUNNING"}


def test_deaths_in_company_make_a_suspect_and_no_more(due: list[int]) -> None:
    for _ in range(4):
        die(due)
    assert lost() == [1, 1, 1]


def test_deaths_alone_add_up(due: list[int]) -> None:
    die(due)
    die(due[:1])
    assert lost() == [2, 1, 1]
    die(due[:1])
    assert list(Run.objects.order_by("pk").values_list("status", flat=True)) == ["FAILED", "RUNNING", "RUNNING"]


def test_a_lock_that_went_with_the_server_is_no_death(due: list[int]) -> None:
    """All workers lose theirs when the server restarts, and who looks first takes the others for dead."""
    for _ in range(4):
        die(due[:1], before_the_server=True)
    assert lost() == [1, 0, 0]
    die(due[:1])
    assert lost() == [2, 0, 0]


def test_a_worker_that_lost_its_connection_has_not_died(due: list[int]) -> None:
    holder = Holder()
    holder.hold(due[:1])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'onward-holder'"
        )
    holder.hold([])
    assert Worker.objects.count() == 1
    poison.reap()
    assert lost() == [0, 0, 0]
    holder.close()
