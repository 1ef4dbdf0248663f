"""From which event on a wait counts: after the one that the run acts on, unless it rested since (C-37, RUN-22; DESIGN 5.2).

How late a worker comes, and which events it meets together, decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from accounts.models import Customer, Workspace
from accounts.services.lifecycle import merge_customers
from automations.doctor.run import examine
from automations.models import Automation, Routed, Run, SecondLook, StepLog
from automations.services.inflight import follow_all
from automations.services.pause import pause_automation, resume_automation
from automations.worker import route
from automations.worker.advance import advance_batch
from automations.worker.claim import due_workspaces
from automations.worker.loop import release_ticks
from automations.worker.route import route_batch
from automations.worker.second_look import look_again
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, live, pass_time, settle
from tests.worker.routing import route_all

pytestmark = pytest.mark.django_db(transaction=True)
WAIT = "{id: w, type: wait_until, event: ping, timeout: 5d}"


def by_claims() -> None:
    """Routers that walk nothing: all is routed before the first run is claimed."""
    route_all()
    due_workspaces.forget()
    while advance_batch() or look_again():
        pass


def one_by_one(customer: Customer, *names: str) -> None:
    for name in names:
        happen(customer, name)
        settle()


def together(customer: Customer, *names: str) -> None:
    for name in names:
        happen(customer, name)
    settle()


def late(customer: Customer, *names: str) -> None:
    for name in names:
        happen(customer, name)
    by_claims()


WAYS = pytest.mark.parametrize("come", [one_by_one, together, late])


def outcomes(automation: Automation) -> list[str]:
    """How the waits of its only run ended, in their order."""
    run = Run.objects.get(automation=automation)
    rows = StepLog.objects.filter(run_id=run.pk, type="wait_until").order_by("seq")
    return [row.output["outcome"] for row in rows if row.output]


@WAYS
def test_what_comes_after_the_event_that_began_the_run_counts(
    workspace: Workspace, customer: Customer, come: Callable[..., None]
) -> None:
    automation = live(workspace, f"steps: [{WAIT}]")
    come(customer, "sign", "ping")
    assert outcomes(automation) == ["event"]
    assert examine(only=["W1"]) == []


@WAYS
def test_what_came_before_it_does_not(workspace: Workspace, customer: Customer, come: Callable[..., None]) -> None:
    automation = live(workspace, f"steps: [{WAIT}]")
    come(customer, "ping", "sign")
    assert outcomes(automation) == []
    assert Run.objects.get(automation=automation).status == "WAITING_FOR_EVENT"


@WAYS
def test_each_of_two_waits_takes_one_event(
    workspace: Workspace, customer: Customer, come: Callable[..., None]
) -> None:  # W2
    automation = live(workspace, f"steps: [{WAIT}, {WAIT.replace('id: w', 'id: v')}, {WAIT.replace('id: w', 'id: u')}]")
    come(customer, "sign", "ping", "ping")
    assert outcomes(automation) == ["event", "event"]
    assert Run.objects.get(automation=automation).step == "u"


@WAYS
def test_steps_on_the_way_are_no_rest(workspace: Workspace, customer: Customer, come: Callable[..., None]) -> None:
    tag = "{id: t, type: action, action: add_tag, tag: seen}"
    automation = live(workspace, f"steps: [{tag}, {{id: c, type: condition, if: 'true', then: [{WAIT}], else: []}}]")
    come(customer, "sign", "ping")
    assert outcomes(automation) == ["event"]


def test_a_receiver_may_send_its_event_before_it_answers_the_call(
    workspace: Workspace, customer: Customer, httpserver: HTTPServer, settings: Any
) -> None:
    """It is routed while the run still waits for the answer. The harm if it were not counted: the run waits for what has come."""
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)

    def answer(_request: Request) -> Response:
        happen(customer, "ping")
        assert route_batch() == 1
        connection.close()
        return Response("{}")

    httpserver.expect_request("/hook").respond_with_handler(answer)
    url = httpserver.url_for("/hook")
    automation = live(workspace, f"steps: [{{id: h, type: action, action: send_webhook, url: '{url}'}}, {WAIT}]")
    happen(customer)
    settle(deliver=True)
    httpserver.check()
    assert outcomes(automation) == ["event"]


def test_what_comes_during_a_rest_does_not_count(workspace: Workspace, customer: Customer) -> None:
    automation = live(workspace, f"steps: [{{id: d, type: delay, duration: 1h}}, {WAIT}]")
    one_by_one(customer, "sign", "ping")
    pass_time("+1h")
    assert outcomes(automation) == []
    one_by_one(customer, "ping")
    assert outcomes(automation) == ["event"]


def test_nor_what_comes_while_another_wait_is_timing_out(workspace: Workspace, customer: Customer) -> None:
    first = "{id: v, type: wait_until, event: pong, timeout: 1h}"
    automation = live(workspace, f"steps: [{first}, {WAIT}]")
    one_by_one(customer, "sign", "ping")
    pass_time("+1h")
    assert outcomes(automation) == ["timeout"]
    one_by_one(customer, "ping")
    assert outcomes(automation) == ["timeout", "event"]


def test_nor_what_comes_between_two_passes(workspace: Workspace, customer: Customer) -> None:  # RUN-22
    tag = "{id: t, type: action, action: add_tag, tag: seen}"
    automation = live(workspace, f"settings: {{pacing: tick}}\nsteps: [{tag}, {WAIT}]")
    one_by_one(customer, "sign", "ping")
    assert Run.objects.get(automation=automation).step == "w"
    release_ticks()
    settle()
    assert Run.objects.get(automation=automation).status == "WAITING_FOR_EVENT"
    assert outcomes(automation) == []


def test_what_comes_while_a_due_run_is_held_counts_when_it_goes_on(workspace: Workspace, customer: Customer) -> None:
    """PAU-04: the time of a hold is part of what was waited for, also where the wait had not been reached."""
    automation = live(workspace, f"steps: [{WAIT}]")
    happen(customer)
    route_all()
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    one_by_one(customer, "ping")
    assert Run.objects.get(automation=automation).parked_on == "hold"
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    settle()
    assert outcomes(automation) == ["event"]


def test_a_rest_between_two_passes_stays_one_when_it_is_held(workspace: Workspace, customer: Customer) -> None:
    tag = "{id: t, type: action, action: add_tag, tag: seen}"
    automation = live(workspace, f"settings: {{pacing: tick}}\nsteps: [{tag}, {WAIT}]")
    one_by_one(customer, "sign")
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    one_by_one(customer, "ping")
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    pass_time("+1h")
    assert Run.objects.get(automation=automation).status == "WAITING_FOR_EVENT"
    assert outcomes(automation) == []


@pytest.mark.parametrize("first", ["ping", "pong"])
def test_no_router_overtakes_a_look_that_is_due(workspace: Workspace, customer: Customer, first: str) -> None:
    """What the run may have missed comes first: else the wait would take the later event, and the next one overlook the earlier."""
    second = WAIT.replace("id: w", "id: v").replace("ping", "pong")
    automation = live(workspace, f"steps: [{WAIT}, {second if first == 'ping' else WAIT.replace('id: w', 'id: v')}]")
    for name in ("sign", "ping", *(["pong"] if first == "ping" else [])):
        happen(customer, name)
    route_all(walking=True)
    assert SecondLook.objects.count() == 1
    happen(customer, "ping")
    route_all(walking=True)
    settle()
    assert outcomes(automation) == ["event", "event"]


def test_a_look_takes_events_in_the_order_of_routing(workspace: Workspace, customer: Customer) -> None:
    """Those of two records of one person lie in two shards: the younger one may be routed first, and the next wait goes by that."""
    other = make_customer(workspace)
    automation = live(workspace, f"steps: [{WAIT}, {WAIT.replace('id: w', 'id: v')}]")
    sign, older, younger = happen(customer), happen(other, "ping"), happen(customer, "ping")
    merge_customers(actor=actor_of(workspace), source_id=other.pk, into_id=customer.pk)
    for id in (sign, younger, older):
        route._batch(partial(route._these, [id]), False)
    settle()
    assert outcomes(automation) == ["event", "event"]


@pytest.mark.parametrize("held", [False, True])
def test_an_event_that_was_routed_before_there_were_numbers_harms_nobody(
    workspace: Workspace, customer: Customer, held: bool
) -> None:
    """The release before 0012 routed it, or a pause holds its run since then (RELIABILITY 25)."""
    automation = live(workspace, f"steps: [{WAIT}]")
    happen(customer)
    route_all()
    if held:
        pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
        settle()
    Routed.objects.update(number=None)
    if held:
        resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    by_claims()
    assert Run.objects.get(automation=automation).status == "WAITING_FOR_EVENT"
    one_by_one(customer, "ping")
    assert outcomes(automation) == ["event"]


def test_a_wait_that_the_release_before_parked_goes_by_times_after_a_hold_too(
    workspace: Workspace, customer: Customer
) -> None:
    automation = live(workspace, f"steps: [{WAIT}]")
    happen(customer)
    happen(customer, "ping")
    route_all()
    due_workspaces.forget()
    advance_batch()
    Run.objects.update(wait_since=None)
    SecondLook.objects.update(created_at=F("created_at") - timedelta(seconds=5))
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    follow_all(automation.pk)
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    settle()
    assert outcomes(automation) == ["event"]


def test_a_wait_whose_event_is_not_known_any_more_counts_from_its_claim(
    workspace: Workspace, customer: Customer
) -> None:
    """Rows of routing may be cleaned away; then the wait is for what comes."""
    automation = live(workspace, f"steps: [{WAIT}]")
    happen(customer)
    route_all()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM automations_routed")
    by_claims()
    run = Run.objects.get(automation=automation)
    assert run.status == "WAITING_FOR_EVENT"
    assert run.wait_since is not None
    one_by_one(customer, "ping")
    assert outcomes(automation) == ["event"]
