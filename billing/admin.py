"""Billing in the Django admin: to look at, not to change. What a service guards is changed by the service (CONTRACTS 10)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from billing.models import (
    Invoice,
    InvoiceLine,
    Payment,
    PaymentMethod,
    Price,
    Product,
    Subscription,
    SubscriptionItem,
)
from billing.money import to_text


class LookingAt:
    """Nobody adds, changes or deletes here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


class ReadOnlyAdmin(LookingAt, admin.ModelAdmin):
    """Newest first, without counting whole tables; the workspace is always shown and read with the page."""

    ordering = ("-id",)
    list_per_page = 50
    show_full_result_count = False
    related: ClassVar[tuple[str, ...]] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what the columns show."""
        return super().get_queryset(request).select_related("workspace", *self.related)

    @admin.display(description="id")
    def public(self, row: Any) -> str:
        """The id that the API shows."""
        return str(row.public_id)


def money(name: str, title: str) -> Any:
    """A column with an amount of the row, in its currency."""

    @admin.display(description=title)
    def shown(row: Any) -> str:
        return f"{to_text(getattr(row, name), row.currency)} {row.currency}"

    return shown


class RowsInline(LookingAt, admin.TabularInline):
    """Rows that belong to an object."""

    extra = 0
    can_delete = False


class LineInline(RowsInline):
    """Lines of an invoice."""

    model: type[Model] = InvoiceLine
    fields = ("position", "description", "quantity", "amount", "product")


class ItemInline(RowsInline):
    """Items of a subscription."""

    model: type[Model] = SubscriptionItem
    fields = ("price", "quantity")


class PaymentInline(RowsInline):
    """Payments of an invoice."""

    model: type[Model] = Payment
    fields = ("attempt", "status", "amount", "currency", "failure_code", "failure_reason", "decided_at")


@admin.register(Product)
class ProductAdmin(ReadOnlyAdmin):
    """Products."""

    list_display = ("public", "workspace", "name", "external_id")
    search_fields = ("name", "external_id")


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    """Prices."""

    list_display = ("public", "workspace", "product", money("amount", "amount"), "interval")
    related = ("product",)
    list_filter = ("interval",)


@admin.register(PaymentMethod)
class PaymentMethodAdmin(ReadOnlyAdmin):
    """Payment methods."""

    list_display = ("public", "workspace", "customer", "gateway", "reference", "default")
    related = ("customer",)
    list_filter = ("gateway",)


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    """Subscriptions with their items."""

    list_display = ("public", "workspace", "customer", "status", "current_period_end", "cancel_at")
    related = ("customer",)
    list_filter = ("status",)
    search_fields = ("=id", "external_id", "customer__email")
    inlines = (ItemInline,)


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin):
    """Invoices with their lines and payments."""

    list_display = (
        "public",
        "workspace",
        "number",
        "customer",
        "status",
        money("total", "total"),
        "due_at",
        "overdue_at",
    )
    related = ("customer",)
    list_filter = ("status", "collection_method")
    search_fields = ("=id", "=number", "external_id", "customer__email")
    inlines = (LineInline, PaymentInline)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """Payments."""

    list_display = ("public", "workspace", "invoice", "status", money("amount", "amount"), "attempt", "failure_code")
    related = ("invoice",)
    list_filter = ("status",)
    search_fields = ("=id", "=key", "external_id", "=invoice__number")
