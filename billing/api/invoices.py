"""`/invoices` (CONTRACTS 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework import serializers

from accounts.actor import Actor
from accounts.api.base import (
    ApiView,
    Reference,
    ReferenceField,
    Request,
    Response,
    StrictSerializer,
    actor_of,
    describe,
    list_response,
    page,
    parse,
)
from accounts.clock import OnwardNow
from accounts.errors import invalid
from accounts.ids import parse_id
from billing.api import shapes
from billing.api.fields import AmountField, DueField, customer_number, external_id_field, metadata_field, numbers
from billing.api.finding import find, narrowed, rows_of
from billing.models import COLLECTION_METHODS, Invoice, InvoiceStatus, Product, Subscription
from billing.services.dates import due_time, zone_of
from billing.services.drafts import NewLine, create_invoice
from billing.services.invoices import finalize_invoice, mark_uncollectible, update_invoice, void_invoice
from billing.services.payments import pay_invoice

#: The names that a status goes by (C-14); `overdue` is open and past its due date.
_OVERDUE = Q(status=InvoiceStatus.OPEN, due_at__lte=OnwardNow())
STATUSES: dict[str, Q] = {
    **{status: Q(status=status) for status in InvoiceStatus.values},
    **dict.fromkeys(("unpaid", "issued"), Q(status=InvoiceStatus.OPEN)),
    **dict.fromkeys(("overdue", "past_due"), _OVERDUE),
}


class LineIn(StrictSerializer):
    """A line; `amount` is that of the whole line, below zero for a deduction."""

    description = serializers.CharField(max_length=500)
    quantity = serializers.IntegerField(default=1, min_value=1, max_value=1_000_000)
    amount = AmountField()
    product = ReferenceField("prod", required=False)


class InvoiceIn(StrictSerializer):
    """A new draft."""

    customer = ReferenceField("cus", email=True)
    subscription = ReferenceField("sub", required=False, allow_null=True)
    currency = serializers.CharField(max_length=3)
    lines = LineIn(many=True)
    due_date = DueField(required=False, allow_null=True)
    collection_method = serializers.ChoiceField(choices=COLLECTION_METHODS, required=False)
    auto_advance = serializers.BooleanField(required=False)
    external_id = external_id_field()
    metadata = metadata_field()


class InvoiceChange(StrictSerializer):
    """Absent fields stay; null takes the due date, or all metadata, away."""

    metadata = metadata_field()
    due_date = DueField(allow_null=True)
    auto_advance = serializers.BooleanField()


class PayIn(StrictSerializer):
    """Without an amount, all that is due."""

    amount = AmountField(required=False)


class Invoices(ApiView):
    """All invoices, and making a draft."""

    scopes = {"GET": "read", "POST": "billing"}
    filters = ("status", "customer", "subscription", "externalId")

    @describe(
        "invoices_list",
        "Invoices, newest first",
        answer=page("invoices", shapes.InvoiceOut),
        query=filters,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        """`status` is one of the stored ones, or `unpaid`, `overdue`."""
        references = {"customer": ("cus", "customer_id"), "subscription": ("sub", "subscription_id")}
        rows = _with_status(narrowed(request, rows_of(request, Invoice), references), request)
        return list_response(request, rows, "invoices", shapes.invoices)

    @describe(
        "invoices_create",
        "Make a draft",
        request=InvoiceIn,
        answer=shapes.InvoiceOut,
        status=201,
        codes=("conflict", "unknown_reference", "wrong_state"),
    )
    def post(self, request: Request) -> Response:
        """Finalise it to issue it."""
        actor, values = actor_of(request), parse(request, InvoiceIn)
        subscription = values.pop("subscription", None)
        row = create_invoice(
            actor=actor,
            customer_id=customer_number(actor, values.pop("customer")),
            subscription_id=_subscription(actor, subscription),
            lines=_lines(actor, values.pop("lines")),
            due=values.pop("due_date", None),
            **values,
        )
        return Response(shapes.invoices([row])[0], status=201)


def _with_status(rows: QuerySet[Invoice], request: Request) -> QuerySet[Invoice]:
    status = request.query_params.get("status")
    if not status:
        return rows
    if status not in STATUSES:
        raise invalid("status", f"choose one of {', '.join(STATUSES)}.")
    return rows.filter(STATUSES[status])


def _subscription(actor: Actor, ref: Reference | None) -> int | None:
    return numbers(actor, Subscription, [ref], "subscription", "sub")[0] if ref is not None else None


def _lines(actor: Actor, lines: list[dict[str, Any]]) -> list[NewLine]:
    named = [line for line in lines if "product" in line]
    found = numbers(actor, Product, [line["product"] for line in named], "product", "prod")
    for line, number in zip(named, found, strict=True):
        line["product_id"] = number
        del line["product"]
    return [NewLine(**line) for line in lines]


class OneInvoice(ApiView):
    """An invoice."""

    scopes = {"GET": "read", "PATCH": "billing"}

    @describe("invoices_read", "An invoice", answer=shapes.InvoiceOut)
    def get(self, request: Request, invoice: str) -> Response:
        """By id."""
        return Response(shapes.invoices([find(request, Invoice, invoice)])[0])

    @describe(
        "invoices_update",
        "Change metadata, due date or automatic collection",
        request=InvoiceChange,
        answer=shapes.InvoiceOut,
        codes=("wrong_state",),
    )
    def patch(self, request: Request, invoice: str) -> Response:
        """Amounts of an issued invoice are fixed (BIL-05)."""
        actor, values = actor_of(request), parse(request, InvoiceChange, partial=True)
        if "due_date" in values:
            values["due_at"] = due_time(values.pop("due_date"), zone_of(actor.workspace_id))
        row = update_invoice(actor=actor, invoice_id=parse_id("inv", invoice), **values)
        return Response(shapes.invoices([row])[0])


class _Transition(ApiView):
    """One change of state without a body."""

    scope = "billing"
    change: Callable[..., Invoice]

    def done(self, request: Request, invoice: str) -> Response:
        """Do it and show the invoice."""
        parse(request, StrictSerializer)
        row = type(self).change(actor=actor_of(request), invoice_id=parse_id("inv", invoice))
        return Response(shapes.invoices([row])[0])


class Finalize(_Transition):
    """Draft to open."""

    change = staticmethod(finalize_invoice)

    @describe(
        "invoices_finalize",
        "Issue a draft",
        request=StrictSerializer,
        answer=shapes.InvoiceOut,
        codes=("wrong_state",),
    )
    def post(self, request: Request, invoice: str) -> Response:
        """Emits `invoice.issued`."""
        return self.done(request, invoice)


class Void(_Transition):
    """Cancel for good."""

    change = staticmethod(void_invoice)

    @describe(
        "invoices_void", "Void an invoice", request=StrictSerializer, answer=shapes.InvoiceOut, codes=("wrong_state",)
    )
    def post(self, request: Request, invoice: str) -> Response:
        """Emits `invoice.voided`."""
        return self.done(request, invoice)


class MarkUncollectible(_Transition):
    """Write off."""

    change = staticmethod(mark_uncollectible)

    @describe(
        "invoices_mark_uncollectible",
        "Mark an invoice uncollectible",
        request=StrictSerializer,
        answer=shapes.InvoiceOut,
        codes=("wrong_state",),
    )
    def post(self, request: Request, invoice: str) -> Response:
        """Emits `invoice.marked_uncollectible`; it may still be paid."""
        return self.done(request, invoice)


class Pay(ApiView):
    """Money came in by another way."""

    scope = "billing"

    @describe(
        "invoices_pay",
        "Record that an invoice was paid elsewhere",
        request=PayIn,
        answer=shapes.InvoiceOut,
        codes=("wrong_state",),
    )
    def post(self, request: Request, invoice: str) -> Response:
        """Charges nothing. Emits `payment.succeeded`, and `invoice.paid` when nothing is due any more."""
        payment = pay_invoice(actor=actor_of(request), invoice_id=parse_id("inv", invoice), **parse(request, PayIn))
        return Response(shapes.invoices([payment.invoice])[0])
