"""Starting by hand and enrolling what exists (TRG-03, CONTRACTS 8; DESIGN 5.1)."""

from __future__ import annotations

import pytest

from accounts.errors import Refusal
from automations.models import Event, Run
from automations.services.entry import existing, trigger_manually
from automations.services.events import load_events
from automations.services.inflight import follow_all
from automations.services.pause import pause_automation
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import settle
from tests.worker.racing import together
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, country="DE")


@pytest.fixture
def actor(workspace):
    return actor_of(workspace)


def refused(*args, **kwargs) -> Refusal:
    """What `trigger_manually` refuses with."""
    with pytest.raises(Refusal) as found:
        trigger_manually(*args, **kwargs)
    return found.value


def test_a_manual_run_exists_when_the_call_answers(workspace, customer, actor):  # TRG-03
    automation = on(workspace, "type: manual")
    run = trigger_manually(actor, automation, {"customer": customer.pk}, {"reason": "asked"})
    assert (run.automation_id, run.customer_id, run.status) == (automation.pk, customer.pk, "RUNNING")
    event = Event.objects.get(pk=run.event_id)
    assert (event.source, event.origin, event.only_automation) == ("manual", "api", automation.pk)
    assert event.routed_at is not None
    facts = load_events([event.pk])[event.pk]
    assert facts.payload == {"reason": "asked"}
    assert facts.trigger["customer"]["country"] == "DE"
    settle()
    assert len(runs(automation)) == 1


def test_a_manual_run_may_be_about_nobody(workspace, actor):
    automation = on(workspace, "type: manual")
    assert trigger_manually(actor, automation, {}, {}).subject_kind == "none"


def test_the_same_key_answers_the_same_run(workspace, customer, actor):  # CONTRACTS 7, source manual
    automation = on(workspace, "type: manual")
    first = trigger_manually(actor, automation, {"customer": customer.pk}, {"n": 1}, "abc")
    again = trigger_manually(actor, automation, {"customer": customer.pk}, {"n": 1}, "abc")
    assert first.pk == again.pk
    assert refused(actor, automation, {"customer": customer.pk}, {"n": 2}, "abc").code == "event_conflict"


def test_only_a_manual_trigger_can_be_called(workspace, customer, actor):  # trigger_not_manual
    automation = on(workspace, "type: event, event: sign")
    assert refused(actor, automation, {"customer": customer.pk}, {}).code == "trigger_not_manual"


def test_a_paused_automation_is_not_started(workspace, customer, actor):  # wrong_state
    automation = on(workspace, "type: manual")
    pause_automation(actor=actor, automation_id=automation.pk)
    automation.refresh_from_db()
    assert refused(actor, automation, {"customer": customer.pk}, {}).code == "wrong_state"
    assert not Event.objects.filter(name="manual").exists()


def test_a_gate_that_stops_it_is_named_and_nothing_is_written(workspace, customer, actor):  # not_entered
    automation = on(workspace, "type: manual", "filter: customer.country == 'US'")
    refusal = refused(actor, automation, {"customer": customer.pk}, {})
    assert (refusal.code, refusal.details) == ("not_entered", {"gate": "filter"})
    assert not Event.objects.filter(name="manual").exists()


def test_re_entry_holds_for_manual_runs_too(workspace, customer, actor):  # RUN-23
    automation = on(workspace, "type: manual", "settings: {reentry: one_at_a_time}")
    trigger_manually(actor, automation, {"customer": customer.pk}, {})
    assert refused(actor, automation, {"customer": customer.pk}, {}).details == {"gate": "reentry"}


def test_an_automation_of_another_workspace_is_unknown(workspace, customer, actor):  # X1
    theirs = on(make_workspace(), "type: manual")
    assert refused(actor, theirs, {"customer": customer.pk}, {}).code == "not_found"


@pytest.mark.django_db(transaction=True)
def test_two_at_once_keep_the_rule_of_one_at_a_time(workspace, customer, actor):  # RUN-23, two connections
    automation = on(workspace, "type: manual", "settings: {reentry: one_at_a_time}")

    def start() -> str:
        try:
            return str(trigger_manually(actor, automation, {"customer": customer.pk}, {}).status)
        except Refusal as refusal:
            return refusal.details["gate"]

    assert sorted(together(*[start] * 4)) == ["RUNNING", "reentry", "reentry", "reentry"]
    assert Run.objects.filter(automation=automation).count() == 1


def enrol(automation):
    """Enrol what exists, as the activation does; answers how many events were recorded for it."""
    events = Event.objects.filter(only_automation=automation.pk)
    before = events.count()
    type(automation).objects.filter(pk=automation.pk).update(enrol_after=0, sweep=True)
    follow_all(automation.pk)
    return events.count() - before


def test_existing_records_are_enrolled_once_through_all_gates(workspace):  # DESIGN 5.1, "enrol existing matches"
    fitting = [make_customer(workspace, country="DE") for _ in range(3)]
    make_customer(workspace, country="US")
    automation = on(workspace, "type: event, event: sign", "filter: customer.country == 'DE'")
    assert enrol(automation) == 4
    route_all()
    assert sorted(run.customer_id for run in runs(automation)) == [customer.pk for customer in fitting]
    enrol(automation)
    route_all()
    assert len(runs(automation)) == 3


def test_enrolment_is_about_the_records_of_the_trigger(workspace, customer):
    invoice = make_invoice(customer, subscription=make_subscription(customer))
    automation = on(workspace, "type: event, event: invoice.issued, maxAge: 1h")
    route_all()
    before = len(runs(automation))
    assert (existing(automation), enrol(automation)) == ("invoices", 1)
    route_all()
    assert [run.subject_id for run in runs(automation)] == [invoice.pk] * (before + 1)
    assert existing(on(workspace, "type: manual")) is None


def test_enrolment_starts_no_other_automation(workspace, customer):
    automation = on(workspace, "type: event, event: sign")
    other = on(workspace, "type: event, event: sign")
    enrol(automation)
    route_all()
    assert (len(runs(automation)), runs(other)) == (1, [])
