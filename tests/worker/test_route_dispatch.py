"""Dispatch: exclusive triggers have one winner in priority, parallel ones start every match (C-04, PRI-*, TRG-49)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from automations.models import Automation, Evaluation, Run
from automations.services import defaults
from automations.services.pause import pause_automation
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import actor_of, make_customer
from tests.worker.living import happen
from tests.worker.routing import decisions, occur, on, route_all, runs

pytestmark = pytest.mark.django_db
OVERDUE = "type: event, event: billing.invoice_overdue"


@pytest.fixture
def applied(monkeypatch):
    """The default settings of “Invoice is overdue”, which note what they were applied to."""
    seen: list[int] = []

    def apply(workspace_id, event):
        seen.append(event.id)
        return "applied"

    monkeypatch.setitem(defaults._defaults, "billing.invoice_overdue", apply)
    return seen


def overdue(customer, total: str = "129.00") -> int:
    """An open invoice that is sent to the customer becomes overdue; answers the event's id."""
    invoice = make_invoice(customer, total, collection_method="send_invoice")
    route_all()
    return happen(customer, "invoice.overdue", reported(invoice))


def reported(invoice):
    """What a report says of the invoice."""
    return {"collectionMethod": "send_invoice", "total": str(Decimal(invoice.total) / 100)}


def test_one_event_starts_only_one_of_three(workspace, customer):  # PRI-01, PRI-09
    automations = [on(workspace, OVERDUE) for _ in range(3)]
    assert [item.priority for item in automations] == [1, 2, 3]
    event = overdue(customer)
    route_all()
    assert [len(runs(item)) for item in automations] == [1, 0, 0]
    assert list(decisions(event).values()) == [("started", None), ("skipped", "priority"), ("skipped", "priority")]


def test_filters_are_tried_in_priority_order(workspace, customer):  # PRI-02
    large = on(workspace, OVERDUE, "filter: trigger.total > 1000")
    middle = on(workspace, OVERDUE, "filter: trigger.total > 100")
    rest = on(workspace, OVERDUE)
    for total in ("2000.00", "500.00", "50.00"):
        overdue(customer, total)
    route_all()
    assert [len(runs(item)) for item in (large, middle, rest)] == [1, 1, 1]
    assert runs(large)[0].event_id < runs(middle)[0].event_id < runs(rest)[0].event_id


def test_the_default_settings_act_when_no_automation_matches(
    workspace, customer, applied
):  # PRI-04, PRI-05, PRI-11, PRI-13
    automation = on(workspace, OVERDUE, "filter: trigger.total > 100")
    above, below = overdue(customer, "150.00"), overdue(customer, "80.00")
    route_all()
    assert [run.event_id for run in runs(automation)] == [above]
    assert applied == [below]
    row = Evaluation.objects.get(event_id=below)
    assert row.decisions[0]["gate"] == "filter"
    assert "trigger.total > 100" in row.decisions[0]["reason"]
    assert row.decisions[-1] == {"default": "applied"}
    assert row.values["trigger.total"] == "80"


def test_the_default_settings_act_where_there_is_no_automation_at_all(workspace, customer, applied):  # PRI-11
    event = overdue(customer)
    route_all()
    assert applied == [event]
    assert Evaluation.objects.get(event_id=event).decisions == [{"default": "applied"}]


def test_an_automation_that_takes_the_event_leaves_nothing_to_the_defaults(workspace, customer, applied):  # PRI-03
    on(workspace, OVERDUE)
    overdue(customer)
    route_all()
    assert applied == []


def test_when_a_later_gate_refuses_the_winner_nobody_runs(workspace, customer, applied):  # DESIGN 5.1, Dispatch
    winner = on(workspace, OVERDUE, "settings: {reentry: once}")
    second = on(workspace, OVERDUE)
    overdue(customer)
    again = overdue(customer)
    route_all()
    assert (len(runs(winner)), len(runs(second))) == (1, 0)
    assert list(decisions(again).values()) == [("skipped", "reentry"), ("skipped", "priority")]
    assert applied == []


def test_a_paused_one_is_passed_over_and_keeps_its_place(workspace, customer):  # PRI-10
    first, second = on(workspace, OVERDUE), on(workspace, OVERDUE)
    pause_automation(actor=actor_of(workspace), automation_id=first.pk)
    event = overdue(customer)
    route_all()
    assert (len(runs(first)), len(runs(second))) == (0, 1)
    assert decisions(event)[first.public_id] == ("skipped", "state")
    assert Automation.objects.get(pk=first.pk).priority == 1


def test_parallel_triggers_start_every_match(workspace, customer):  # PRI-12
    automations = [on(workspace, "type: event, event: sign") for _ in range(5)]
    occur(customer)
    assert [len(runs(item)) for item in automations] == [1] * 5


def test_each_name_of_one_occurrence_is_dispatched_on_its_own(workspace, customer, applied):  # TRG-49, C-05
    plain = [on(workspace, "type: event, event: invoice.overdue") for _ in range(2)]
    exclusive = [on(workspace, OVERDUE) for _ in range(2)]
    overdue(customer)
    route_all()
    assert [len(runs(item)) for item in (*plain, *exclusive)] == [1, 1, 1, 0]


def test_a_trigger_that_does_not_apply_is_no_case_for_its_defaults(workspace, customer, applied):  # TRG-29
    automation = on(workspace, OVERDUE)
    event = occur(customer, "invoice.overdue", {"collectionMethod": "charge_automatically"})
    assert runs(automation) == []
    assert applied == []
    assert decisions(event)[automation.public_id] == ("skipped", "parameters")


def test_a_billing_run_knows_all_its_objects(workspace, customer):  # RUN-26, TRG-04
    automation = on(workspace, "type: event, event: invoice.issued")
    subscription = make_subscription(customer)
    invoice = make_invoice(customer, subscription=subscription)
    route_all()
    [run] = runs(automation)
    assert run.subjects == {"customer": customer.pk, "subscription": subscription.pk, "invoice": invoice.pk}
    assert (run.subject_kind, run.subject_id) == ("invoice", invoice.pk)


def test_the_query_count_does_not_grow_with_the_batch(workspace):  # "nothing per event or run"
    on(workspace, "type: event, event: sign", "filter: customer.country == 'DE'\nsettings: {reentry: one_at_a_time}")
    on(workspace, "type: event, event: sign", "filter: customer.plan == 'pro'\nexits: [{event: leave}]")
    counts = []
    for size in (1, 40):
        for _ in range(size):
            who = make_customer(workspace, country="DE", plan="pro")
            happen(who)
            happen(who, "leave")
        with CaptureQueriesContext(connection) as queries:
            route_all()
        batches = (
            sum("pg_try_advisory_xact_lock" in query["sql"] for query in queries) - 1
        )  # the last one finds nothing
        counts.append((len(queries) - 3) / batches)
    # Many runs are copied: a savepoint, the COPY and its release in place of one statement.
    assert counts[1] <= counts[0] + 2
    assert Run.objects.filter(workspace=workspace).count() == 82
