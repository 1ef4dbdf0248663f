"""Row locks in the one order of DESIGN 5.2: customers, then subscriptions, then invoices, within a kind by id."""

from __future__ import annotations

from collections.abc import Collection

from accounts.models import Customer
from billing.models import Invoice, Subscription


def hold_customers(ids: Collection[int], skip_locked: bool = False) -> set[int]:
    """Lock customers; with `skip_locked` those that somebody else holds are left out of the answer."""
    rows = Customer.objects.filter(pk__in=ids).order_by("pk")
    return set(rows.select_for_update(no_key=True, skip_locked=skip_locked).values_list("pk", flat=True))


def hold_subscriptions(ids: Collection[int]) -> dict[int, Subscription]:
    """Lock subscriptions, their customers before."""
    hold_customers(set(Subscription.objects.filter(pk__in=ids).values_list("customer_id", flat=True)))
    return _subscriptions(ids)


def _subscriptions(ids: Collection[int]) -> dict[int, Subscription]:
    rows = Subscription.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True)
    return {row.pk: row for row in rows}


def hold_invoices(ids: Collection[int], skip_locked: bool = False) -> dict[int, Invoice]:
    """Lock invoices, before them their customers and subscriptions; `invoice.subscription` is the locked one. With
    `skip_locked`, invoices of customers that somebody else holds are left out: they come with the next sweep."""
    pairs = list(Invoice.objects.filter(pk__in=ids).values_list("pk", "customer_id", "subscription_id"))
    held = hold_customers({customer for _, customer, _ in pairs}, skip_locked)
    pairs = [pair for pair in pairs if pair[1] in held]
    subscriptions = _subscriptions({subscription for _, _, subscription in pairs if subscription})
    rows = Invoice.objects.filter(pk__in=[pk for pk, _, _ in pairs]).order_by("pk").select_for_update(no_key=True)
    found = {row.pk: row for row in rows}
    for row in found.values():
        if row.subscription_id in subscriptions:
            row.subscription = subscriptions[row.subscription_id]
    return found
