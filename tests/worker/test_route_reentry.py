"""Re-entry keys (RUN-23) and the order of ending, waking and entering (CONTRACTS 7)."""

from __future__ import annotations

import pytest

from automations.models import Entry
from automations.services.cancel import end_runs
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen
from tests.worker.routing import gate, occur, on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def customer(workspace):
    return make_customer(workspace)


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
