"""Helpers of the tests of what a wait missed: it parks while something happens, or is held."""

from __future__ import annotations

from django.db import transaction

from automations.services.pause import pause_automation, resume_automation
from automations.worker.advance import advance_batch
from tests.factories import actor_of
from tests.worker.living import happen, settle
from tests.worker.racing import Racer
from tests.worker.routing import on, route_all, runs


def waiting(workspace, step="{id: w, type: wait_until, event: ping}"):
    """An automation that waits."""
    return on(workspace, "type: event, event: sign", steps=f"steps: [{step}, {{type: stop}}]")


def park(*missed):
    """Advance in a transaction during which other connections do `missed`."""
    with transaction.atomic():
        assert advance_batch() or advance_batch()
        for work in missed:
            Racer(work).result()


def ping(customer, payload=None, name="ping"):
    """Something that happens, and is routed, on another connection."""

    def work():
        happen(customer, name, payload)
        route_all()

    return work


def held(workspace, customer, filter="event.seats > 5"):
    """An automation whose run waits, and is held."""
    automation = waiting(workspace, f"{{id: w, type: wait_until, event: ping, filter: {filter}}}")
    happen(customer)
    settle()
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    settle()
    return automation


def resumed(workspace, automation):
    """Its run, which goes on."""
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
    settle()
    [run] = runs(automation)
    return run
