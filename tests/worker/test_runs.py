"""Runs as a router reads them: which it looks at, and by what index, however many others there are (DESIGN 5.1, 6)."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.utils import timezone

from automations.models import Run
from automations.worker import runs
from automations.worker.copying import array
from automations.worker.planner import without
from automations.worker.runs import locked, runs_of
from tests.factories import make_customer
from tests.worker.living import happen, live, settle

pytestmark = pytest.mark.django_db
WAIT = "steps: [{id: w, type: wait_until, event: ping}, {type: stop}]"
MANY = 3_000
_CROWD = """
insert into automations_run (workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, subject_id, subjects, mode,
    status, parked_on, step, seq, attempt, entered_at, started_at, steps_executed, lost, wait_name, wait_key, wait_since)
select %s, %s, %s, 1000000 + g, c, 'customer', c, '{}', 'live', 'WAITING_FOR_EVENT', 'event', 'w', 1, 0, now(), now(), 0, 0,
    'ping', 'customer:' || c, 0
from generate_series(1, %s) g cross join lateral (select (%s::bigint[])[1 + g %% %s] as c) customer
"""


@pytest.fixture
def automation(workspace):
    return live(workspace, WAIT)


def waiting(customer):
    """A run of this customer that waits."""
    event = happen(customer)
    settle()
    return Run.objects.get(event_id=event)


def ids_of(customers, with_goals=()):
    """The candidates by their ids."""
    found, _ = runs_of([customer.pk for customer in customers], with_goals)
    return sorted(id for id, _, _ in found)


def test_each_unfinished_run_of_the_customers_is_looked_at_and_nobody_elses(workspace, automation):
    one, other, stranger = (make_customer(workspace) for _ in range(3))
    expected = [waiting(one).pk, waiting(one).pk, waiting(other).pk]
    waiting(stranger)
    assert ids_of([one, other]) == sorted(expected)
    assert ids_of([]) == []


def test_it_is_told_what_they_wait_for_and_on_which_plan(workspace, automation):
    customer = make_customer(workspace)
    run = waiting(customer)
    found, plans = runs_of([customer.pk], [])
    assert found == [(run.pk, "ping", run.version_id)]
    assert plans[run.version_id].nodes["w"].id == "w"


def test_a_run_that_ended_counts_only_for_a_goal_that_it_has_not_reached(workspace, automation):  # C-11, C-12
    customer = make_customer(workspace)
    run = waiting(customer)
    happen(customer, "ping")
    settle()
    assert Run.objects.get(pk=run.pk).ended_at is not None
    assert ids_of([customer]) == []
    assert ids_of([customer], [automation.pk]) == [run.pk]
    assert ids_of([customer], [automation.pk + 1]) == []
    Run.objects.filter(pk=run.pk).update(goal_reached_at=timezone.now())
    assert ids_of([customer], [automation.pk]) == []


def test_locked_ones_are_read_as_they_are_in_the_order_of_their_ids(workspace, automation):  # DESIGN 5.2, "Lock order"
    customer = make_customer(workspace)
    first, second = waiting(customer), waiting(customer)
    happen(customer, "ping")
    settle()
    found = locked([second.pk, first.pk])
    assert [(run.id, run.status, run.wait_name) for run in found] == [
        (run.pk, "COMPLETED", None) for run in (first, second)
    ]
    assert locked([]) == []


def explained(statement, customers):
    """How the candidates of these customers are looked for."""
    with connection.cursor() as cursor:
        parameters = [array([customer.pk for customer in customers]), array([])]
        without(cursor, runs._SWITCHES, f"explain (analyze, buffers) {statement}", parameters)
        return "\n".join(line for (line,) in cursor.fetchall())


def crowd(people, version, empty_when_analysed):
    """Many runs of these customers. The statistics may be of a moment when there were none (just after a workspace was emptied)."""
    with connection.cursor() as cursor:
        fill = [
            people[0].workspace_id,
            version.automation_id,
            version.pk,
            MANY,
            [one.pk for one in people],
            len(people),
        ]
        cursor.execute(_CROWD, fill)
        if empty_when_analysed:
            cursor.execute("delete from automations_run")
            cursor.execute("analyze automations_run")
            cursor.execute(_CROWD, fill)
        else:
            cursor.execute("analyze automations_run")


@pytest.mark.parametrize("empty_when_analysed", [False, True])
def test_customers_are_looked_up_one_by_one_whatever_else_is_unfinished(  # DESIGN 6
    workspace, automation, empty_when_analysed
):
    people = [make_customer(workspace) for _ in range(20)]
    crowd(people, automation.active_version, empty_when_analysed)
    asked = people[:2]
    plan = explained(runs._OF_CUSTOMERS, asked)
    assert "run_of_customer" in plan, plan
    assert _rows_removed(plan) == 0
    assert len(ids_of(asked)) == 2 * MANY / len(people)


def test_the_planner_would_read_all_runs_if_it_might_choose(workspace, automation):
    """Else neither `offset 0` nor keeping the mode out of it is needed any more."""
    people = [make_customer(workspace) for _ in range(20)]
    crowd(people, automation.active_version, empty_when_analysed=True)
    without_wall = runs._OF_CUSTOMERS.replace(" offset 0", "")
    mode_inside = runs._OF_CUSTOMERS.replace("= c.id offset 0", "= c.id and mode = 'live' offset 0")
    for statement in (without_wall, mode_inside):
        assert statement != runs._OF_CUSTOMERS
        assert _rows_removed(explained(statement, people[:2])) > MANY / 2, statement


def _rows_removed(plan):
    """How many rows were read for nothing."""
    return sum(int(found) for found in re.findall(r"Rows Removed by [^:]*: (\d+)", plan))
