"""Races over one customer: routers with events of one invoice, routers with one re-entry key, two batches of workers (E3, E4, RUN-23,
DESIGN 5.2; RELIABILITY 18, 20)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.actor import system_actor
from accounts.models import Customer, CustomerTag
from automations.actions.update_customer import UpdateCustomer
from automations.models import Automation, Run
from automations.services import entry
from automations.services.events import NewEvent, record_events
from automations.worker import advance as advancing
from automations.worker import locks, queue, route
from automations.worker.batch import Occurrence
from automations.worker.route import route_batch
from billing.services.payments import pay_invoice
from tests.billing.helpers import make_invoice
from tests.chaos.blocking import quick_deadlocks, until_blocked
from tests.chaos.races.gates import advance, gate, rolled_back, steps, two_names, without_constraint
from tests.chaos.races.race import AT_ONCE, RESTING, Guard, Race
from tests.factories import make_customer, unique
from tests.worker.living import happen, live, settle
from tests.worker.racing import Racer
from tests.worker.routing import route_all


def _without_entry_key(patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    text = entry._ENTRIES.replace("on conflict (workspace_id, automation_id, key) do nothing", "")
    patch.setattr(entry, "_ENTRIES", text)
    return without_constraint("automations_entry", "entry_once")


def _without_shards(patch: pytest.MonkeyPatch) -> None:
    """Routers take every busy shard, whoever has it, and leave the queue without asking whether they were the first."""
    patch.setattr(locks, "_BUSY", locks._BUSY.replace("pg_try_advisory_xact_lock(%s + s)", "(%s + s) > 0"))
    patch.setattr(route, "hold_shards", lambda shards: None)

    def leave(events: Any) -> None:
        with connection.cursor() as cursor:
            columns = [[shard for shard, _ in events], [id for _, id in events]]
            cursor.execute(queue._LEAVE, columns)

    patch.setattr(queue, "leave", leave)


def _walking_whatever_moved(patch: pytest.MonkeyPatch) -> None:
    moving = Occurrence.move_to

    def move_to(self: Occurrence, customer_id: int) -> None:
        moving(self, customer_id)
        self.moved = False

    patch.setattr(Occurrence, "move_to", move_to)


def _without_customer_locks(patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    patch.setattr(advancing, "_lock_customers", lambda walks: None)
    return quick_deadlocks()


class TwoBatches(Race):
    """Two workers advance runs of the same customers, who are changed by both, in rounds of opposite orders."""

    name, title, rows = "two-batches", "two batches on the same customers", "DESIGN 5.2, lock order"
    orders = ("left_first", "right_first", AT_ONCE)
    guards = (Guard("customers are locked in order before anything else", _without_customer_locks, orders[:2]),)
    checks = ("S1", "L1", "R1", "R2", "O1")
    FLOW = """
trigger: {{type: event, event: {0}}}
steps:
  - id: side
    type: condition
    if: customer.plan == "{0}"
    then:
      - {{id: soon, type: action, action: update_customer, fields: {{metadata: {{{0}: "yes"}}}}}}
    else:
      - {{id: tag, type: action, action: add_tag, tag: "{0}"}}
      - {{id: later, type: action, action: update_customer, fields: {{metadata: {{{0}: "yes"}}}}}}
