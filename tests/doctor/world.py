"""A small workspace in which everything has happened once, made through the services and the worker alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.test import override_settings
from pytest_httpserver import HTTPServer

from accounts.models import Contact, Customer, Workspace
from accounts.services.consent import record_consent
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from automations.models import Automation, Run
from automations.services.cancel import cancel_run
from automations.services.drafts import create_automation, save_draft
from automations.services.entry import trigger_manually
from automations.services.pause import pause_automation, resume_automation
from automations.services.publish import activate
from automations.worker.advance import advance_batch
from automations.worker.deliver import deliver_batch
from automations.worker.route import route_batch
from billing.gateways.test import open_books
from billing.models import TestCharge as Booked
from billing.services.catalog import create_product
from billing.services.drafts import NewLine
from billing.services.payments import record_payment
from billing.services.subscriptions import cancel_subscription
from tests.billing.helpers import make_card, make_invoice, make_subscription
from tests.factories import actor_of, make_api_client, make_customer, make_task, make_workspace
from tests.worker.living import happen, live, pass_time, settle
from tests.worker.smtp_peer import MailServer

WALK = """
name: Welcome
trigger: {type: event, event: sign}
exits: [{event: order}]
goal: {event: order, within: 30d}
settings: {reentry: one_at_a_time}
steps:
  - {id: split, type: percentage_split, percent: 50}
  - {id: mail, type: action, action: send_email, to: "{{customer.email}}", subject: Hi, body: "<p>Hi {{customer.name}}</p>"}
  - {id: call, type: action, action: send_webhook, url: "URL"}
  - {id: tag, type: action, action: add_tag, tag: welcomed}
  - {id: task, type: action, action: create_task, title: Greet, message: Say hello}
"""
DELAYED = "steps: [{id: pause, type: delay, duration: 3d}, {id: tag, type: action, action: add_tag, tag: done}]"
SHORT = "steps: [{id: pause, type: delay, duration: 1m}, {id: tag, type: action, action: add_tag, tag: rested}]"
WAITING = "steps: [{id: wait, type: wait_until, event: reply, timeout: 7d}, {id: tag, type: action, action: add_tag, tag: done}]"
CALLING = 'steps: [{id: call, type: action, action: send_webhook, url: "URL"}]'
LOOPING = """
steps:
  - id: each
    type: loop
    over: "trigger.items"
    as: item
    steps: [{id: tag, type: action, action: add_tag, tag: "item-{{item}}"}]
"""
DUNNING = """
name: Dunning
trigger: {type: event, event: payment.failed}
steps: [{id: again, type: action, action: retry_payment}, {id: tag, type: action, action: add_tag, tag: tried}]
"""
EXCLUSIVE = """
name: Overdue
trigger: {type: event, event: billing.invoice_overdue}
steps: [{id: tag, type: action, action: add_tag, tag: overdue}]
"""
STAGED = """
name: Trial
trigger: {type: event, event: sign}
settings: {scope: [default/TRIAL], reentry: once}
steps: [{id: tag, type: action, action: add_tag, tag: trial}]
"""
RESTING = """
steps:
  - id: each
    type: loop
    over: "trigger.items"
    as: item
    steps: [{id: pause, type: delay, duration: 3d}]
