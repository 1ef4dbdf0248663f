"""What accounts announces becomes events, once each, in the transaction of the change (TRG-11, TRG-41, BIL-16; CONTRACTS 6)."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts.actor import system_actor
from accounts.services.consent import record_consent
from accounts.services.customers import update_customer
from accounts.services.lifecycle import identify_customer
from automations.models import Delivery, EmailTemplate, Event, Run, Sender
from automations.services.endings import UNSUBSCRIBED
from automations.services.events import load_events
from tests.factories import actor_of, make_customer, make_stage_entry, make_visitor, make_workspace
from tests.worker.living import happen, settle
from tests.worker.racing import Racer
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make_workspace()


def events(workspace, name):
    """Events of accounts by name, oldest first."""
    return list(Event.objects.filter(workspace=workspace, source="accounts", name=name).order_by("pk"))


def test_a_new_customer_is_one_event_with_the_customer_in_it(workspace):  # TRG-11
    automation = on(workspace, "type: event, event: customer.created")
    customer = make_customer(workspace, name="Ana", country="DE")
    [event] = events(workspace, "customer.created")
    assert event.key == f"cus_{customer.pk}:created"
    trigger = load_events([event.pk])[event.pk].trigger
    assert (trigger["name"], trigger["customer"]["country"]) == ("Ana", "DE")
    route_all()
    assert [run.customer_id for run in runs(automation)] == [customer.pk]


def test_a_visitor_counts_once_identified(workspace):  # TRG-11
    automation = on(workspace, "type: event, event: customer.created")
    visitor = make_visitor(workspace)
    happen(visitor, "pageview")
    route_all()
    assert runs(automation) == []
    identify_customer(actor=actor_of(workspace), customer_id=visitor.pk, fields={"email": "ana@example.com"})
    update_customer(actor=actor_of(workspace), customer_id=visitor.pk, fields={"name": "Ana"})
    route_all()
    assert len(runs(automation)) == 1


def test_an_entry_of_a_stage_is_one_event(workspace):  # BIL-16
    customer = make_customer(workspace)
    for _ in range(2):
        make_stage_entry(customer, "CUSTOMER", "Churned")
    [event] = events(workspace, "stage_enter")
    facts = load_events([event.pk])[event.pk]
    assert facts.payload == {"stage": "CUSTOMER", "funnel": facts.payload["funnel"], "bucket": "Churned"}
    assert (facts.trigger["customer"]["stage"], facts.trigger["customer"]["bucket"]) == ("CUSTOMER", "Churned")


def test_what_a_run_did_is_its_effect(workspace):  # RUN-24
    automation = on(workspace, "type: event, event: sign")
    happen(make_customer(workspace))
    route_all()
    [run] = runs(automation)
    make_customer(workspace, cause=run.pk)
    event = events(workspace, "customer.created")[-1]
    assert (event.cause_run, event.depth) == (run.pk, 1)


def test_a_new_workspace_gets_what_it_needs_to_mail(workspace):  # CONTRACTS 2
    assert Sender.objects.filter(workspace=workspace, default=True, verified_at__isnull=False).count() == 1
    assert EmailTemplate.objects.filter(workspace=workspace).exists()


def test_unsubscribing_suppresses_queued_mail_of_every_run(workspace):  # SUP-04, SUP-07
    customer = make_customer(workspace)
    mail = "steps: [{type: action, action: send_email, subject: Hi, body: '<p>Hi</p>', to: '{{customer.email}}'}]"
    on(workspace, "type: event, event: sign", "settings: {transactional: true}", mail)
    happen(customer)
    settle()
    record_consent(actor=actor_of(workspace), address=customer.email, state="unsubscribed", customer_id=customer.pk)
    assert [delivery.state for delivery in Delivery.objects.filter(workspace=workspace)] == ["SUPPRESSED"]


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_being_advanced_ends_by_an_event_and_nobody_deadlocks(workspace):  # lock order, C-15
    customer = make_customer(workspace)
    automation = on(workspace, "type: event, event: sign")
    happen(customer)
    settle()
    [run] = runs(automation)
    actor = system_actor(workspace.pk)
    with transaction.atomic():
        Run.objects.select_for_update(no_key=True).get(pk=run.pk)  # as a worker holds it
        Racer(
            lambda: record_consent(actor=actor, address=customer.email, state="unsubscribed", customer_id=customer.pk)
        ).result()
    assert runs(automation)[0].status == "RUNNING"
    [event] = events(workspace, UNSUBSCRIBED)
    assert event.customer_id == customer.pk
    route_all()
    assert [(run.status, run.end_reason) for run in runs(automation)] == [("CANCELLED", "unsubscribed")]
