"""What is simulated: a few automations, customers and invoices, and what clients ask for, all drawn from the start value."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from accounts.actor import system_actor
from accounts.models import Customer, Workspace
from accounts.services.consent import record_consent
from automations.models import Automation, Run
from automations.services.cancel import cancel_run
from automations.services.drafts import save_draft
from automations.services.events import NewEvent, record_events
from automations.services.pause import pause_automation, resume_automation
from automations.services.publish import activate
from billing.models import Invoice
from billing.services.catalog import create_payment_method
from billing.services.payments import record_payment
from tests.billing.helpers import make_invoice
from tests.factories import make_customer, make_workspace
from tests.simulation.peers import ADDRESS
from tests.simulation.processes import Request
from tests.worker.living import live

HOOK = f"type: action, action: send_webhook, url: '{ADDRESS}'"
MAIL = "type: action, action: send_email, subject: Hello, body: '<p>Hello {{customer.name}}</p>'"
TASK = "type: action, action: create_task, message: 'Call {{customer.name}}'"
SIGN = "trigger: {type: event, event: sign}"
#: Each has effects within and outside, and something to wait for. `sign` starts all but the last.
FLOWS = {
    "line": f"""
settings: {{transactional: true}}
steps:
  - {{id: note, {TASK}}}
  - {{id: hook, {HOOK}, body: {{name: "{{{{customer.name}}}}"}}}}
  - {{id: rest, type: delay, duration: 1h}}
  - {{id: mark, type: action, action: add_tag, tag: seen}}
  - {{id: mail, {MAIL}}}
""",
    "wait": f"""
steps:
  - {{id: hello, {MAIL}}}
  - {{id: wait, type: wait_until, event: ping}}
  - {{id: note, {TASK}}}
  - {{id: again, type: wait_until, event: pong, timeout: 2h}}
  - {{id: done, type: action, action: add_tag, tag: ponged}}
""",
    "one": f"""
settings: {{reentry: one_at_a_time, transactional: true}}
exits: [{{event: leave}}]
goal: {{event: ping, within: 30d}}
steps:
  - {{id: note, {TASK}}}
  - {{id: rest, type: delay, duration: 5m}}
  - {{id: mail, {MAIL}}}
  - {{id: odd, type: condition, if: "trigger.n > 2", then: [{{id: hook, {HOOK}}}], else: [{{id: mark, type: action,
     action: add_tag, tag: small}}]}}
""",
    "loop": f"""
settings: {{errorHandling: {{retries: 2, retryDelay: 30s}}}}
steps:
  - id: each
    type: loop
    over: "{{{{trigger.items}}}}"
    as: item
    steps: [{{id: note, {TASK}}}, {{id: hook, {HOOK}, body: {{item: "{{{{item}}}}"}}}}]
  - {{id: wait, type: wait_until, event: pong, timeout: 10m, onTimeout: [{{id: late, type: action, action: add_tag, tag: late}}]}}
""",
}
#: Changes no record, so routers walk it in their own transaction.
QUICK = f"""
exits: [{{event: leave}}]
steps:
  - {{id: hello, {MAIL}}}
  - {{id: wait, type: wait_until, event: ping, timeout: 2h}}
  - {{id: hook, {HOOK}, body: {{name: "{{{{customer.name}}}}"}}}}
  - {{id: again, type: wait_until, event: pong, timeout: 1h}}
  - {{id: bye, {MAIL}}}
"""
MONEY = """
trigger: {type: event, event: payment.failed}
settings: {transactional: true}
steps:
  - {id: charge, type: action, action: retry_payment, onError: [{id: unpaid, type: action, action: add_tag, tag: unpaid}]}
  - {id: rest, type: delay, duration: 10m}
  - {id: mark, type: action, action: add_tag, tag: dunned}
"""
CLOCKWORK = f"""
trigger: {{type: schedule, interval: 20m}}
steps:
  - {{id: hook, {HOOK}, body: {{tick: "1"}}}}
