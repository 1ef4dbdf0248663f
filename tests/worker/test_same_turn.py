"""What a step reads of what an earlier step of the same turn did: as it is now, not as it was when the turn began (DESIGN 5.2, rounds)."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Workspace
from automations.engine.kinds import Envelope
from automations.engine.outcomes import Suppressed
from automations.engine.plan import compile_plan
from automations.engine.simulate import World, simulate
from automations.models import Automation, Delivery
from automations.services.events import NewEvent, record_events
from tests.billing.helpers import make_invoice
from tests.engine.worlds import NOW, RECORDS, WORKSPACE, Mail, chain, load, make_registry, new_run, node
from tests.factories import make_customer, make_workspace, unique
from tests.worker.living import happen, log_of, pass_time, settle, the_run
from tests.worker.routing import on

FIRST = "{id: a, type: action, action: send_email, subject: A, body: A}"
SECOND = "{id: b, type: action, action: send_email, subject: B, body: B%s}"
PAUSE = "{id: d, type: delay, duration: 1h}"


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    return make_workspace()


def after_an_opened_mail(workspace: Workspace, *then: str) -> Automation:
    """An automation whose run has sent a mail that was opened, and goes on with these steps an hour later."""
    automation = on(workspace, "type: event, event: sign", steps=f"steps: [{', '.join((FIRST, PAUSE, *then))}]")
    happen(make_customer(workspace))
    settle()
    [mail] = Delivery.objects.filter(workspace_id=workspace.pk)
    Delivery.objects.filter(pk=mail.pk).update(state="SENT", due_at=None, opened_at=mail.created_at)
    pass_time("+1h")
    return automation


WAIT = "{id: w, type: wait_until, event: email_opened, timeout: 3d}"


def test_an_open_of_the_mail_before_is_none_of_the_one_just_queued(workspace: Workspace) -> None:  # RUN-22, STP-14
    run = the_run(after_an_opened_mail(workspace, SECOND % "", WAIT))
    assert (run.status, run.step) == ("WAITING_FOR_EVENT", "w")


def test_a_condition_on_the_latest_mail_is_about_the_one_just_queued(workspace: Workspace) -> None:
    split = '{id: c, type: condition, if: email_opened or mail.subject == "A"}'
    run = the_run(after_an_opened_mail(workspace, SECOND % "", split))
    assert {row.step: row.port for row in log_of(run)}["c"] == "false"


def test_an_open_counts_when_no_mail_was_queued_since(workspace: Workspace) -> None:  # RUN-22
    assert the_run(after_an_opened_mail(workspace, WAIT)).status == "COMPLETED"


class Letter(Mail):
    """A mail to the customer, or one that is known beforehand not to go out."""

    key = "letter"

    def prepare(self, config: Any, scope: Any) -> Envelope:
        verdict = Suppressed("unsubscribed") if config.text else None
        return Envelope("email", {}, customer_mail=True, waits=False, verdict=verdict)


@pytest.mark.parametrize(("held_back", "status"), [("", "WAITING_FOR_EVENT"), ("yes", "COMPLETED")])
def test_a_simulation_says_the_same_and_a_mail_held_back_hides_none(held_back: str, status: str) -> None:
    registry = make_registry()
    registry.add(Letter())
    opened = {**RECORDS, "mail": {456: {"opened": True, "clicked": False}}}
    wait = node("w", "wait_until", event="email_opened")
    for pause in ([], [node("d", "delay", duration="1h")]):  # also in a later turn
        flow = chain(node("b", "letter", text=held_back), *pause, wait)
        plan = compile_plan(flow, registry)
        world = World(lambda root, ids: load(root, ids, opened))
        assert simulate(plan, new_run(plan), world, NOW, WORKSPACE).status == status


def test_a_changed_customer_is_read_anew_within_its_invoice(workspace: Workspace) -> None:
    change = "{id: u, type: action, action: update_customer, fields: {segment: vip}}"
    split = '{id: c, type: condition, if: invoice.customer.segment == "vip"}'
    before = '{id: o, type: condition, if: invoice.customer.segment == "vip"}'
    automation = on(workspace, "type: event, event: sign", steps=f"steps: [{before}, {change}, {split}]")
    invoice = make_invoice(make_customer(workspace, segment="new"), "129.00")
    subjects = {"customer": invoice.customer_id, "invoice": invoice.pk}
    record_events([NewEvent(workspace.pk, "sign", "api", unique("event"), subjects, {})])
    settle()
    ports = {row.step: row.port for row in log_of(the_run(automation))}
    assert (ports["o"], ports["c"]) == ("false", "true")
