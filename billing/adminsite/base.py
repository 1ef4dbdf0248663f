"""What the pages of billing share: amounts, states, and the invoices of somebody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.look import id_link, link, moment, row_link, state_pill, table
from accounts.adminsite.record import Block, RecordAdmin
from billing.models import Invoice
from billing.money import to_text

ROWS = 50
INVOICES = {
    "draft": ("Draft", "draft", "pencil"),
    "open": ("Open", "run", "open"),
    "paid": ("Paid", "ok", "tick"),
    "void": ("Void", "idle", "bar"),
    "uncollectible": ("Uncollectible", "warn", "warn"),
}
PAYMENTS = {
    "pending": ("Pending", "run", "clock"),
    "succeeded": ("Succeeded", "ok", "tick"),
    "failed": ("Declined", "warn", "card"),  # a declined card is a result, not an error
    "unknown": ("Unknown", "warn", "question"),
}
SUBSCRIPTIONS = {
    "incomplete": ("Incomplete", "warn", "clock"),
    "incomplete_expired": ("Expired", "idle", "bar"),
    "trialing": ("Trial", "run", "hourglass"),
    "active": ("Active", "ok", "tick"),
    "past_due": ("Past due", "warn", "clock"),
    "canceled": ("Cancelled", "idle", "bar"),
    "unpaid": ("Unpaid", "warn", "warn"),
    "paused": ("Paused", "idle", "pause"),
}
_COLLECTED = {"send_invoice": "sent to be paid", "charge_automatically": "charged to the card on file"}


def amount(minor: int, currency: str) -> str:
    """`129.00 EUR`."""
    return f"{to_text(minor, currency)} {currency}"


def money(name: str, title: str) -> Any:
    """A column with an amount of the row, in its currency."""

    @admin.display(description=title)
    def shown(row: Any) -> SafeString:
        return format_html('<span class="money">{}</span>', amount(getattr(row, name), row.currency))

    return shown


class BillingAdmin(RecordAdmin):
    """The public id first; the workspace and the customer are read with the page."""

    section = "Billing"
    states: ClassVar[dict[str, tuple[str, str, str]]] = {}

    @admin.display(description="state")
    def state(self, row: Any) -> SafeString:
        """A pill."""
        return state_pill(self.states, row.status)

    def badges(self, row: Any) -> list[SafeString]:
        """The state, where the kind has one."""
        return [self.state(row)] if self.states else []

    @admin.display(description="collected")
    def collected(self, row: Any) -> str:
        """How the money comes in."""
        return _COLLECTED.get(row.collection_method, row.collection_method)

    @admin.display(description="last changed by")
    def changed_by(self, row: Any) -> Any:
        """The run that changed it last (C-12); nothing when somebody did."""
        return id_link(f"exec_{row.changed_by_run}") if row.changed_by_run else None


def choices(states: dict[str, tuple[str, str, str]], known: Iterable[str]) -> dict[str, str]:
    return {value: states[value][0] for value in known}


def invoices(found: QuerySet[Invoice], address: str) -> Block:
    """The newest of them, as a part of another page."""
    rows = (
        (
            row_link(one, one.number or one.public_id),
            state_pill(INVOICES, one.status),
            amount(one.total, one.currency),
            moment(one.due_at),
        )
        for one in found.order_by("-pk")[:10]
    )
    more = link(address, "All invoices")
    return Block(
        "Invoices", table(("Invoice", "State", ">Total", "Due"), rows, "No invoices yet."), name="invoices", more=more
    )
