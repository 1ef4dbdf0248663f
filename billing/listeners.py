"""Billing obeys what `accounts` announces: a merged customer's money moves to the one that stays, an erased one leaves nothing
personal behind (DESIGN 5.5)."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Model

from accounts.announcements import Announcement
from billing.models import Invoice, Payment, PaymentMethod, Subscription
from billing.services.facts import refresh_subscription_status

OWNED: tuple[type[Model], ...] = (Subscription, Invoice, PaymentMethod)


def on_announcements(announcements: Sequence[Announcement]) -> None:
    """In the caller's transaction."""
    for announcement in announcements:
        if announcement.kind == "customer.merged" and announcement.customer_id is not None:
            move(announcement.customer_id, int(announcement.data["into"]))
    erased = [item.customer_id for item in announcements if item.kind == "customer.erased" and item.customer_id]
    if erased:
        forget(erased)


def move(source: int, into: int) -> None:
    """Subscriptions, invoices and payment methods of a customer that ceased belong to the other one now, whose own default
    payment method stays the default."""
    if PaymentMethod.objects.filter(customer_id=into, default=True).exists():
        PaymentMethod.objects.filter(customer_id=source, default=True).update(default=False)
    for model in OWNED:
        model._default_manager.filter(customer_id=source).update(customer_id=into)
    refresh_subscription_status({into})


def forget(customers: Sequence[int]) -> None:
    """Money rows stay; what may name a person is emptied: metadata, external ids, and the payment methods go."""
    for model in (Subscription, Invoice):
        model._default_manager.filter(customer_id__in=customers).update(metadata={}, external_id="")
    Payment.objects.filter(invoice__customer_id__in=customers).update(metadata={}, external_id="")
    PaymentMethod.objects.filter(customer_id__in=customers).delete()
