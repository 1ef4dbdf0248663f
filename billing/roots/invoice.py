"""The root `invoice` and the query `invoices` (VAR-01 to VAR-07, STP-24)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from automations.engine.kinds import Query, Root
from billing.models import Invoice
from billing.records import load_invoices
from billing.roots.fields import InvoiceFields
from billing.roots.finding import Ref, resolve

SUBJECTS = {"invoice": "id", "subscription": "subscription_id", "customer": "customer_id"}


class InvoiceRoot(Root):
    """An invoice as it is at the moment of use."""

    name = "invoice"
    label = "Invoice"
    prefix = "inv"
    subject = "invoice"
    contains = frozenset({"customer", "subscription"})
    Fields = InvoiceFields

    def load(self, ids: Collection[int]) -> Mapping[int, Mapping[str, Any]]:
        """Five queries."""
        return load_invoices(ids)

    def resolve(self, workspace_id: int, refs: Sequence[Ref]) -> Sequence[Mapping[str, int] | None]:
        """An invoice brings its subscription and customer."""
        return resolve(Invoice, workspace_id, refs, SUBJECTS)


class Invoices(Query):
    """All invoices of a workspace."""

    name = "invoices"
    root = "invoice"

    def page(self, workspace_id: int, after: int, limit: int) -> Sequence[Mapping[str, int]]:
        """By the index `invoice_list`."""
        rows = Invoice.objects.filter(workspace_id=workspace_id, pk__gt=after).order_by("pk").values(*SUBJECTS.values())
        return [
            {name: row[column] for name, column in SUBJECTS.items() if row[column] is not None} for row in rows[:limit]
        ]


invoice = InvoiceRoot()
invoices = Invoices()
