"""A small registry and helpers for tests of the walk: pure, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field

from automations.engine.definition import Definition, Edge, Node, TriggerSpec
from automations.engine.kinds import (
    Config,
    Envelope,
    LocalAction,
    OutsideAction,
    Query,
    Request,
    Root,
    TemplateText,
    Trigger,
)
from automations.engine.outcomes import Done, Outcome
from automations.engine.plan import Plan, compile_plan
from automations.engine.registry import Registry
from automations.engine.run_state import RunState
from automations.engine.scope import Records
from automations.engine.simulate import Simulation, World, simulate
from automations.engine.walk import Walk

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
WORKSPACE = {"id": "ws_1", "name": "Test", "currency": "EUR", "timeZone": "UTC", "zone": ZoneInfo("UTC")}


class NoteConfig(Config):
    text: TemplateText = Field("", title="Text")


class Note(LocalAction):
    """A local effect that changes the customer."""

    key = "note"
    label = "Note"
    group = "Records"
    Config = NoteConfig
    changes = frozenset({"customer"})

    def prepare(self, config: Any, scope: Any) -> Request | Outcome:
        text = scope.text(config.text)
        return Request(subjects=dict(scope.subjects), input={"text": text}, data=text)

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        return [Done({"text": request.data}) for request in requests]


class Call(OutsideAction):
    """An effect outside that the run waits for."""

    key = "call"
    label = "Call"
    group = "Communication"
    Config = NoteConfig
    waits = True

    def prepare(self, config: Any, scope: Any) -> Envelope | Outcome:
        text = scope.text(config.text)
        return Envelope("http", {"text": text}, input={"text": text}, output={"sent": text}, waits=self.waits)


class Mail(Call):
    """An effect outside that the run does not wait for."""

    key = "mail"
    label = "Mail"
    waits = False


class CustomerRoot(Root):
    name = "customer"
    prefix = "cus"
    other_names = ("profile",)
    subject = "customer"
    bare = {"country": "country"}


class InvoiceRoot(Root):
    name = "invoice"
    prefix = "inv"
    subject = "invoice"


class MailRoot(Root):
    name = "mail"
    subject = "run"
    bare = {"email_opened": "opened", "email_clicked": "clicked"}


class InvoiceQuery(Query):
    name = "invoices"
    root = "invoice"


class Paid(Trigger):
    key = "invoice.paid"
    group = "Billing"
    label = "Invoice paid"
    subject = "invoice"
    provides = frozenset({"customer", "invoice"})
    listens = ("invoice.paid",)
    holds = 'invoice.status == "paid"'


class PaymentFailed(Paid):
    key = "payment.failed"
    label = "Payment failed"
    listens = ("payment.failed",)
    holds = ""
    transactional = True


class Custom(Trigger):
    key = "custom"
    group = "Custom"
    label = "Custom event"


def make_registry() -> Registry:
    """The control steps of the product with small actions, roots and triggers of our own."""
    registry = Registry()
    registry.walk("automations.steps")
    for item in (
        Note(),
        Call(),
        Mail(),
        CustomerRoot(),
        InvoiceRoot(),
        MailRoot(),
        InvoiceQuery(),
        Paid(),
        PaymentFailed(),
        Custom(),
    ):
        registry.add(item)
    return registry


REGISTRY = make_registry()


def node(id: str, type: str, **config: Any) -> Node:
    """A step; `errors` is its errorHandling."""
    errors = config.pop("errors", None)
    return Node(id, type, {key.rstrip("_"): value for key, value in config.items()}, error_handling=errors)


def chain(*nodes: Node, edges: Sequence[tuple[str, str, str]] = (), **parts: Any) -> Definition:
    """A definition of `nodes` in a row, or joined by `edges` (source, port, target) where given."""
    made = [Edge(*edge) for edge in edges]
    if not made:
        ids = ["trigger", *(item.id for item in nodes)]
        made = [Edge(source, "next", target) for source, target in pairwise(ids)]
    trigger = parts.pop("trigger", TriggerSpec("event", "payment.failed"))
    return Definition("Test", trigger, tuple(nodes), tuple(made), **parts)


def plan_of(definition: Definition) -> Plan:
    return compile_plan(definition, REGISTRY)


def new_run(plan: Plan, **parts: Any) -> RunState:
    subjects = parts.pop("subjects", {"customer": 7, "invoice": 8})
    parts.setdefault("started_at", NOW)
    return RunState(456, 1, 1, 1, 9, subjects.get("customer"), subjects, step=plan.first, **parts)


RECORDS: dict[str, dict[int, Any]] = {
    "customer": {7: {"id": "cus_7", "name": "Ana", "country": "DE", "plan": "pro", "tags": ["a", "b", "c"]}},
    "invoice": {
        8: {"id": "inv_8", "status": "open", "dueDate": datetime(2026, 11, 30, tzinfo=UTC).date(), "total": 129},
        9: {"id": "inv_9", "status": "paid", "total": 5},
        10: {"id": "inv_10", "status": "open", "total": 7},
    },
    "mail": {},
    "trigger": {9: {"failureCount": 1, "customer": {"email": "ana@example.com"}}},
}


def load(root: str, ids: Sequence[int], records: Mapping[str, Mapping[int, Any]] = RECORDS) -> dict[int, Any]:
    table = records.get(root, {})
    return {id: table[id] for id in ids if id in table}


def play(definition: Definition, run: RunState | None = None, **world: Any) -> Simulation:
    """Simulate a definition to its end."""
    plan = plan_of(definition)
    records = world.pop("records", RECORDS)
    now = world.pop("now", NOW)
    world.setdefault("load", lambda root, ids: load(root, ids, records))
    return simulate(plan, run or new_run(plan), World(**world), now, WORKSPACE)


def walk_once(definition: Definition, run: RunState, now: datetime = NOW, **parts: Any) -> tuple[Walk, list[Any]]:
    """One turn with loads answered; the other questions are handed back unanswered."""
    walk = Walk(plan_of(definition), run, Records(), now, WORKSPACE, **parts)
    asked = []
    while (question := walk.advance()) is not None:
        if hasattr(question, "wanted"):
            for root, ids in question.wanted.items():
                walk.records.put(root, load(root, ids), list(ids))
            continue
        asked.append(question)
        break
    return walk, asked


def steps_of(simulation: Simulation) -> list[str]:
    """Ids of the steps in the order of the log."""
    return [row.step for row in simulation.rows]
