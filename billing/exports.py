"""What billing holds of a customer, for the export made before an erasure (SUP-06). Amounts are decimal strings (CONTRACTS 1)."""

from __future__ import annotations

from typing import Any

from accounts.services.erasure import export_part
from billing.models import Invoice, Payment, Subscription
from billing.money import to_text

Rows = list[dict[str, Any]]


def connect() -> None:
    """Called once when the app starts."""
    export_part("subscriptions", subscriptions_of)
    export_part("invoices", invoices_of)
    export_part("payments", payments_of)


def subscriptions_of(workspace_id: int, customer_id: int) -> Rows:
    """Subscriptions, oldest first."""
    rows = Subscription.objects.filter(workspace_id=workspace_id, customer_id=customer_id).order_by("id")
    return [
        {
            "id": f"sub_{row.pk}",
            "status": row.status,
            "currentPeriodEnd": row.current_period_end.isoformat(),
            "canceledAt": row.canceled_at and row.canceled_at.isoformat(),
            "metadata": row.metadata,
        }
        for row in rows
    ]


def invoices_of(workspace_id: int, customer_id: int) -> Rows:
    """Invoices, oldest first."""
    rows = Invoice.objects.filter(workspace_id=workspace_id, customer_id=customer_id).order_by("id")
    return [
        {
            "id": f"inv_{row.pk}",
            "number": row.number or None,
            "status": row.status,
            "total": to_text(row.total, row.currency),
            "amountPaid": to_text(row.amount_paid, row.currency),
            "currency": row.currency,
            "dueAt": row.due_at and row.due_at.isoformat(),
            "metadata": row.metadata,
        }
        for row in rows
    ]


def payments_of(workspace_id: int, customer_id: int) -> Rows:
    """Payments of those invoices, oldest first."""
    rows = Payment.objects.filter(workspace_id=workspace_id, invoice__customer_id=customer_id).order_by("id")
    return [
        {
            "id": f"pay_{row.pk}",
            "invoice": f"inv_{row.invoice_id}",
            "status": row.status,
            "amount": to_text(row.amount, row.currency),
            "currency": row.currency,
            "failureReason": row.failure_reason or None,
        }
        for row in rows
    ]
