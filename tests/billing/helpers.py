"""Makers of billing objects on top of the services. They live here until other areas need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from accounts.actor import system_actor
from accounts.models import Customer, Workspace
from automations.models import Event
from automations.services.events import load_events
from billing.models import Invoice, Payment, PaymentMethod, Price, Subscription
from billing.services.catalog import create_payment_method, create_price, create_product
from billing.services.drafts import NewLine, create_invoice
from billing.services.invoices import finalize_invoice, mark_uncollectible, void_invoice
from billing.services.payments import pay_invoice
from billing.services.subscriptions import NewItem, create_subscription
from tests.factories import make_customer, make_workspace


def make_buyer(workspace: Workspace | None = None, **fields: Any) -> Customer:
    """A customer of a workspace of its own unless one is given."""
    return make_customer(workspace or make_workspace(), **fields)


def make_price(workspace: Workspace, amount: str = "129.00", **fields: Any) -> Price:
    """A monthly price of a product of its own."""
    actor = system_actor(workspace.pk)
    product = create_product(actor=actor, name="Team plan")
    return create_price(actor=actor, product_id=product.pk, amount=amount, currency="EUR", **fields)


def make_subscription(customer: Customer, interval: str = "monthly", **fields: Any) -> Subscription:
    """An active subscription unless told otherwise."""
    price = make_price(customer.workspace, interval=interval)
    actor = system_actor(customer.workspace_id)
    return create_subscription(actor=actor, customer_id=customer.pk, items=[NewItem(price.pk)], **fields)


def make_invoice(customer: Customer, total: str = "129.00", status: str = "open", **fields: Any) -> Invoice:
    """An invoice in the status asked for, brought there by the services."""
    actor = system_actor(customer.workspace_id)
    subscription = fields.pop("subscription", None)
    draft = create_invoice(
        actor=actor,
        customer_id=customer.pk,
        currency=fields.pop("currency", "EUR"),
        lines=fields.pop("lines", None) or [NewLine("Team plan", total)],
        subscription_id=subscription.pk if subscription else None,
        **fields,
    )
    ids: dict[str, Any] = {"actor": actor, "invoice_id": draft.pk}
    if status != "draft":
        finalize_invoice(**ids)
    if status == "paid":
        pay_invoice(**ids)
    elif status == "void":
        void_invoice(**ids)
    elif status == "uncollectible":
        mark_uncollectible(**ids)
    return Invoice.objects.get(pk=draft.pk)


def make_card(customer: Customer, card: str = "card_ok", **fields: Any) -> PaymentMethod:
    """A payment method of the test gateway."""
    actor = system_actor(customer.workspace_id)
    return create_payment_method(actor=actor, customer_id=customer.pk, card=card, **fields)


def reload(row: Any) -> Any:
    """The row as the database has it now."""
    return type(row).objects.get(pk=row.pk)


def events_of(workspace: Workspace, source: str = "billing") -> list[Event]:
    """Events of billing, oldest first."""
    return list(Event.objects.filter(workspace=workspace, source=source).order_by("pk"))


def names_of(workspace: Workspace) -> list[str]:
    """Their names."""
    return [event.name for event in events_of(workspace)]


def trigger_of(event: Event) -> Mapping[str, Any]:
    """What `trigger.*` shows of an event."""
    return load_events([event.pk])[event.pk].trigger


def last_event(workspace: Workspace, name: str) -> Event:
    """The newest event of that name."""
    return Event.objects.filter(workspace=workspace, name=name).latest("pk")


def payments_of(invoice: Invoice) -> list[Payment]:
    """All payments of an invoice, oldest first."""
    return list(Payment.objects.filter(invoice=invoice).order_by("pk"))


def move_clock(sql_interval: str) -> None:
    """Move the evaluation clock by an interval such as `3 days`, for this test."""
    with connection.cursor() as cursor:
        cursor.execute("update accounts_installation set clock_offset = clock_offset + %s::interval", [sql_interval])