"""
MANUAL = """
name: By hand
trigger: {type: manual}
steps: [{id: tag, type: action, action: add_tag, tag: called}]
"""
ENDING = """
name: Win back
trigger: {type: event, event: subscription.canceled}
steps: [{id: pause, type: delay, duration: 3d}]
"""
SCHEDULED = """
name: Weekly
trigger: {type: schedule, cron: "0 9 * * 1"}
steps: [{id: stop, type: stop, reason: nothing to do}]
"""


@dataclass
class World:
    """`workspace` is where it happens, `other` stands beside it. Automations and runs by what became of them."""

    workspace: Workspace
    other: Workspace
    automations: dict[str, Automation] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def make(self, name: str, text: str) -> Automation:
        """An ACTIVE automation called `name` here, with an event of its own where it starts on `sign`."""
        if "trigger:" not in text:
            text = f"name: {name}\ntrigger: {{type: event, event: {name}}}\n{text}"
        self.automations[name] = live(self.workspace, text.replace("event: sign", f"event: {name}"))
        return self.automations[name]

    def start(self, name: str, customer: Customer | None = None, **payload: Any) -> Run:
        """Let its event happen, and walk as far as it goes without sending anything."""
        happen(customer or make_customer(self.workspace), name, payload)
        settle()
        return self.remember(name)

    def remember(self, name: str) -> Run:
        """Its newest run."""
        self.runs[name] = Run.objects.filter(automation=self.automations[name]).latest("pk")
        return self.runs[name]


def build(server: HTTPServer) -> World:
    """The world, at rest."""
    server.expect_request("/ok").respond_with_data("{}", status=200)
    server.expect_request("/bad").respond_with_data("{}", status=410)
    world = World(make_workspace(), make_workspace())
    with (
        MailServer() as mail,
        override_settings(ONWARD_SMTP_URL=mail.url, ONWARD_EGRESS_ALLOW=("127.0.0.0/8",), ONWARD_DELIVERY_THREADS=1),
    ):
        _people(world)
        _ended(world, server)
        _standing(world, server)
        _money(world)
        _at_work(world)
        happen(make_customer(world.workspace), "just_now")  # nobody has routed it yet
    return world


def _people(world: World) -> None:
    actor = actor_of(world.workspace)
    one, two = (make_customer(world.workspace, tags=["vip"], stage="TRIAL") for _ in range(2))
    merge_customers(actor=actor, source_id=one.pk, into_id=two.pk)
    gone = make_customer(world.workspace, tags=["vip"])
    erase_customer(actor=actor, customer_id=gone.pk)
    Contact.objects.create(workspace=world.workspace, customer=make_customer(world.workspace), role="payer", name="Bo")
    make_customer(world.other)
    make_task(world.workspace)
    client = make_api_client(world.workspace)
    client.post("/customers", {"email": "posted@example.com"}, headers={"Idempotency-Key": "doctor-1"})


def _ended(world: World, server: HTTPServer) -> None:
    """Completed (with mail, call, tag, task; in a loop; after a wait and a timer), failed and cancelled runs."""
    make = world.make
    make("completed", WALK.replace("URL", server.url_for("/ok")))
    make("looped", LOOPING)
    make("failed", CALLING.replace("URL", server.url_for("/bad")))
    make("staged", STAGED)
    make("scheduled", SCHEDULED)
    for name in ("completed", "failed", "staged"):
        world.start(name)
    world.start("looped", items=["a", "b"])
    customer = make_customer(world.workspace)
    make("woken", WAITING)
    world.start("woken", customer)
    happen(customer, "reply")
    settle(deliver=True)
    make("rested", SHORT)
    world.start("rested")
    pass_time("+2m")
    make("cancelled", CALLING.replace("URL", server.url_for("/ok")))
    run = world.start("cancelled")
    cancel_run(actor=actor_of(world.workspace), run_id=run.pk)
    create_automation(
        actor=actor_of(world.workspace), body=f"name: Draft\ntrigger: {{type: manual}}\n{DELAYED}", fmt="yaml"
    )


def _standing(world: World, server: HTTPServer) -> None:
    """Runs that stand on a timer, an event, a delivery and a hold; a hold that was released; a second version."""
    actor = actor_of(world.workspace)
    hand = world.make("manual", MANUAL)
    trigger_manually(actor, hand, {"customer": make_customer(world.workspace).pk}, {})
    settle()
    world.make("resting", RESTING)
    world.start("resting", items=["a"])
    world.make("timer", DELAYED)
    world.start("timer")
    world.make("event", WAITING)
    world.start("event")
    held = world.make("held", DELAYED)
    world.start("held")
    pause_automation(actor=actor, automation_id=held.pk, in_flight="hold")
    released = world.make("released", WAITING)
    world.start("released")
    pause_automation(actor=actor, automation_id=released.pk, in_flight="hold")
    resume_automation(actor=actor, automation_id=released.pk, held="continue")
    stays = world.make("older", WAITING)
    world.start("older")
    _second_version(world, stays)
    mailed = make_customer(world.workspace)
    world.start("completed", mailed)
    settle(deliver=True)
    record_consent(actor=actor, address=mailed.email, state="unsubscribed", customer_id=mailed.pk)
    world.make("delivery", CALLING.replace("URL", server.url_for("/ok")))
    world.start("delivery")
    settle()


def _second_version(world: World, automation: Automation) -> None:
    actor = actor_of(world.workspace)
    text = f"name: older\ntrigger: {{type: event, event: older}}\n{DELAYED}"
    save_draft(actor=actor, automation_id=automation.pk, body=text, fmt="yaml")
    activate(actor=actor, automation_id=automation.pk)


def _money(world: World) -> None:
    """Paid, declined and open invoices; a charge by an automation; one whose answer was lost and is read back."""
    world.make("charged", DUNNING)
    world.make("overdue", EXCLUSIVE)
    actor = actor_of(world.workspace)
    for card in ("card_ok", "card_decline_soft", "card_timeout_after_charge"):
        customer = make_customer(world.workspace)
        make_card(customer, card)
        invoice = make_invoice(customer, subscription=make_subscription(customer))
        record_payment(actor=actor, invoice_id=invoice.pk, status="failed", failure_code="insufficient_funds")
        settle()
        deliver_batch(kinds=["charge"])
        settle()
        world.runs[card] = Run.objects.filter(automation=world.automations["charged"]).latest("pk")
    world.make("ending", ENDING)
    cancel_subscription(actor=actor, subscription_id=make_subscription(make_customer(world.workspace)).pk)
    settle()
    product = create_product(actor=actor, name="Seat")
    lines = [NewLine("Seat", "10.00", product_id=product.pk)]
    make_invoice(make_customer(world.workspace), status="paid", lines=lines)
    make_invoice(make_customer(world.workspace), status="draft")
    make_invoice(make_customer(world.workspace), status="void")


def _at_work(world: World) -> None:
    """A run that parked a moment ago: its second look and its tallies are still to come."""
    happen(make_customer(world.workspace), "event")
    route_batch()
    advance_batch()
    world.remember("event")


def clean_books() -> None:
    """The test gateway writes on a connection of its own, which no roll-back reaches."""
    keys = list(Booked.objects.values_list("key", flat=True))
    with open_books() as own, own.cursor() as cursor:
        cursor.execute("delete from billing_test_charge where key = any(%s)", [keys])
