"""New invoices. They start as drafts and are issued by `finalize_invoice` (BIL-05)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.actor import Actor
from accounts.clock import evaluation_now
from accounts.errors import invalid, not_found
from billing.models import CHARGE_AUTOMATICALLY, COLLECTION_METHODS, Invoice, InvoiceLine, Product, Subscription
from billing.money import LARGEST, read_amount, read_currency
from billing.services.checks import changed_metadata, clean_external_id, find_all, hold_customer, insert
from billing.services.dates import due_time, zone_of

MOST_LINES = 250


@dataclass(frozen=True, slots=True)
class NewLine:
    """`amount` is that of the whole line, below zero for a deduction."""

    description: str
    amount: str | Decimal | int
    quantity: int = 1
    product_id: int | None = None


@transaction.atomic
def create_invoice(
    *,
    actor: Actor,
    customer_id: int,
    currency: str,
    lines: Sequence[NewLine],
    subscription_id: int | None = None,
    due: date | datetime | None = None,
    collection_method: str = CHARGE_AUTOMATICALLY,
    auto_advance: bool = True,
    external_id: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Invoice:
    """A draft; emits nothing. Its total is the sum of its lines and must not be below zero."""
    actor.require("billing")
    code = read_currency(currency)
    rows = _lines(actor, lines, code)
    if collection_method not in COLLECTION_METHODS:
        raise invalid("collectionMethod", f"choose {' or '.join(COLLECTION_METHODS)}.")
    customer = hold_customer(actor, customer_id)
    _check_subscription(actor, subscription_id, customer.pk)
    now = evaluation_now()
    invoice = Invoice(
        workspace_id=actor.workspace_id,
        customer_id=customer.pk,
        subscription_id=subscription_id,
        currency=code,
        total=_total(rows),
        due_at=due_time(due, zone_of(actor.workspace_id)),
        collection_method=collection_method,
        auto_advance=auto_advance,
        external_id=clean_external_id(external_id),
        metadata=changed_metadata({}, metadata),
        created_at=now,
        updated_at=now,
    )
    insert(invoice)
    for row in rows:
        row.invoice = invoice
    InvoiceLine.objects.bulk_create(rows)
    audit.record(actor, "invoice.create", invoice.public_id, after={"status": "draft"})
    return invoice


def _lines(actor: Actor, lines: Sequence[NewLine], currency: str) -> list[InvoiceLine]:
    if not 1 <= len(lines) <= MOST_LINES:
        raise invalid("lines", f"an invoice has 1 to {MOST_LINES} lines.")
    find_all(Product, actor, [line.product_id for line in lines if line.product_id is not None], "product", "prod")
    return [_line(actor, index, line, currency) for index, line in enumerate(lines)]


def _line(actor: Actor, index: int, line: NewLine, currency: str) -> InvoiceLine:
    place = f"lines[{index}]"
    if not line.description.strip() or len(line.description) > 500 or "\0" in line.description:
        raise invalid(f"{place}.description", "say in 1 to 500 characters what is charged.")
    if not 1 <= line.quantity <= 1_000_000:
        raise invalid(f"{place}.quantity", "a quantity is a whole number from 1 to 1000000.")
    return InvoiceLine(
        workspace_id=actor.workspace_id,
        position=index,
        description=line.description.strip(),
        quantity=line.quantity,
        amount=read_amount(line.amount, currency, f"{place}.amount"),
        product_id=line.product_id,
    )


def _total(rows: Sequence[InvoiceLine]) -> int:
    total = sum(row.amount for row in rows)
    if not 0 <= total <= LARGEST:
        raise invalid(
            "lines", "the lines together must come to zero or more, and to no more than this installation takes."
        )
    return total


def _check_subscription(actor: Actor, subscription_id: int | None, customer_id: int) -> None:
    if subscription_id is None:
        return
    found = Subscription.objects.filter(workspace_id=actor.workspace_id, pk=subscription_id).first()
    if found is None:
        raise not_found("subscription", f"sub_{subscription_id}")
    if found.customer_id != customer_id:
        raise invalid("subscription", f"{found.public_id} belongs to another customer.")
