"""Invoices: every change of their state, guarded under the row's lock (BIL-01 to BIL-05, TRG-04, TRG-32).

Statuses: draft -> open -> paid, void or uncollectible; uncollectible -> paid or void. Nothing leaves paid and void. Functions for
many take requests of any workspaces and answer one by one, so that a batch of runs is one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from accounts import audit
from accounts.actor import Actor
from accounts.clock import evaluation_now
from accounts.errors import Refusal, not_found
from accounts.models import Audit
from billing.models import UNPAID_INVOICES, Invoice, InvoiceStatus, Payment
from billing.services.checks import changed_metadata, wrong_state
from billing.services.dates import default_due
from billing.services.emit import Happening, emit, of_invoice
from billing.services.locking import hold_invoices
from billing.services.open_charges import charge_open, open_charges

FIELDS = [
    *("number", "status", "amount_paid", "due_at", "auto_advance", "attempt_count", "failed_count"),
    *("next_payment_attempt", "finalized_at", "paid_at", "voided_at", "marked_uncollectible_at", "overdue_at"),
    *("changed_by_run", "revision", "metadata", "updated_at"),
]
_NEXT_NUMBER = """
insert into billing_invoicecounter (workspace_id, last) values (%s, 1)
on conflict (workspace_id) do update set last = billing_invoicecounter.last + 1 returning last
"""
UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class InvoiceRequest:
    """A change asked for. `actor.run_id` is the run that brings it about, if any."""

    actor: Actor
    invoice_id: int


#: Changes the locked invoice, or raises a Refusal before it has changed anything; answers its transitions, in order.
Change = Callable[[Invoice, InvoiceRequest, datetime], Sequence[Happening]]


@dataclass
class _Batch:
    """What one call has done so far."""

    changed: dict[int, Invoice] = field(default_factory=dict)
    happenings: list[Happening] = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)


@transaction.atomic
def change_invoices(
    requests: Sequence[InvoiceRequest], verb: str, change: Change, despite_charge: bool = False
) -> list[Invoice | Refusal]:
    """Lock the invoices, change each, write them, emit what happened, in a fixed number of statements. The answers are in the
    order of the requests. `despite_charge`: also while a charge of the invoice is under way."""
    now = evaluation_now()
    held = hold_invoices({request.invoice_id for request in requests})
    charged = {} if despite_charge else open_charges(held)
    batch = _Batch()
    answers = [
        _change_one(request, held.get(request.invoice_id), verb, change, charged, now, batch) for request in requests
    ]
    Invoice.objects.bulk_update(batch.changed.values(), FIELDS)
    Audit.objects.bulk_create(batch.audits)
    emit(batch.happenings, now)
    return answers


def _change_one(
    request: InvoiceRequest,
    invoice: Invoice | None,
    verb: str,
    change: Change,
    charged: dict[int, Payment],
    now: datetime,
    batch: _Batch,
) -> Invoice | Refusal:
    actor = request.actor
    if invoice is None or invoice.workspace_id != actor.workspace_id:
        return not_found("invoice", f"inv_{request.invoice_id}")
    before = invoice.status
    try:
        if invoice.pk in charged:
            raise charge_open(invoice, charged[invoice.pk])
        happenings = change(invoice, request, now)
    except Refusal as refusal:
        return refusal
    batch.changed[invoice.pk] = invoice
    batch.happenings += happenings
    if actor.run_id is None:
        batch.audits.append(
            audit.row(actor, f"invoice.{verb}", invoice.public_id, {"status": before}, {"status": invoice.status})
        )
    return invoice


def only(answers: Sequence[Invoice | Refusal]) -> Invoice:
    """The one answer, or its refusal raised: nothing was written then."""
    if isinstance(answers[0], Refusal):
        raise answers[0]
    return answers[0]


def touch(invoice: Invoice, now: datetime) -> None:
    """Another transition of a locked invoice."""
    invoice.revision += 1
    invoice.updated_at = now


def set_status(invoice: Invoice, status: InvoiceStatus, cause: int | None, now: datetime) -> None:
    """Set the status of a locked invoice; a final one is not collected any more. The caller has checked the way there."""
    invoice.status = status
    invoice.changed_by_run = cause
    if status not in (InvoiceStatus.DRAFT, InvoiceStatus.OPEN):
        invoice.auto_advance = False
        invoice.next_payment_attempt = None
    touch(invoice, now)


def finalize_invoice(*, actor: Actor, invoice_id: int) -> Invoice:
    """Draft to open: gives the number and, to an invoice that is sent without a due date, the workspace's due date; from now
    on its amounts are fixed (BIL-05). Emits `invoice.issued`; an invoice over nothing is `paid` at once."""
    actor.require("billing")
    return only(change_invoices([InvoiceRequest(actor, invoice_id)], "finalize", _finalize))


def _finalize(invoice: Invoice, request: InvoiceRequest, now: datetime) -> list[Happening]:
    if invoice.status != InvoiceStatus.DRAFT:
        raise wrong_state(
            f"{invoice.public_id} is {invoice.status}; only a draft can be finalised.", status=invoice.status
        )
    cause = request.actor.run_id
    invoice.number = f"INV-{_next_number(invoice.workspace_id):04d}"
    invoice.finalized_at = now
    invoice.due_at = invoice.due_at or default_due(invoice, now)
    set_status(invoice, InvoiceStatus.OPEN, cause, now)
    happenings = [of_invoice(invoice, "issued", cause)]
    if invoice.total == 0:
        happenings.append(mark_paid(invoice, cause, now))
    return happenings


def _next_number(workspace_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_NUMBER, [workspace_id])
        return int(cursor.fetchone()[0])


def mark_paid(invoice: Invoice, cause: int | None, now: datetime) -> Happening:
    """A locked invoice whose total has come in is paid."""
    invoice.paid_at = now
    set_status(invoice, InvoiceStatus.PAID, cause, now)
    return of_invoice(invoice, "paid", cause)


def void_invoices(requests: Sequence[InvoiceRequest]) -> list[Invoice | Refusal]:
    """Cancel issued invoices for good. Emits `invoice.voided`. Refusal `wrong_state` for a draft, a paid or a void one, and
    while a charge is under way (ACT-06)."""
    return change_invoices(requests, "void", _void)


def void_invoice(*, actor: Actor, invoice_id: int) -> Invoice:
    """`void_invoices` for one, its refusal raised."""
    actor.require("billing")
    return only(void_invoices([InvoiceRequest(actor, invoice_id)]))


def _void(invoice: Invoice, request: InvoiceRequest, now: datetime) -> list[Happening]:
    if invoice.status not in UNPAID_INVOICES:
        help = (
            "finalise it first, or leave it" if invoice.status == "draft" else "only open and uncollectible ones can be"
        )
        raise wrong_state(
            f"{invoice.public_id} is {invoice.status} and cannot be voided: {help}.", status=invoice.status
        )
    invoice.voided_at = now
    set_status(invoice, InvoiceStatus.VOID, request.actor.run_id, now)
    return [of_invoice(invoice, "voided", request.actor.run_id)]


def mark_invoices_uncollectible(requests: Sequence[InvoiceRequest]) -> list[Invoice | Refusal]:
    """Write open invoices off; they may still be paid or voided. Emits `invoice.marked_uncollectible`."""
    return change_invoices(requests, "mark_uncollectible", _mark_uncollectible, despite_charge=True)


def mark_uncollectible(*, actor: Actor, invoice_id: int) -> Invoice:
    """`mark_invoices_uncollectible` for one, its refusal raised."""
    actor.require("billing")
    return only(mark_invoices_uncollectible([InvoiceRequest(actor, invoice_id)]))


def _mark_uncollectible(invoice: Invoice, request: InvoiceRequest, now: datetime) -> list[Happening]:
    if invoice.status != InvoiceStatus.OPEN:
        raise wrong_state(
            f"{invoice.public_id} is {invoice.status}; only an open invoice can be marked uncollectible.",
            status=invoice.status,
        )
    invoice.marked_uncollectible_at = now
    set_status(invoice, InvoiceStatus.UNCOLLECTIBLE, request.actor.run_id, now)
    return [of_invoice(invoice, "marked_uncollectible", request.actor.run_id)]


def update_invoice(
    *, actor: Actor, invoice_id: int, metadata: Any = UNSET, due_at: Any = UNSET, auto_advance: Any = UNSET
) -> Invoice:
    """Change metadata (merged key by key), due date or automatic collection. The latter two only on drafts and open
    invoices. A due date moved into the future takes `overdue` back. Emits `invoice.updated` when something changed (BIL-02)."""
    actor.require("billing")

    def change(invoice: Invoice, request: InvoiceRequest, now: datetime) -> list[Happening]:
        wanted = {"metadata": metadata, "due_at": due_at, "auto_advance": auto_advance}
        return _update(invoice, request, now, {name: value for name, value in wanted.items() if value is not UNSET})

    return only(change_invoices([InvoiceRequest(actor, invoice_id)], "update", change, despite_charge=True))


def _update(invoice: Invoice, request: InvoiceRequest, now: datetime, wanted: dict[str, Any]) -> list[Happening]:
    if "metadata" in wanted:
        wanted["metadata"] = changed_metadata(invoice.metadata, wanted["metadata"])
    changed = {name: value for name, value in wanted.items() if getattr(invoice, name) != value}
    if not changed:
        return []
    if invoice.status not in (InvoiceStatus.DRAFT, InvoiceStatus.OPEN) and changed.keys() - {"metadata"}:
        raise wrong_state(
            f"{invoice.public_id} is {invoice.status}; due date and autoAdvance can be changed on drafts and open invoices.",
            status=invoice.status,
        )
    for name, value in changed.items():
        setattr(invoice, name, value)
    if "due_at" in changed and _not_yet_overdue(invoice, now):
        invoice.overdue_at = None
    if "auto_advance" in changed:
        invoice.changed_by_run = request.actor.run_id
    touch(invoice, now)
    return [of_invoice(invoice, "updated", request.actor.run_id, again=True)]


def _not_yet_overdue(invoice: Invoice, now: datetime) -> bool:
    """Whether the fact of being overdue ends with the new due date; the sweep may find it again."""
    due, found = invoice.due_at, invoice.overdue_at
    return due is None or due > now or (found is not None and found < due)
