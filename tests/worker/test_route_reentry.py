"""Re-entry keys (RUN-23) and the order of ending, waking and entering (CONTRACTS 7)."""

from __future__ import annotations

import pytest
from django.db import connection

from automations.models import Entry
from automations.services import entry
from automations.services.cancel import end_runs
from automations.worker import knowing
from automations.worker.copying import arrays
from automations.worker.planner import without
from tests.factories import make_customer
from tests.worker.living import happen
from tests.worker.routing import gate, occur, on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("rule", "parked", "after"), [("always", 2, 3), ("one_at_a_time", 1, 2), ("once", 1, 1)])
def test_the_table_of_re_entry(workspace, customer, rule, parked, after):  # RUN-23
    automation = on(workspace, "type: event, event: sign", f"settings: {{reentry: {rule}}}")
    occur(customer)
    second = occur(customer)
    assert len(runs(automation)) == parked
    assert gate(second, automation) == (None if rule == "always" else "reentry")
    end_runs([run.pk for run in runs(automation)], reason="cancelled")
    occur(customer)
    assert len(runs(automation)) == after


@pytest.mark.parametrize(("rule", "expected"), [("always", 3), ("one_at_a_time", 1), ("once", 1)])
def test_three_firings_in_one_batch(workspace, customer, rule, expected):  # RUN-23
    automation = on(workspace, "type: event, event: sign", f"settings: {{reentry: {rule}}}")
    for _ in range(3):
        happen(customer)
    route_all()
    assert len(runs(automation)) == expected
    assert Entry.objects.filter(automation=automation).count() == (0 if rule == "always" else 1)


def test_each_customer_has_a_key_of_their_own(workspace, customer):
    automation = on(workspace, "type: event, event: sign", "settings: {reentry: once}")
    other = make_customer(workspace)
    for who in (customer, other, customer, other):
        happen(who)
    route_all()
    assert {run.customer_id for run in runs(automation)} == {customer.pk, other.pk}
    assert len(runs(automation)) == 2


def test_an_event_that_ends_a_run_may_start_the_next_one(workspace, customer):  # CONTRACTS 7, order of routing
    automation = on(
        workspace,
        "type: event, event: sign",
        "exits: [{event: sign, reason: anew}]\nsettings: {reentry: one_at_a_time}",
    )
    occur(customer)
    occur(customer)
    first, second = runs(automation)
    assert (first.status, first.end_reason) == ("CANCELLED", "anew")
    assert second.status == "RUNNING"
    assert Entry.objects.get(automation=automation).run_id == second.pk


def test_the_same_holds_within_one_batch(workspace, customer):
    automation = on(
        workspace,
        "type: event, event: sign",
        "exits: [{event: sign, reason: anew}]\nsettings: {reentry: one_at_a_time}",
    )
    for _ in range(3):
        happen(customer)
    route_all()
    assert [(run.status, run.end_reason) for run in runs(automation)] == [
        ("CANCELLED", "anew"),
        ("CANCELLED", "anew"),
        ("RUNNING", None),
    ]
    assert Entry.objects.get(automation=automation).run_id == runs(automation)[-1].pk


def test_an_event_never_ends_the_run_that_it_starts(workspace, customer):  # DESIGN 5.1
    automation = on(workspace, "type: event, event: sign", "exits: [{event: sign}]")
    occur(customer)
    assert [run.status for run in runs(automation)] == ["RUNNING"]


def test_a_key_left_by_once_does_not_stop_a_later_version_that_asks_for_one_at_a_time(workspace, customer):
    automation = on(workspace, "type: event, event: sign", "settings: {reentry: one_at_a_time}")
    occur(customer)
    [run] = runs(automation)
    end_runs([run.pk], reason="cancelled")
    Entry.objects.create(
        workspace=workspace, automation=automation, key=f"customer:{customer.pk}", run_id=run.pk, once=True
    )
    occur(customer)
    assert len(runs(automation)) == 2
    assert Entry.objects.get(automation=automation).run_id == runs(automation)[-1].pk


def test_keys_are_looked_up_by_their_index_however_many_were_kept(
    workspace, customer
):  # DESIGN 6, each hot index names its query
    """Where the planner takes the index for dear, as it does before the first ANALYZE, it reads all of them if left alone."""
    automation = on(workspace, "type: event, event: sign", "settings: {reentry: once}")
    kept = (Entry(workspace=workspace, automation=automation, key=f"customer:{n}", run_id=n) for n in range(1, 2_001))
    Entry.objects.bulk_create(kept)
    asked = [(workspace.pk, automation.pk, f"customer:{n}") for n in range(1, 11)]
    statements = (
        (knowing._TAKEN, arrays([(*row, True) for row in asked])),
        (entry._LEFT, arrays([(*row, number) for number, row in enumerate(asked, 1)])),
    )
    with connection.cursor() as cursor:
        cursor.execute("set local random_page_cost = 1000")
        for statement, parameters in statements:
            without(cursor, knowing.KEY_SWITCHES, f"explain {statement}", parameters)
            plan = _text(cursor)
            assert "Seq Scan" not in plan, plan
            cursor.execute(f"explain {statement}", parameters)
            assert "Seq Scan" in _text(cursor)  # else the switches are needed no more


def _text(cursor):
    return "\n".join(line for (line,) in cursor.fetchall())


def test_a_key_with_every_sign_that_an_array_gives_a_meaning_is_kept_and_found(workspace, customer):  # RUN-23
    """Keys are made of names and numbers today; what writes them must not depend on it."""
    automation = on(workspace, "type: event, event: sign", "settings: {reentry: once}")
    odd = 'a "b", {c} \\ %s NULL'
    with connection.cursor() as cursor:
        cursor.execute(entry._ENTRIES, arrays([(workspace.pk, automation.pk, odd, 1, True)]))
        cursor.execute(knowing._TAKEN, arrays([(workspace.pk, automation.pk, odd, True)]))
        assert cursor.fetchall() == [(automation.pk, odd, 1, True)]
