"""The root `payment` (VAR-08 to VAR-12)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from automations.engine.kinds import Root
from billing.models import Payment
from billing.records import load_payments
from billing.roots.fields import PaymentFields
from billing.roots.finding import Ref, resolve

SUBJECTS = {
    "payment": "id",
    "invoice": "invoice_id",
    "subscription": "invoice__subscription_id",
    "customer": "invoice__customer_id",
}


class PaymentRoot(Root):
    """A payment as it is at the moment of use."""

    name = "payment"
    label = "Payment"
    prefix = "pay"
    subject = "payment"
    contains = frozenset({"invoice"})
    Fields = PaymentFields

    def load(self, ids: Collection[int]) -> Mapping[int, Mapping[str, Any]]:
        """One query."""
        return load_payments(ids)

    def resolve(self, workspace_id: int, refs: Sequence[Ref]) -> Sequence[Mapping[str, int] | None]:
        """A payment brings its invoice, with subscription and customer."""
        return resolve(Payment, workspace_id, refs, SUBJECTS)


payment = PaymentRoot()