"""

    def prepare(self) -> None:
        self.automations = {name: live(self.workspace, self.FLOW.format(name)) for name in ("left", "right")}

    def begin(self) -> list[Customer]:
        return [make_customer(self.workspace, plan=plan) for plan in ("left", "right", "left", "right")]

    def due(self, people: list[Customer], name: str) -> None:
        for who in people:
            happen(who, name)
        route_all()

    def left_first(self, people: list[Customer]) -> bool:
        return self._forced(people, "left", "right")

    def right_first(self, people: list[Customer]) -> bool:
        return self._forced(people[::-1], "right", "left")

    def _forced(self, people: list[Customer], one: str, two: str) -> bool:
        """The first has changed half of the customers when the second comes."""
        self.due(people, one)
        with gate(UpdateCustomer, "apply", after=True, sides=2) as changed:
            first = Racer(advance)
            changed.wait()
            self.due(people[::-1], two)
            second = Racer(advance)
            held = until_blocked(second, unless=lambda: changed.standing == 2)
            changed.open()
            first.result()
        second.result()
        return held

    def at_once(self, people: list[Customer]) -> bool:
        for name in self.chance.sample(list(self.automations), 2):
            self.due(people, name)
        self.at_once_with(*[lambda: advancing.advance_batch(4)] * 3)
        return True

    def judge(self, people: list[Customer]) -> None:
        settle()
        ids = [who.pk for who in people]
        for who in Customer.objects.filter(pk__in=ids):
            self.figures.lost += who.metadata != {"left": "yes", "right": "yes"}
        self.figures.lost += CustomerTag.objects.filter(customer__in=ids).count() != len(ids)
        for run in Run.objects.filter(customer__in=ids):
            self.figures.lost += run.status != "COMPLETED"
            self.figures.doubled += len(set(steps(run))) != len(steps(run))


class OneInvoice(Race):
    """Events of one invoice through several routers: in their order, each once, whoever routes them."""

    name, title, rows = "one-invoice", "events of one invoice through several routers", "18, 20, E3, E4"
    orders = ("turned_away", "over_a_merge", AT_ONCE)
    guards = (
        Guard("one router has a shard", _without_shards, orders[:1]),
        Guard("what an event of a merged record starts waits for a claim", _walking_whatever_moved, orders[1:2]),
    )
    checks = ("E3", "E4", "E6", "E7", "R1", "R2", "R7")

    def prepare(self) -> None:
        self.opened = live(
            self.workspace,
            "trigger: {type: event, event: opened}\nexits: [{event: closed, reason: closed}]\n"
            f"settings: {{reentry: one_at_a_time}}\n{RESTING}",
        )
        self.issued = live(
            self.workspace,
            f"trigger: {{type: event, event: invoice.issued}}\nexits: [{{event: invoice.paid}}]\n{RESTING}",
        )

    def begin(self) -> tuple[Customer, Customer]:
        return two_names(self.workspace)

    def happen(self, customer: Customer, *names: str) -> None:
        """Events of the customer's only invoice, one after the other."""
        subjects = {"customer": customer.pk, "invoice": customer.pk}
        record_events([NewEvent(self.workspace.pk, name, "api", unique("e"), subjects, {}) for name in names])

    def turned_away(self, names: tuple[Customer, Customer]) -> bool:
        """One router is at work on the invoice; three others come with what happened meanwhile."""
        who = names[1]
        self.happen(who, "opened")
        with transaction.atomic():
            route_all()
            Racer(lambda: self.happen(who, "closed", "opened", "closed")).result()
            others = [Racer(route_batch)]
            waited = until_blocked(others[0])
            others += [Racer(route_batch) for _ in range(0 if waited else 2)]
            routed = [] if waited else [other.result() for other in others]
        others[0].result()
        return routed == [0, 0, 0]

    def over_a_merge(self, names: tuple[Customer, Customer]) -> bool:
        """The invoice is issued to a record that was merged, and paid before the router that has the issue commits. It cannot see the
        payment; the exit is judged on the invoice before the run does anything."""
        old, new = names
        invoice = make_invoice(new)
        route_all()
        Run.objects.filter(automation=self.issued, customer=new).delete()
        subjects = {"customer": old.pk, "invoice": invoice.pk}
        issue = NewEvent(self.workspace.pk, "invoice.issued", "api", unique("e"), subjects, {"status": "open"})
        record_events([issue])
        with gate(route, "_forget") as entering:  # all is written, nothing is committed
            router = Racer(lambda: route_all(walking=True))
            entering.wait()
            pay_invoice(actor=system_actor(self.workspace.pk), invoice_id=invoice.pk)
            routed = route_all()
            entering.open()
            router.result()
        self.happen(new, "opened", "closed", "opened", "closed")
        return routed > 0

    def at_once(self, names: tuple[Customer, Customer]) -> bool:
        self.happen(names[1], "opened", "closed")
        self.at_once_with(*[route_all] * 3, lambda: self.happen(names[1], "opened", "closed"))
        return True

    def judge(self, names: tuple[Customer, Customer]) -> None:
        settle()
        runs = Run.objects.filter(automation=self.opened, customer=names[1])
        self.figures.lost += runs.filter(end_reason="closed").count() < 2 or runs.filter(ended_at=None).exists()
        self.figures.doubled += runs.count() > 2
        issued = Run.objects.filter(automation=self.issued, customer=names[1])
        self.figures.lost += issued.filter(ended_at=None).count()
        self.figures.late += sum(len(steps(run)) for run in issued)
        self.figures.doubled += issued.count() > 1


class ReEntry(Race):
    """Two routers with two events that would each start a run under one re-entry key: one does."""

    name, title, rows = "re-entry", "re-entry by two routers", "18, E3, RUN-23"
    orders = ("old_first", "new_first", "first_rolls_back", AT_ONCE)
    guards = (Guard("the unique re-entry key", _without_entry_key, orders[:2]),)
    checks = ("E3", "E4", "R1", "R7")

    def prepare(self) -> None:
        self.automations: list[Automation] = [
            live(self.workspace, f"settings: {{reentry: {rule}}}\n{RESTING}") for rule in ("once", "one_at_a_time")
        ]

    def begin(self) -> tuple[Customer, Customer]:
        return two_names(self.workspace)

    def old_first(self, names: tuple[Customer, Customer]) -> bool:
        return self._forced(*names)

    def new_first(self, names: tuple[Customer, Customer]) -> bool:
        return self._forced(*names[::-1])

    def _forced(self, one: Customer, two: Customer) -> bool:
        happen(one)
        with transaction.atomic():
            route_all()
            return self._second(two)

    def _second(self, two: Customer) -> bool:
        Racer(lambda: happen(two)).result()
        self.other = Racer(route_all)
        return until_blocked(self.other)

    def first_rolls_back(self, names: tuple[Customer, Customer]) -> bool:
        held = []
        happen(names[0])

        def work() -> None:
            route_all()
            held.append(self._second(names[1]))

        rolled_back(work)
        return held[0]

    def at_once(self, names: tuple[Customer, Customer]) -> bool:
        for who in names:
            happen(who)
        self.other = Racer(lambda: self.at_once_with(route_all, route_all))
        return True

    def judge(self, names: tuple[Customer, Customer]) -> None:
        self.other.result()
        route_all()
        for automation in self.automations:
            count = Run.objects.filter(automation=automation, customer=names[1]).count()
            self.figures.lost += count < 1
            self.figures.doubled += count > 1
