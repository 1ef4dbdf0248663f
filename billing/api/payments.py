"""`/payments` (CONTRACTS 8)."""

from __future__ import annotations

from rest_framework import serializers

from accounts.api.base import (
    ApiView,
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
from accounts.errors import invalid
from billing.api import shapes
from billing.api.fields import AmountField, external_id_field, metadata_field, numbers
from billing.api.finding import find, narrowed, rows_of
from billing.models import Invoice, Payment, PaymentStatus
from billing.services.payments import record_payment


class PaymentIn(StrictSerializer):
    """A payment made, or tried, elsewhere. Without an amount it is all that is due."""

    invoice = ReferenceField("inv")
    status = serializers.ChoiceField(choices=["succeeded", "failed"])
    amount = AmountField(required=False)
    failure_code = serializers.CharField(required=False, allow_blank=True, max_length=100)
    failure_reason = serializers.CharField(required=False, allow_blank=True, max_length=500)
    external_id = external_id_field()
    metadata = metadata_field()


class Payments(ApiView):
    """All payments, and recording one."""

    scopes = {"GET": "read", "POST": "billing"}
    filters = ("invoice", "status", "externalId")

    @describe(
        "payments_list",
        "Payments, newest first",
        answer=page("payments", shapes.PaymentOut),
        query=filters,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        """`invoice` is an id."""
        rows = narrowed(request, rows_of(request, Payment), {"invoice": ("inv", "invoice_id")})
        status = request.query_params.get("status")
        if status:
            if status not in PaymentStatus.values:
                raise invalid("status", f"choose one of {', '.join(PaymentStatus.values)}.")
            rows = rows.filter(status=status)
        return list_response(request, rows, "payments", shapes.payments)

    @describe(
        "payments_create",
        "Record a payment made elsewhere",
        request=PaymentIn,
        answer=shapes.PaymentOut,
        status=201,
        codes=("conflict", "unknown_reference", "wrong_state"),
    )
    def post(self, request: Request) -> Response:
        """Changes the invoice; the change emits `payment.succeeded`, `payment.failed`, `invoice.paid`."""
        actor, values = actor_of(request), parse(request, PaymentIn)
        (number,) = numbers(actor, Invoice, [values.pop("invoice")], "invoice", "inv")
        payment = record_payment(actor=actor, invoice_id=number, **values)
        return Response(shapes.payments([payment])[0], status=201)


class OnePayment(ApiView):
    """A payment."""

    scope = "read"

    @describe("payments_read", "A payment", answer=shapes.PaymentOut)
    def get(self, request: Request, payment: str) -> Response:
        """By id."""
        return Response(shapes.payments([find(request, Payment, payment)])[0])
