"""Events that a process of an older release records have no place in the queue; workers find them (E4, E7; RELIABILITY 25)."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection, transaction

from automations.models import Routed, Run, Unrouted
from automations.worker import queue, strays
from automations.worker.locks import hold_shards
from automations.worker.loop import _chores, one_pass
from automations.worker.planner import without
from automations.worker.strays import find_strays
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, settle
from tests.worker.racing import Racer, until_somebody_waits
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _new_process(monkeypatch):
    monkeypatch.setattr(strays._Look, "after", None)


@pytest.fixture
def customer():
    found = make_customer(make_workspace())
    settle()
    return found


def of_an_older_release(customer):
    """An event as such a process records it, which knows no queue."""
    event = happen(customer)
    assert Unrouted.objects.filter(event_id=event).delete()[0] == 1
    return event


def waiting():
    return set(Unrouted.objects.values_list("event_id", flat=True))


def test_an_event_that_nobody_queued_starts_its_run_once(customer):  # E1
    automation = on(customer.workspace, "type: event, event: sign")
    event = of_an_older_release(customer)
    assert route_all() == 0
    assert find_strays() == 1
    assert waiting() == {event}
    assert (find_strays(), route_all(), find_strays()) == (0, 1, 0)
    assert [run.event_id for run in runs(automation)] == [event]


@pytest.mark.parametrize("work", [settle, one_pass])
def test_every_way_to_work_finds_them(customer, work):  # DESIGN 5.4: with a qcluster alone as well
    automation = on(customer.workspace, "type: event, event: sign")
    of_an_older_release(customer)
    work()
    assert len(runs(automation)) == 1


def test_a_worker_looks_once_a_minute():
    assert [chore.every for chore in _chores() if chore.work is find_strays] == [60.0]


def test_what_waits_and_what_was_routed_is_left_alone(customer):
    done = happen(customer)
    route_all()
    open_ = happen(customer)
    assert find_strays() == 0
    assert waiting() == {open_}
    assert Routed.objects.filter(event_id=done).count() == 1


def test_later_looks_are_about_what_came_since(customer, monkeypatch):
    monkeypatch.setattr(strays, "AGAIN", 1)
    old = of_an_older_release(customer)
    monkeypatch.setattr(strays._Look, "after", old)
    new = [of_an_older_release(customer) for _ in range(3)]
    assert find_strays() == 3
    assert waiting() == set(new)
    late = of_an_older_release(customer)
    assert find_strays() == 1
    assert waiting() == {*new, late}


def test_more_than_one_look_holds_are_found_one_after_the_other(customer, monkeypatch):
    monkeypatch.setattr(strays, "MOST", 2)
    monkeypatch.setattr(strays, "AGAIN", 0)
    events = {of_an_older_release(customer) for _ in range(5)}
    assert [find_strays() for _ in range(4)] == [2, 2, 1, 0]
    assert waiting() == events


def test_one_that_another_worker_found_and_routed_meanwhile_is_not_queued_again(customer):  # it would be routed twice
    event = of_an_older_release(customer)
    shard = _shard(event)
    with transaction.atomic():
        hold_shards([shard])
        racer = Racer(find_strays)
        until_somebody_waits(racer)
        Unrouted.objects.create(shard=shard, event_id=event, workspace_id=customer.workspace_id)
        queue.leave([(shard, event)])
    assert racer.result() == 0
    assert waiting() == set()


def _shard(event):
    with connection.cursor() as cursor:
        cursor.execute("select shard from automations_event where id = %s", [event])
        return cursor.fetchone()[0]


def test_the_look_reads_no_whole_table(customer):
    happen(customer)
    with transaction.atomic(), connection.cursor() as cursor:
        without(cursor, strays._SWITCHES, f"explain {strays._STRAYS}", [0, 10**9, 500])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan, plan


def test_the_migration_queues_what_the_one_before_missed_and_nothing_twice(customer):
    """Recorded between its reading and its end, or routed meanwhile by a router of the release before."""
    done = happen(customer)
    route_all()
    Unrouted.objects.create(shard=_shard(done), event_id=done, workspace_id=customer.workspace_id)
    event = of_an_older_release(customer)
    migration = import_module("automations.migrations.0010_routing_strays")
    with connection.cursor() as cursor:
        cursor.execute(migration.ENQUEUE)
        cursor.execute(migration.ONCE)
    assert waiting() == {event}
    assert route_all() == 1
    assert not Run.objects.exists()
