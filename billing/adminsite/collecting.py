"""Invoices, the tries to collect them, and what is charged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.keyset import filter_by
from accounts.adminsite.look import NONE, code, id_link, moment, pill, row_link, state_pill, table, yes_no
from accounts.adminsite.record import Block, Notice, shown_at
from billing.adminsite.base import INVOICES, PAYMENTS, ROWS, BillingAdmin, amount, choices, money
from billing.models import Invoice, InvoiceStatus, Payment, PaymentMethod, PaymentStatus

_RUN_OF_KEY = re.compile(r"\.exec_([0-9]{1,18})\.")


@admin.register(Invoice)
class InvoiceAdmin(BillingAdmin):
    """Invoices with their lines and payments."""

    prefix, place, states = "inv", 10, INVOICES
    about = "What customers owe: amounts, due dates, payments."
    empty_text = "No invoices yet. POST /api/v1/invoices makes one."
    search_help_text = "An id such as inv_8, a number, an external id, or the customer's e-mail address."
    list_display = (
        "public_id",
        "number",
        "state",
        "customer",
        money("total", "total"),
        shown_at("due_at", "due"),
        "overdue",
        "workspace",
    )
    list_display_links = ("public_id", "number")
    list_filter = (filter_by("status", choices(INVOICES, InvoiceStatus.values)),)
    related = ("workspace", "customer", "subscription")
    shown = (
        "customer", "subscription", "total", "paid", "due_at", "overdue_at", "collected", "auto_advance", "tries",
        "next_payment_attempt", "finalized_at", "paid_at", "voided_at", "marked_uncollectible_at", "changed_by",
        "external_id", "metadata", "created_at",
    )  # fmt: skip
    labels: ClassVar[dict[str, str]] = {
        "due_at": "Due", "overdue_at": "Overdue since", "finalized_at": "Issued", "paid_at": "Paid in full", "voided_at": "Voided",
        "marked_uncollectible_at": "Given up", "auto_advance": "Collected by itself", "created_at": "Created",
        "next_payment_attempt": "Next payment attempt",
    }  # fmt: skip

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By what names it, or the customer's whole address."""
        return queryset.filter(Q(number=term) | Q(external_id=term) | Q(customer__email__iexact=term))

    @admin.display(description="overdue")
    def overdue(self, row: Invoice) -> SafeString:
        """A dated fact on an open invoice, no state (C-14)."""
        return pill("Overdue", "warn", "clock") if row.overdue_at and row.status == "open" else NONE

    @admin.display(description="total")
    def total(self, row: Invoice) -> SafeString:
        """The whole demand."""
        return format_html('<span class="money">{}</span>', amount(row.total, row.currency))

    @admin.display(description="paid")
    def paid(self, row: Invoice) -> str:
        """What came in, and what is still due."""
        due = f"; {amount(row.amount_due, row.currency)} due" if row.status in ("open", "uncollectible") else ""
        return f"{amount(row.amount_paid, row.currency)}{due}"

    @admin.display(description="payments tried")
    def tries(self, row: Invoice) -> str:
        """All, and those that failed."""
        return f"{row.attempt_count}, {row.failed_count} of them failed" if row.attempt_count else ""

    def heading(self, row: Invoice) -> str:
        """Its number, once it is issued."""
        return row.number or row.public_id

    def badges(self, row: Invoice) -> list[SafeString]:
        """The state, and whether it is overdue."""
        overdue = self.overdue(row)
        return [self.state(row), *([overdue] if overdue is not NONE else [])]

    def blocks(self, row: Invoice) -> Iterable[Block]:
        """Its lines and every try to collect it."""
        lines = (
            (one.description, one.quantity, amount(one.amount, row.currency))
            for one in row.lines.order_by("position")[:ROWS]
        )
        yield Block("Lines", table(("What", ">Quantity", ">Amount"), lines, "No lines."), name="lines")
        found = row.payments.order_by("-pk")[:ROWS]
        tries = (
            (row_link(one), state_pill(PAYMENTS, one.status), amount(one.amount, one.currency), one.failure_reason or NONE,
             made_by(one), moment(one.decided_at or one.created_at))
            for one in found
        )  # fmt: skip
        heads = ("Payment", "State", ">Amount", "Why", "Made by", "When")
        yield Block("Payments", table(heads, tries, "Nobody has tried to collect it yet."), name="payments")


def made_by(payment: Payment) -> Any:
    """The run whose step made the charge: its id stands in the key that the gateway got."""
    match = _RUN_OF_KEY.search(payment.key)
    return id_link(f"exec_{match[1]}") if match else NONE


@admin.register(Payment)
class PaymentAdmin(BillingAdmin):
    """Payments."""

    prefix, place, states = "pay", 20, PAYMENTS
    about = "Every try to collect money, and what came of it."
    empty_text = "No payments yet."
    search_help_text = "An id such as pay_8, the key or reference at the gateway, an external id, or an invoice number."
    list_display = (
        "public_id", "state", "invoice_link", money("amount", "amount"), "attempt", "failure_reason", "made",
        shown_at("decided_at", "decided"), "workspace",
    )  # fmt: skip
    list_filter = (filter_by("status", choices(PAYMENTS, PaymentStatus.values)),)
    related = ("workspace", "invoice", "method")
    shown = (
        "invoice_link", "amount", "attempt", "failure_reason", "failure_code", "method_link", "made", "gateway_reference", "key",
        "settles", "external_id", "metadata", "created_at", "decided_at",
    )  # fmt: skip
    labels: ClassVar[dict[str, str]] = {
        "settles": "Paid the invoice in full", "created_at": "Begun", "decided_at": "Decided",
        "gateway_reference": "Known to the gateway as",
    }  # fmt: skip

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By what names it, or the number of its invoice."""
        named = Q(key=term) | Q(gateway_reference=term) | Q(external_id=term)
        return queryset.filter(named | Q(invoice__number=term))

    @admin.display(description="invoice")
    def invoice_link(self, row: Payment) -> SafeString:
        """By number."""
        return row_link(row.invoice, row.invoice.number or row.invoice.public_id)

    @admin.display(description="method")
    def method_link(self, row: Payment) -> Any:
        """What was charged."""
        return row_link(row.method) if row.method else None

    @admin.display(description="amount")
    def amount(self, row: Payment) -> SafeString:
        """In its currency."""
        return format_html('<span class="money">{}</span>', amount(row.amount, row.currency))

    @admin.display(description="made by")
    def made(self, row: Payment) -> Any:
        """The run, where one did."""
        return made_by(row)

    @admin.display(description="key")
    def key(self, row: Payment) -> Any:
        """What the gateway knows it by."""
        return code(row.key) if row.key else None

    def settles(self, row: Payment) -> Any:
        """Said only of the one that did."""
        return yes_no(True) if row.settles else None

    def notice(self, row: Payment) -> Notice | None:
        """What an undecided charge means."""
        if row.status != "unknown":
            return None
        text = "Nobody can tell yet whether the gateway charged. It is asked again; the card is not charged a second time meanwhile."
        return Notice("warn", text, "question")


@admin.register(PaymentMethod)
class PaymentMethodAdmin(BillingAdmin):
    """Payment methods."""

    prefix, place = "pm", 40
    about = "Cards and accounts on file, by the name that the gateway gave them."
    empty_text = "No payment methods yet."
    list_display = ("public_id", "customer", "gateway", "reference", "default", "workspace")
    related = ("workspace", "customer")
    shown = ("customer", "gateway", "reference", "default", "external_id", "metadata", "created_at")
    labels: ClassVar[dict[str, str]] = {"default": "Charged first", "created_at": "Added"}
