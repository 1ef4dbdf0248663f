"""What an evaluation says, and when the default settings of an exclusive trigger act (PRI-03 to 05, PRI-11, PRI-13)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.clock import evaluation_now
from automations.models import Evaluation
from automations.services import defaults
from automations.services.pause import pause_automation
from tests.factories import actor_of
from tests.worker.living import happen
from tests.worker.routing import occur, on, route_all, runs

pytestmark = pytest.mark.django_db
OVERDUE = "type: event, event: billing.invoice_overdue"
SENT = {"collectionMethod": "send_invoice", "total": "80.00"}


@pytest.fixture
def applied(monkeypatch):
    """Events that the default settings were applied to."""
    seen: list[int] = []
    monkeypatch.setitem(
        defaults._defaults, "billing.invoice_overdue", lambda workspace, event: seen.append(event.id) or "applied"
    )
    return seen


def overdue(customer, **parts):
    """An invoice that is sent becomes overdue; answers the event's id."""
    return occur(customer, "invoice.overdue", {**SENT, **parts.pop("payload", {})}, **parts)


def row(event):
    """The evaluation of an event."""
    return Evaluation.objects.get(event_id=event)


def test_the_row_names_automation_version_priority_and_reason(workspace, customer):
    automation = on(workspace, OVERDUE, "filter: trigger.total > 100")
    event = overdue(customer)
    assert row(event).decisions[0] == {
        "automation": automation.public_id,
        "version": 1,
        "priority": 1,
        "outcome": "skipped",
        "gate": "filter",
        "reason": "Not so: trigger.total > 100",
    }
    assert row(event).values == {"trigger.total": "80.00"}
    assert row(event).workspace_id == workspace.pk


def test_there_is_at_most_one_row_for_an_event(workspace, customer):  # DESIGN 5.1
    for limit in (100, 200, 300):
        on(workspace, "type: event, event: sign", f"filter: trigger.total > {limit}")
    event = occur(customer, payload={"total": 50})
    assert Evaluation.objects.filter(event_id=event).count() == 1
    assert len(row(event).decisions) == 3
    assert row(event).values == {"trigger.total": 50}


def test_the_row_lies_beside_the_content_of_its_event(workspace, customer):
    from automations.models import Event

    on(workspace, "type: event, event: sign", "filter: trigger.total > 1")
    event = occur(customer)
    assert row(event).recorded_at == Event.objects.get(pk=event).recorded_at


def test_the_winner_stands_in_the_row_with_those_behind_it(workspace, customer):
    first, second = on(workspace, OVERDUE), on(workspace, OVERDUE)
    decisions = row(overdue(customer)).decisions
    assert [(item["automation"], item["outcome"], item["gate"]) for item in decisions] == [
        (first.public_id, "started", None),
        (second.public_id, "skipped", "priority"),
    ]
    assert first.public_id in decisions[1]["reason"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], True),
        (["trigger.total > 100"], True),
        (["trigger.total > 10"], False),
        (["trigger.total > 100", "trigger.total > 10"], False),
    ],
)
def test_the_defaults_act_when_nobody_wanted_the_event(
    workspace, customer, applied, filters, expected
):  # PRI-04, PRI-05
    for filter in filters:
        on(workspace, OVERDUE, f"filter: {filter}")
    event = overdue(customer)
    assert applied == ([event] if expected else [])


def test_the_defaults_act_where_every_automation_is_paused(workspace, customer, applied):
    automation = on(workspace, OVERDUE)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
    assert applied == []
    event = overdue(customer)
    assert applied == [event]


def test_the_defaults_do_not_act_on_what_the_automations_own_run_did(workspace, customer, applied):  # self_caused
    automation = on(workspace, OVERDUE)
    overdue(customer)
    overdue(customer, cause_run=runs(automation)[0].pk)
    assert applied == []


def test_the_defaults_do_not_act_on_old_events(workspace, customer, applied):  # "Causes and age"
    overdue(customer, occurred_at=evaluation_now() - timedelta(days=9))
    assert applied == []


def test_the_defaults_do_not_act_on_events_for_one_automation(workspace, customer, applied):
    automation = on(workspace, "type: manual")
    occur(customer, "invoice.overdue", SENT, only_automation=automation.pk)
    assert applied == []


def test_the_defaults_of_a_workspace_without_any_leave_no_row(workspace, customer, monkeypatch):
    monkeypatch.setitem(defaults._defaults, "billing.invoice_overdue", lambda workspace, event: None)
    event = overdue(customer)
    assert not Evaluation.objects.filter(event_id=event).exists()


def test_a_parallel_trigger_has_no_defaults(workspace, customer, applied):
    on(workspace, "type: event, event: invoice.issued", "filter: trigger.total > 100")
    occur(customer, "invoice.issued", {"total": "1.00"})
    assert applied == []


def test_a_broken_automation_is_no_reason_for_another_not_to_run(workspace, customer):
    from automations.models import Version
    from automations.worker.plans import forget_plans

    broken, sound = on(workspace, "type: event, event: sign"), on(workspace, "type: event, event: sign")
    before = broken.active_version
    Version.objects.create(
        workspace=workspace,
        automation=broken,
        number=2,
        state="draft",
        definition={**before.definition, "nodes": [{"id": "x", "type": "no_such_step"}]},
        sha256="0",
    )
    Version.objects.filter(pk=before.pk).update(state="inactive")
    Version.objects.filter(automation=broken, number=2).update(state="active", activated_at=evaluation_now())
    broken.active_version = Version.objects.get(automation=broken, number=2)
    broken.save()
    forget_plans()
    happen(customer)
    route_all()
    assert (len(runs(broken)), len(runs(sound))) == (0, 1)
