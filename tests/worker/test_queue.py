"""The routers' queue: each event comes into it when it is recorded and leaves it once, when it was routed (E1, E4; DESIGN 5.1)."""

from __future__ import annotations

import os
from importlib import import_module

import pytest
from django.db import connection, transaction

from automations.models import SHARDS, Evaluation, Event, Routed, Run, Unrouted
from automations.services.bulk import FEW
from automations.services.entry import trigger_manually
from automations.services.events import NewEvent, record_events, shard_of
from automations.worker import queue, route
from automations.worker.locks import hold_shards
from automations.worker.planner import without
from automations.worker.route import route_batch
from tests.factories import actor_of, make_customer, unique
from tests.worker.living import happen
from tests.worker.racing import Racer
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db
MANY = FEW + 5
SIGN = "type: event, event: sign"


@pytest.fixture
def customer(workspace):
    found = make_customer(workspace)
    route_all()  # of its being made
    return found


def record(customer, count):
    """So many events of a customer in one call; answers their ids."""
    make = [
        NewEvent(customer.workspace_id, "sign", "api", unique("event"), {"customer": customer.pk}, {})
        for _ in range(count)
    ]
    return [item.id for item in record_events(make)]


def waiting():
    """Shard and event of all that wait."""
    return set(Unrouted.objects.values_list("shard", "event_id"))


@pytest.mark.parametrize("count", [1, MANY])
def test_an_event_waits_in_its_shard_from_its_recording_to_its_routing(customer, count):
    ids = record(customer, count)
    shard = shard_of(customer.workspace_id, customer.pk)
    assert waiting() == {(shard, id) for id in ids}
    assert not Routed.objects.filter(event__in=ids).exists()
    assert route_all() == count
    assert waiting() == set()
    assert Routed.objects.filter(event__in=ids, workspace_id=customer.workspace_id).count() == count
    assert all(event.routed_at >= event.recorded_at for event in Event.objects.filter(pk__in=ids))


@pytest.mark.parametrize("count", [1, MANY])
def test_a_duplicate_does_not_come_into_the_queue_again(customer, count):  # TRG-50
    event = NewEvent(customer.workspace_id, "sign", "api", "once", {"customer": customer.pk}, {})
    [first] = record_events([event])
    route_all()
    others = record(customer, count - 1) if count > 1 else []
    record_events([event])
    assert {id for _, id in waiting()} == set(others)
    assert first.id not in others


def test_a_run_started_by_hand_leaves_nothing_in_the_queue(workspace, customer):  # TRG-03
    automation = on(workspace, "type: manual")
    run = trigger_manually(actor_of(workspace), automation, {"customer": customer.pk}, {})
    assert waiting() == set()
    assert Event.objects.get(pk=run.event_id).routed_at is not None


def test_an_event_of_a_merged_customer_leaves_the_shard_in_which_it_waited(workspace, customer):  # C-31
    """The survivor's events wait in another."""
    other = next(who for who in (make_customer(workspace) for _ in range(50)) if _shard(who) != _shard(customer))
    route_all()
    [event] = record(customer, 1)
    with connection.cursor() as cursor:
        cursor.execute("update accounts_customer set merged_into_id = %s where id = %s", [other.pk, customer.pk])
    assert route_all() == 1
    assert waiting() == set()
    assert Event.objects.get(pk=event).routed_at is not None


def _shard(customer):
    return shard_of(customer.workspace_id, customer.pk)


def test_an_event_that_cannot_be_routed_leaves_the_queue_alone(
    workspace, customer, monkeypatch
):  # one bad event, not a shard
    on(workspace, SIGN)
    bad, *good = record(customer, 4)
    entering = route.take_places

    def fail(entries):
        if any(item.run.event_id == bad for item in entries.new):
            raise ValueError("no")
        return entering(entries)

    monkeypatch.setattr(route, "take_places", fail)
    route_all()
    assert waiting() == set()
    assert Evaluation.objects.get(event_id=bad).decisions == [{"error": "ValueError: no"}]
    assert set(Run.objects.values_list("event_id", flat=True)) == set(good)


def test_an_event_is_never_written_again(customer):
    """Where it lies, and which transaction wrote it, stay: a mark on it would write an entry of each index anew (PERFORMANCE)."""
    [event] = record(customer, 1)

    def place():
        with connection.cursor() as cursor:
            cursor.execute("select ctid::text, xmin::text from automations_event where id = %s", [event])
            return cursor.fetchone()

    before = place()
    route_all()
    assert place() == before


class TestLeaving:
    def test_what_is_not_in_the_queue_cannot_leave_it(self, customer):
        """Two routers of one event: the second one's work may not stay."""
        shard = _shard(customer)
        here, gone = record(customer, 2)
        queue.leave([(shard, gone)])
        with pytest.raises(RuntimeError, match="1 of 2 events"), transaction.atomic():
            queue.leave([(shard, here), (shard, gone)])
        assert waiting() == {(shard, here)}
        assert not Routed.objects.filter(event=here).exists()

    def test_another_shard_is_another_place(self, customer):
        [event] = record(customer, 1)
        with pytest.raises(RuntimeError), transaction.atomic():
            queue.leave([((_shard(customer) + 1) % SHARDS, event)])
        assert {id for _, id in waiting()} == {event}


