"""Writing many runs by COPY: the same rows as one by one, and none twice for an event (E3, RUN-01)."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from automations.models import Run
from automations.services import run_rows
from automations.services.bulk import FEW, copy_new
from automations.worker.batch import LiveRun
from automations.worker.plans import plans_for
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db
MANY = FEW + 5
SIGN = "type: event, event: sign"


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def customer(workspace):
    return make_customer(workspace)


def route_again(*events):
    """Have the routers take up events that were routed, as if their mark had been lost."""
    with connection.cursor() as cursor:
        cursor.execute("delete from automations_routed where event_id = any(%s)", [list(events)])
        cursor.execute(
            "insert into automations_unrouted (shard, event_id, workspace_id) select shard, id, workspace_id from automations_event"
            " where id = any(%s)",
            [list(events)],
        )
    route_all()


def columns(run):
    """All that is stored of a run but its id, its event and the times of its making."""
    [row] = Run.objects.filter(pk=run.pk).values()
    return {
        name: value
        for name, value in row.items()
        if name not in ("id", "event_id", "started_at", "due_at", "recorded_at")
    } | {"due when it starts": row["due_at"] == row["started_at"]}


def test_one_run_and_one_of_many_are_stored_alike(workspace, customer):
    automation = on(workspace, SIGN)
    happen(customer)
    route_all()
    for _ in range(MANY):
        happen(customer)
    with CaptureQueriesContext(connection) as queries:
        route_all()
    assert any("copy automations_run" in query["sql"] for query in queries)
    found = runs(automation)
    assert len(found) == 1 + MANY
    assert columns(found[0]) == columns(found[1]) == columns(found[-1])
    assert [run.event_id for run in found] == sorted(run.event_id for run in found)


def test_runs_without_a_customer_are_copied_too(workspace, customer):
    automation = on(workspace, "type: event, event: sign", steps="steps: [{type: stop}]")
    for number in range(MANY):
        happen(customer, payload={"n": number})
    with connection.cursor() as cursor:  # as events of nobody are recorded
        cursor.execute("update automations_event set customer_id = null, subjects = '{}' where name = 'sign'")
    route_all()
    assert {(run.customer_id, run.subject_kind, run.subject_id) for run in runs(automation)} == {(None, "none", 0)}
    assert len(runs(automation)) == MANY


def test_runs_that_a_later_event_of_the_batch_ends_are_stored_ended(
    workspace, customer
):  # CONTRACTS 7, order of routing
    automation = on(workspace, SIGN, "exits: [{event: leave, reason: gone}]")
    for _ in range(MANY):
        happen(customer)
    happen(customer, "leave")
    happen(customer)
    with CaptureQueriesContext(connection) as queries:
        route_all()
    assert any("copy automations_run" in query["sql"] for query in queries)
    found = runs(automation)
    assert [(run.status, run.end_reason, run.due_at is None, run.ended_at is None) for run in found] == [
        ("CANCELLED", "gone", True, False)
    ] * MANY + [("RUNNING", None, False, True)]


def test_events_that_are_routed_again_start_nothing_again(workspace, customer):  # E3
    automation = on(workspace, SIGN)
    events = [happen(customer) for _ in range(MANY)]
    route_all()
    before = [run.pk for run in runs(automation)]
    route_again(*events)
    assert [run.pk for run in runs(automation)] == before


def test_one_that_is_there_does_not_keep_the_others_out(workspace, customer):  # E3
    automation = on(workspace, SIGN)
    first = happen(customer)
    route_all()
    others = [happen(customer) for _ in range(MANY)]
    route_again(first)
    assert [run.event_id for run in runs(automation)] == [first, *others]


def test_only_the_rule_that_is_named_is_forgiven(workspace, customer):
    """Another broken rule is an error, as it was: here a customer that does not exist."""
    automation = on(workspace, SIGN)
    plan = plans_for([automation.active_version_id])[automation.active_version_id]
    now = evaluation_now()

    def run(id):
        return LiveRun(
            id, workspace.pk, automation.pk, automation.active_version_id, id, 999_999_999, {"customer": 999_999_999}, "RUNNING",
            None, plan.first, None, None, now, {}, None, plan,
        )  # fmt: skip

    with connection.cursor() as cursor:
        ids = run_rows.new_ids(cursor, MANY)
        assert ids == sorted(ids)
        cursor.execute("set constraints all immediate")
        with pytest.raises(IntegrityError), transaction.atomic():
            run_rows.write(cursor, [run(id) for id in ids], now)
    assert not runs(automation)


def test_a_copy_that_fails_takes_back_all_of_its_copies(workspace):
    """Both tables, and nothing of the caller's."""
    table = "create temp table {} (id int constraint {}_once unique) on commit drop"
    with connection.cursor() as cursor:
        cursor.execute(table.format("mine", "mine"))
        cursor.execute(table.format("other", "other"))
        cursor.execute("insert into mine values (1)")
        copies = (("copy other from stdin", "1\n2\n"), ("copy mine from stdin", "2\n1\n"))
        assert not copy_new(cursor, "mine_once", *copies)
        cursor.execute("select (select count(*) from mine), (select count(*) from other)")
        assert cursor.fetchone() == (1, 0)
        with pytest.raises(IntegrityError), transaction.atomic():
            copy_new(cursor, "other_once", *copies)
        assert copy_new(cursor, "mine_once", ("copy mine from stdin", "7\n"))
