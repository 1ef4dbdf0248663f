"""Any order of changes leaves an invoice consistent, with the events of exactly what happened (BIL-03, DESIGN 5.1)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.actor import Actor, system_actor
from accounts.errors import Refusal
from accounts.models import Customer
from automations.models import Event
from billing.models import Invoice, Payment
from billing.services.invoices import finalize_invoice, mark_uncollectible, update_invoice, void_invoice
from billing.services.payments import record_payment
from tests.billing.helpers import make_buyer, make_invoice, make_subscription

pytestmark = pytest.mark.django_db

TOTAL = 10000
#: BIL-03 once more, as the model that the services are held against.
ALLOWED = {
    "finalize": {"draft": "open"},
    "void": {"open": "void", "uncollectible": "void"},
    "write_off": {"open": "uncollectible"},
}
steps = st.one_of(
    st.sampled_from(["finalize", "void", "write_off", "fail"]),
    st.tuples(st.just("pay"), st.integers(min_value=1, max_value=TOTAL + 1000)),
    st.tuples(st.just("collect"), st.booleans()),
)


@dataclass
class Model:
    """What an invoice should look like."""

    status: str = "draft"
    paid: int = 0
    attempts: int = 0
    failures: int = 0
    collected: bool = True
    events: Counter[str] = field(default_factory=Counter)

    def expect(self, step: Any) -> bool:
        """Take the step if it is allowed; answers whether it is."""
        if isinstance(step, str):
            return self._fail() if step == "fail" else self._move(step)
        name, value = step
        return self._pay(value) if name == "pay" else self._collect(value)

    def _move(self, step: str) -> bool:
        target = ALLOWED[step].get(self.status)
        if target is None:
            return False
        self.status = target
        names = {"finalize": "issued", "void": "voided", "write_off": "marked_uncollectible"}
        self.events[f"invoice.{names[step]}"] += 1
        self.collected = self.collected and target == "open"
        return True

    def _fail(self) -> bool:
        if self.status not in ("open", "uncollectible"):
            return False
        self.attempts += 1
        self.failures += 1
        self.events["payment.failed"] += 1
        return True

    def _pay(self, amount: int) -> bool:
        if self.status not in ("open", "uncollectible") or amount > TOTAL - self.paid:
            return False
        self.attempts += 1
        self.paid += amount
        self.events["payment.succeeded"] += 1
        if self.paid == TOTAL:
            self.status, self.collected = "paid", False
            self.events["invoice.paid"] += 1
        return True

    def _collect(self, value: bool) -> bool:
        if value == self.collected:
            return True
        if self.status not in ("draft", "open"):
            return False
        self.collected = value
        self.events["invoice.updated"] += 1
        return True


def take(actor: Actor, invoice: Invoice, step: Any) -> bool:
    """Ask the services; answers whether they did it."""
    given: dict[str, Any] = {"actor": actor, "invoice_id": invoice.pk}
    try:
        with transaction.atomic():
            if step == "finalize":
                finalize_invoice(**given)
            elif step == "void":
                void_invoice(**given)
            elif step == "write_off":
                mark_uncollectible(**given)
            elif step == "fail":
                record_payment(**given, status="failed")
            elif step[0] == "pay":
                record_payment(**given, status="succeeded", amount=f"{step[1] / 100:.2f}")
            else:
                update_invoice(**given, auto_advance=step[1])
    except Refusal:
        return False
    return True


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


@given(walk=st.lists(steps, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_walk_is_the_models_walk(buyer: Customer, walk: list[Any]) -> None:
    actor = system_actor(buyer.workspace_id)
    invoice = make_invoice(buyer, "100.00", status="draft")
    model = Model()
    for step in walk:
        assert take(actor, invoice, step) == model.expect(step), step
    after = Invoice.objects.get(pk=invoice.pk)
    found = (after.status, after.amount_paid, after.attempt_count, after.failed_count, after.auto_advance)
    assert found == (model.status, model.paid, model.attempts, model.failures, model.collected)
    events = Event.objects.filter(subjects__invoice=invoice.pk)
    assert Counter(events.values_list("name", flat=True)) == model.events
    assert len(set(events.values_list("key", flat=True))) == sum(model.events.values())
    payments = Payment.objects.filter(invoice=invoice)
    assert sum(row.amount for row in payments if row.status == "succeeded") == model.paid
    assert sorted(row.attempt or 0 for row in payments) == list(range(1, model.attempts + 1))


@given(walk=st.lists(steps, min_size=3, max_size=8))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_subscription_is_past_due_exactly_while_a_failed_invoice_is_open(buyer: Customer, walk: list[Any]) -> None:
    actor = system_actor(buyer.workspace_id)
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, "100.00", subscription=subscription)
    failed_while_open = False
    for step in walk:
        open_before = Invoice.objects.get(pk=invoice.pk).status == "open"
        done = take(actor, invoice, step)
        failed_while_open = failed_while_open or (done and step == "fail" and open_before)
    subscription.refresh_from_db()
    invoice.refresh_from_db()
    expected = "past_due" if failed_while_open and invoice.status != "paid" else "active"
    assert subscription.status == expected
