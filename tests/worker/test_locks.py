"""Advisory locks of routing: shared by routers, taken alone by those who change an automation (DESIGN 5.1)."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from automations.models import SHARDS, Unrouted
from automations.services.events import NewEvent, record_events, shard_of
from automations.worker import locks
from automations.worker.locks import hold_shards, lock_exclusively, lock_shared, take_shards
from automations.worker.planner import without
from automations.worker.route import route_batch
from tests.factories import make_workspace
from tests.worker.racing import Racer, until_somebody_waits

pytestmark = pytest.mark.django_db(transaction=True)


def held() -> int:
    """How many advisory locks this connection holds."""
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        return int(cursor.fetchone()[0])


def in_transaction(work):
    """Do something in a transaction of its own connection."""

    def run():
        with transaction.atomic():
            return work()

    return run


def record(workspace, customers):
    """One event for each of these customer ids."""
    events = [NewEvent(workspace.pk, "x", "api", f"c{id}", {"customer": id}, {}, {}) for id in customers]
    return record_events(events)


def test_routers_do_not_wait_for_each_other():
    with transaction.atomic():
        lock_shared([3, 1, 2])
        assert held() == 3
        Racer(in_transaction(lambda: lock_shared([1, 2, 3]))).result(5)


def test_who_changes_an_automation_waits_for_its_routers():
    with transaction.atomic():
        lock_shared([1])
        other = Racer(in_transaction(lambda: lock_exclusively([1])))
        until_somebody_waits(other)
    other.result()


def test_routers_wait_for_who_changes_the_automation():
    with transaction.atomic():
        lock_exclusively([1])
        other = Racer(in_transaction(lambda: lock_shared([1, 2])))
        until_somebody_waits(other)
    other.result()


def test_other_automations_are_free():
    with transaction.atomic():
        lock_exclusively([1])
        Racer(in_transaction(lambda: lock_exclusively([2]))).result(5)


def test_locks_end_with_their_transaction():
    with transaction.atomic():
        lock_exclusively([1, 2])
    assert held() == 0


@pytest.mark.parametrize("ids", [[], set()])
def test_nothing_to_lock_takes_no_statement(ids, django_assert_num_queries):
    with django_assert_num_queries(0):
        lock_shared(ids)
        lock_exclusively(ids)


def test_changers_in_opposite_orders_do_not_deadlock():  # lock order, by id
    gate = threading.Barrier(2)

    def change(ids):
        def work():
            gate.wait(10)
            for _ in range(20):
                with transaction.atomic():
                    lock_exclusively(ids)

        return work

    racers = [Racer(change(ids)) for ids in ([1, 2, 3], [3, 2, 1])]
    for racer in racers:
        racer.result()


def test_shards_and_automations_of_one_number_are_different_locks():
    with transaction.atomic():
        hold_shards([1])
        Racer(in_transaction(lambda: lock_exclusively([1]))).result(5)


def test_busy_shards_are_taken_and_idle_ones_are_not(workspace):
    record(workspace, [1, 2, 3])
    expected = {shard_of(workspace.pk, id) for id in (1, 2, 3)}
    with transaction.atomic():
        assert set(take_shards(SHARDS, 16, 0)) == expected


def test_routed_events_keep_no_shard_busy(workspace):
    record(workspace, [1])
    assert route_batch() == 1
    with transaction.atomic():
        assert take_shards(SHARDS, 16, 0) == []


def test_a_shard_that_somebody_holds_is_passed_over(workspace):
    record(workspace, [1])
    with transaction.atomic():
        assert len(take_shards(SHARDS, 16, 0)) == 1
        assert Racer(in_transaction(lambda: take_shards(SHARDS, 16, 0))).result() == []
    with transaction.atomic():
        assert len(take_shards(SHARDS, 16, 0)) == 1


@pytest.mark.parametrize("most", [1, 5, 16])
def test_no_more_shards_are_taken_than_asked_for(workspace, most):
    record(workspace, range(1, 200))
    with transaction.atomic():
        assert len(take_shards(SHARDS, most, 0)) == most
        assert held() == most  # those not wanted are not locked either


def waiting_in(workspace, counts):
    """So many events in the queue of each shard."""
    rows = [(shard, n) for shard, count in counts.items() for n in range(count)]
    Unrouted.objects.bulk_create(
        Unrouted(shard=shard, event_id=1 + place, workspace_id=workspace.pk) for place, (shard, _) in enumerate(rows)
    )


@pytest.mark.parametrize(
    ("each", "taken"),
    [(1, 64), (7, 64), (8, 62), (10, 50), (20, 25), (40, 16), (100, 16)],
)
def test_more_shards_are_taken_where_few_events_wait_in_each(workspace, each, taken):
    """As many as give a full batch and never fewer than a router is content with: the others are left to other routers."""
    waiting_in(workspace, dict.fromkeys(range(SHARDS), each))
    with transaction.atomic():
        assert len(take_shards(SHARDS, 16, 0, 500)) == taken
        assert held() == taken


def test_one_full_shard_among_almost_empty_ones_does_not_make_a_batch(workspace):
    waiting_in(workspace, {**dict.fromkeys(range(40), 1), 7: 2_000})
    with transaction.atomic():
        assert len(take_shards(SHARDS, 16, 0, 500)) == 40


def test_what_others_hold_is_passed_over_however_much_of_it_there_is(workspace):
    """Two routers of a long queue: each has its sixteen."""
    waiting_in(workspace, dict.fromkeys(range(40), 100))
    with transaction.atomic():
        mine = take_shards(SHARDS, 16, 0, 500)
        theirs = Racer(in_transaction(lambda: take_shards(SHARDS, 16, 0, 500))).result()
    assert (len(mine), len(theirs)) == (16, 16)
    assert not set(mine) & set(theirs)


def test_two_routers_share_the_shards_between_them(workspace):
    record(workspace, range(1, 200))
    with transaction.atomic():
        mine = take_shards(SHARDS, 32, 0)
        theirs = Racer(in_transaction(lambda: take_shards(SHARDS, 64, 0))).result()
    assert not set(mine) & set(theirs)
    assert len(mine) == 32


def test_where_to_begin_can_be_chosen(workspace):
    record(workspace, range(1, 400))
    with transaction.atomic():
        first = take_shards(SHARDS, 4, 10)
    assert first == [10, 11, 12, 13]


def test_holding_a_shard_waits_for_its_router(workspace):
    record(workspace, [1])
    shard = shard_of(workspace.pk, 1)
    with transaction.atomic():
        take_shards(SHARDS, 16, 0)
        other = Racer(in_transaction(lambda: hold_shards([shard])))
        until_somebody_waits(other)
    other.result()


def test_shards_are_spread_and_stable():
    shards = [shard_of(1, id) for id in range(1, 2_000)]
    assert set(shards) == set(range(SHARDS))
    assert max(shards.count(shard) for shard in range(SHARDS)) < 3 * len(shards) / SHARDS
    assert (shard_of(1, 7), shard_of(1, None), shard_of(2, 7)) == (shard_of(1, 7), shard_of(1, 0), shard_of(2, 7))
    assert shard_of(12, 345) == 21  # stored with every event: it may never change


@pytest.mark.parametrize("analysed", [False, True])
def test_finding_busy_shards_does_not_read_what_waits(analysed):  # DESIGN 6, each hot index names its query
    """However many events wait in a shard: a probe of the index for each busy one, and its first few."""
    workspace = make_workspace()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "insert into automations_unrouted (shard, event_id, workspace_id) select g %% 3, g, %s from generate_series(1, 10000) g",
            [workspace.pk],
        )
        if analysed:
            cursor.execute("analyze automations_unrouted")
        assert set(take_shards(SHARDS, 16, 0, 500)) == {0, 1, 2}  # and marks what earlier tests left in the index
        explain = f"explain (analyze, buffers, format json) {locks._BUSY}"
        without(cursor, locks._SWITCHES, explain, [0, SHARDS, SHARDS, 16, 32, 0, 16, 8_000])
        plan = cursor.fetchone()[0][0]["Plan"]
        transaction.set_rollback(True)
    assert (
        plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 1_000
    )  # a tenth; some lead to what earlier tests left
    assert plan["Actual Rows"] == 3
