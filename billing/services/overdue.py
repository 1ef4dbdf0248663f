"""The overdue sweep (BIL-04, TRG-06): open invoices past their due date become overdue, each once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from accounts.clock import OnwardNow, evaluation_now
from billing.models import SEND_INVOICE, Invoice, InvoiceStatus, Subscription
from billing.services.emit import Happening, emit, of_invoice, of_subscription
from billing.services.facts import refresh_subscription_status
from billing.services.invoices import touch
from billing.services.locking import hold_invoices
from billing.services.subscriptions import change_status

BATCH = 500


def sweep_overdue(limit: int = BATCH) -> int:
    """Mark up to `limit` invoices, in one transaction; answers how many. Invoices of customers that somebody else is changing
    are left to the next sweep, so two sweeps at once share the work and wait for nobody."""
    with transaction.atomic():
        late = Invoice.objects.filter(status=InvoiceStatus.OPEN, overdue_at__isnull=True, due_at__lte=OnwardNow())
        ids = list(late.order_by("due_at", "pk").values_list("pk", flat=True)[:limit])
        held = hold_invoices(ids, skip_locked=True)
        now = evaluation_now()
        found = [invoice for invoice in held.values() if _is_late(invoice, now)]
        _mark(found, now)
    return len(found)


def next_overdue() -> datetime | None:
    """When the next invoice becomes overdue, by the index `invoice_due`; in the past while some are left to a sweep."""
    waiting = Invoice.objects.filter(status=InvoiceStatus.OPEN, overdue_at__isnull=True, due_at__isnull=False)
    return waiting.order_by("due_at").values_list("due_at", flat=True).first()


def _is_late(invoice: Invoice, now: datetime) -> bool:
    """Judged again under the lock: somebody may have paid it, or another sweep been faster."""
    due = invoice.due_at
    return invoice.status == InvoiceStatus.OPEN and invoice.overdue_at is None and due is not None and due <= now


def _mark(invoices: Sequence[Invoice], now: datetime) -> None:
    for invoice in invoices:
        invoice.overdue_at = now
        touch(invoice, now)
    Invoice.objects.bulk_update(invoices, ["overdue_at", "revision", "updated_at"])
    happenings = [of_invoice(invoice, "overdue", None, again=True) for invoice in invoices]
    emit([*happenings, *_follow(invoices, now)], now)


def _follow(invoices: Sequence[Invoice], now: datetime) -> list[Happening]:
    """The subscription of an invoice that is sent becomes past due with it (REQUIREMENTS 4.2)."""
    sent = [invoice.subscription for invoice in invoices if invoice.collection_method == SEND_INVOICE]
    followers = {row.pk: row for row in sent if row is not None and row.status == "active"}
    for subscription in followers.values():
        change_status(subscription, "past_due", None, now)
    Subscription.objects.bulk_update(followers.values(), ["status", "changed_by_run", "revision", "updated_at"])
    refresh_subscription_status({row.customer_id for row in followers.values()})
    return [of_subscription(row, "updated", None) for row in followers.values()]