"""


@dataclass
class World:
    """The rows that were there before the simulation began, by their ids, and what is asked for."""

    seed: int
    workspace: int = 0
    customers: list[int] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    automations: dict[str, int] = field(default_factory=dict)
    invoices: list[int] = field(default_factory=list)
    scripts: list[list[Request]] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)  # event key -> id, for every answer that a client got
    definitions: dict[str, str] = field(default_factory=dict)

    @property
    def actor(self) -> Any:
        """Who asks."""
        return system_actor(self.workspace)


def make_world(seed: int) -> World:
    """Through the services, on an empty database."""
    chance = random.Random(f"world {seed}")
    world = World(seed)
    workspace = make_workspace(name="Simulated")
    world.workspace = workspace.pk
    for number in range(3):
        _customer(world, workspace, number)
    names = chance.sample(sorted(FLOWS), 2)
    world.definitions = {name: SIGN + FLOWS[name] for name in names}
    if chance.random() < 0.6:
        world.definitions["money"] = MONEY
        world.invoices = [_unpaid(world, number) for number in range(2)]
    elif chance.random() < 0.6:
        world.definitions["clockwork"] = CLOCKWORK
    if chance.random() < 0.5:
        world.definitions["quick"] = SIGN + QUICK
    for name, text in world.definitions.items():
        automation: Automation = live(workspace, f"name: {name}\n{text}")
        world.automations[name] = automation.pk
    return world


def _customer(world: World, workspace: Workspace, number: int) -> None:
    customer: Customer = make_customer(workspace, email=f"person{number}@example.com", name=f"Person {number}")
    world.customers.append(customer.pk)
    world.addresses.append(customer.email)


def _unpaid(world: World, number: int) -> int:
    customer = Customer.objects.get(pk=world.customers[number])
    create_payment_method(actor=world.actor, customer_id=customer.pk, card="card", gateway="simulated")
    invoice: Invoice = make_invoice(customer)
    return invoice.pk


def write_scripts(world: World) -> None:
    """Two clients, each with a few things to ask for within some simulated minutes. The same each time."""
    chance = random.Random(f"script {world.seed}")
    makers = _makers(world, chance)
    world.acknowledged = {}
    world.scripts = [[], []]
    events = _events(world, chance)
    for number, event in enumerate(events):
        asked = world.scripts[number % 2]
        at = chance.choice([0.0, 0.0, 1.0, 60.0, 400.0, 3700.0])
        asked.append(Request(at, f"record {event.name}", _recorded(world, [event])))
        if chance.random() < 0.3:  # told twice, as callers do, also by the other client
            again = chance.choice(world.scripts)
            again.append(Request(at, f"record {event.name} again", _recorded(world, [event, chance.choice(events)])))
    for make in chance.sample(makers, 2):
        make()
    for script in world.scripts:
        script.sort(key=lambda request: request.at)


def _events(world: World, chance: random.Random) -> list[NewEvent]:
    names = ["sign"] * 3 + chance.choices(["sign", "ping", "pong", "leave"], [2, 5, 3, 1], k=4)
    return [
        NewEvent(
            world.workspace, name, "api", f"{name}-{number}", {"customer": chance.choice(world.customers)},
            {"n": number, "items": ["a", "b"][: chance.randint(0, 2)]},
        )
        for number, name in enumerate(names)
    ]  # fmt: skip


def _recorded(world: World, events: list[NewEvent]) -> Callable[[], None]:
    def ask() -> None:
        for event, answer in zip(events, record_events(events), strict=True):
            known = world.acknowledged.setdefault(event.key, answer.id)
            assert known == answer.id, f"{event.key} was acknowledged as {known} and as {answer.id}"

    return ask


def _makers(world: World, chance: random.Random) -> list[Callable[[], None]]:
    """Each adds one interference to the scripts."""

    def add(at: float, name: str, ask: Callable[[], Any]) -> None:
        chance.choice(world.scripts).append(Request(at, name, ask))

    pausable = chance.choice([name for name in world.automations if name != "clockwork"])
    automation = world.automations[pausable]
    begin = chance.choice([0.5, 30.0, 350.0])

    def unsubscribe() -> None:
        address = chance.choice(world.addresses)
        add(
            begin, f"unsubscribe {address}",
            lambda: record_consent(actor=world.actor, address=address, state="unsubscribed", reason="asked"),
        )  # fmt: skip

    def hold() -> None:
        how = chance.choice(["hold", "finish"])
        script = chance.choice(world.scripts)
        script.append(
            Request(begin, f"pause {pausable}: {how}",
                    lambda: pause_automation(actor=world.actor, automation_id=automation, in_flight=how))
        )  # fmt: skip
        script.append(
            Request(begin + 100, f"resume {pausable}",
                    lambda: resume_automation(actor=world.actor, automation_id=automation, held="continue"))
        )  # fmt: skip

    def cancel() -> None:
        add(begin, "cancel the oldest run", lambda: _cancel_oldest(world))

    def cancel_all() -> None:
        add(
            begin, f"pause {pausable}: cancel",
            lambda: pause_automation(actor=world.actor, automation_id=automation, in_flight="cancel"),
        )  # fmt: skip

    def publish() -> None:
        text = f"name: {pausable}\n{world.definitions[pausable]}".replace("Call", "Ring")
        runs = chance.choice(["stay", "cancel"])
        add(begin, f"publish {pausable}", lambda: _publish(world, automation, text, runs))

    return [unsubscribe, hold, cancel, cancel_all, publish]


def failing_payments(world: World) -> list[Request]:
    """What the provider's side reports: a payment of each invoice has failed."""
    return [
        Request(0.0, f"payment of inv_{invoice} failed", _failed(world, invoice, number))
        for number, invoice in enumerate(world.invoices)
    ]


def _failed(world: World, invoice: int, number: int) -> Callable[[], Any]:
    return lambda: record_payment(
        actor=world.actor, invoice_id=invoice, status="failed", external_id=f"reported-{number}"
    )


def ending(world: World) -> list[Request]:
    """A clockwork would go for ever. It is stopped and started anew right after its first time as well, whereupon its next time is
    counted anew: by a clock that was set back meanwhile it is the same one."""
    automation = world.automations.get("clockwork")
    if automation is None:
        return []

    def pause() -> Any:
        return pause_automation(actor=world.actor, automation_id=automation)

    def resume() -> Any:
        return resume_automation(actor=world.actor, automation_id=automation, held="continue")

    return [
        Request(1204.0, "pause clockwork", pause),
        Request(1206.0, "resume clockwork", resume),
        Request(4000.0, "pause clockwork", pause),
    ]


def _cancel_oldest(world: World) -> Any:
    run = Run.objects.filter(workspace_id=world.workspace, ended_at=None).order_by("pk").first()
    return cancel_run(actor=world.actor, run_id=run.pk) if run is not None else None


def _publish(world: World, automation: int, text: str, runs: str) -> Any:
    save_draft(actor=world.actor, automation_id=automation, body=text, fmt="yaml")
    return activate(actor=world.actor, automation_id=automation, runs=runs)
