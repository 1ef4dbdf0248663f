"""Subscriptions, products and prices, and what billing knows of a customer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.keyset import filter_by
from accounts.adminsite.look import list_address, moment, row_link, state_pill, table
from accounts.adminsite.record import Block, add_blocks, shown_at
from accounts.models import Customer
from billing.adminsite.base import ROWS, SUBSCRIPTIONS, BillingAdmin, amount, choices, invoices, money
from billing.models import INTERVALS, Invoice, Price, Product, Subscription, SubscriptionStatus


@admin.register(Subscription)
class SubscriptionAdmin(BillingAdmin):
    """Subscriptions with their items."""

    prefix, place, states = "sub", 30, SUBSCRIPTIONS
    about = "Standing orders of customers and what they consist of."
    empty_text = "No subscriptions yet. POST /api/v1/subscriptions makes one."
    search_help_text = "An id such as sub_8, an external id, or the customer's e-mail address."
    list_display = (
        "public_id", "state", "customer", shown_at("current_period_end", "period ends"),
        shown_at("cancel_at", "to be cancelled"), "workspace",
    )  # fmt: skip
    list_filter = (filter_by("status", choices(SUBSCRIPTIONS, SubscriptionStatus.values)),)
    related = ("workspace", "customer")
    shown = (
        "customer", "current_period_start", "current_period_end", "trial_end", "cancel_at", "canceled_at", "collected",
        "changed_by", "external_id", "metadata", "created_at",
    )  # fmt: skip
    labels: ClassVar[dict[str, str]] = {
        "current_period_start": "Period began", "current_period_end": "Period ends", "trial_end": "Trial ends",
        "cancel_at": "To be cancelled", "canceled_at": "Cancelled", "created_at": "Created",
    }  # fmt: skip

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By external id or the customer's whole address."""
        return queryset.filter(Q(external_id=term) | Q(customer__email__iexact=term))

    def blocks(self, row: Subscription) -> Iterable[Block]:
        """Its items and newest invoices."""
        found = row.items.select_related("price", "price__product").order_by("pk")[:ROWS]
        items = (
            (row_link(one.price.product, one.price.product.name), one.quantity, price_of(one.price), one.price.interval)
            for one in found
        )  # fmt: skip
        yield Block("Items", table(("Product", ">Quantity", ">Price", "Every"), items, "No items."), name="items")
        yield invoices(row.invoices.all(), list_address(Invoice, subscription__id__exact=row.pk))


@admin.register(Product)
class ProductAdmin(BillingAdmin):
    """Products."""

    prefix, place = "prod", 50
    about = "What is sold."
    empty_text = "No products yet."
    search_help_text = "An id such as prod_2, an external id, or the beginning of a name."
    list_display = ("name", "public_id", "external_id", "workspace")
    related = ("workspace",)
    shown = ("external_id", "metadata", "created_at")
    labels: ClassVar[dict[str, str]] = {"created_at": "Created"}

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By external id or the beginning of the name."""
        return queryset.filter(Q(external_id=term) | Q(name__istartswith=term))

    def heading(self, row: Product) -> str:
        """Its name."""
        return row.name

    def blocks(self, row: Product) -> Iterable[Block]:
        """What it costs."""
        prices = (
            (row_link(one), amount(one.amount, one.currency), one.interval) for one in row.prices.order_by("pk")[:ROWS]
        )
        yield Block("Prices", table(("Price", ">Amount", "Every"), prices, "No prices yet."), name="prices")


@admin.register(Price)
class PriceAdmin(BillingAdmin):
    """Prices."""

    prefix, place = "price", 60
    about = "What products cost, once or per interval."
    empty_text = "No prices yet."
    list_display = ("public_id", "product_link", money("amount", "amount"), "interval", "workspace")
    list_filter = (filter_by("interval", {name: name.replace("_", " ").capitalize() for name in INTERVALS}),)
    related = ("workspace", "product")
    shown = ("product_link", "amount", "interval", "external_id", "metadata", "created_at")
    labels: ClassVar[dict[str, str]] = {"created_at": "Created"}

    @admin.display(description="product")
    def product_link(self, row: Price) -> SafeString:
        """By name."""
        return row_link(row.product, row.product.name)

    @admin.display(description="amount")
    def amount(self, row: Price) -> SafeString:
        """In its currency."""
        return format_html('<span class="money">{}</span>', amount(row.amount, row.currency))

    def heading(self, row: Price) -> str:
        """Product and amount."""
        return f"{row.product.name}, {amount(row.amount, row.currency)}"


def price_of(price: Price) -> str:
    """`79.00 EUR`."""
    return amount(price.amount, price.currency)


def of_customer(customer: Any) -> Iterable[Block]:
    """What billing knows of a customer: two queries."""
    found = Subscription.objects.filter(customer=customer).order_by("-pk")[:10]
    standing = [(row_link(one), state_pill(SUBSCRIPTIONS, one.status), moment(one.current_period_end)) for one in found]
    if standing:
        yield Block(
            "Subscriptions", table(("Subscription", "State", "Period ends"), standing, ""), name="subscriptions"
        )
    yield invoices(Invoice.objects.filter(customer=customer), list_address(Invoice, customer__id__exact=customer.pk))


add_blocks(Customer, of_customer)