@pytest.mark.django_db(transaction=True)
def test_a_router_that_is_overtaken_starts_no_run(workspace, customer, monkeypatch):
    """It read the event, and the event left the queue some other way before it was done."""
    automation = on(workspace, SIGN)
    [event] = record(customer, 1)
    entering = route.take_places

    def overtaken(entries):
        made = entering(entries)
        Racer(lambda: queue.leave([(_shard(customer), event)])).result()
        return made

    monkeypatch.setattr(route, "take_places", overtaken)
    assert route_batch() == 0
    assert not runs(automation)
    assert waiting() == set()


@pytest.mark.django_db(transaction=True)
def test_two_routers_route_each_event_once(workspace):
    automation = on(workspace, SIGN)
    people = [make_customer(workspace) for _ in range(40)]
    events = {happen(who) for who in people}
    for racer in [Racer(route_all) for _ in range(4)]:
        racer.result(60)
    route_all()
    assert sorted(run.event_id for run in runs(automation)) == sorted(events)
    assert waiting() == set()
    assert Routed.objects.count() == Event.objects.count()


def test_a_batch_is_no_greater_where_the_first_shards_are_emptier_than_the_others(workspace, monkeypatch):
    """More shards are taken than would have been enough, and of each event that is left no younger one of its shard is routed."""
    monkeypatch.setattr(route, "ENOUGH_SHARDS", 1)
    monkeypatch.setattr(route, "MOST_EVENTS", 20)
    automation = on(workspace, SIGN)
    people = {}
    while len(people) < 10:
        who = make_customer(workspace)
        people.setdefault(_shard(who), who)
    route_all()
    emptiest = min(people, key=lambda shard: (shard - os.getpid() * 7) % SHARDS)  # where this router begins
    events = [happen(who) for turn in range(5) for shard, who in people.items() if turn == 0 or shard != emptiest]
    before = waiting()
    assert route_batch() == 20
    left = waiting()
    for shard in people:
        gone = [id for where, id in before - left if where == shard]
        assert max(gone, default=0) < min((id for where, id in left if where == shard), default=max(events) + 1)
    route_all()
    assert sorted(run.event_id for run in runs(automation)) == events


def test_a_batch_is_read_by_its_keys_whatever_waits(workspace):  # DESIGN 6, each hot index names its query
    """Where the planner takes the indexes for dear, as it does before the first ANALYZE, it reads the tables whole if left alone."""
    with connection.cursor() as cursor:
        columns = "workspace_id, name, source, key, body_sha256, subjects, origin, depth, occurred_at, shard"
        cursor.execute(
            f"""with recorded as (
                insert into automations_event ({columns})
                select %s, 'a', 'api', g::text, '', '{{}}', 'api', 0, now(), g %% 64 from generate_series(1, 5000) g
                returning id, recorded_at, workspace_id, shard
            ), queue as (insert into automations_unrouted select shard, id, workspace_id from recorded)
            insert into automations_event_content select id, recorded_at, workspace_id, '{{}}', '{{}}' from recorded""",
            [workspace.pk],
        )
        cursor.execute("set local random_page_cost = 1000")
        ids = f"{{{','.join(map(str, range(1, 501)))}}}"
        for statement, switches, parameters in (
            (route._OLDEST, route._SWITCHES, [list(range(16)), 31, 500]),
            (queue._LEAVE, queue._SWITCHES, [ids, ids]),
        ):
            without(cursor, switches, f"explain {statement}", parameters)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan" not in plan, plan
            cursor.execute(f"explain {statement}", parameters)
            assert "Seq Scan" in "\n".join(
                line for (line,) in cursor.fetchall()
            )  # else the switches are needed no more


def test_the_migration_keeps_what_waits_and_what_was_routed(customer):
    """Back and forth again, over the same events."""
    done = record(customer, 2)
    route_all()
    [open_] = record(customer, 1)
    migration = import_module("automations.migrations.0009_routing_queue")

    def state():
        return waiting(), dict(Routed.objects.values_list("event_id", "routed_at"))

    before = state()
    assert {id for _, id in before[0]} == {open_}
    assert set(done) <= set(before[1])
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        cursor.execute("alter table automations_event add column routed_at timestamptz")
        cursor.execute(migration.EMPTY)
        cursor.execute("truncate automations_unrouted, automations_routed")
        cursor.execute(migration.FILL)
    assert state() == before


def test_holding_a_shard_keeps_its_events_in_the_queue(customer):
    """As merging and erasing do (`services/ahead.py`)."""
    [event] = record(customer, 1)
    hold_shards([_shard(customer)])
    assert {id for _, id in waiting()} == {event}
