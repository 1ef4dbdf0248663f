"""Invoices and their lines (BIL-01 to BIL-05)."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from billing.models.base import (
    CHARGE_AUTOMATICALLY,
    COLLECTION_METHODS,
    CURRENCY,
    BillingObject,
    external_id_unique,
    newest_first,
)
from billing.models.catalog import Product
from billing.models.subscription import Subscription


class InvoiceStatus(models.TextChoices):
    """Stored statuses. Overdue is a dated fact on an open invoice, no status (C-14)."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


#: Issued and not settled: these can be paid.
UNPAID_INVOICES = ("open", "uncollectible")
#: Automatic collection is always off on these.
NOT_COLLECTED = ("paid", "void", "uncollectible")


class Invoice(BillingObject):
    """A demand for money. Amounts are minor units of `currency` and fixed once the invoice is open (BIL-05).

    `changed_by_run` is the run that last changed status or `auto_advance` (C-12), null when somebody else did.
    """

    id_prefix = "inv"

    customer = models.ForeignKey("accounts.Customer", models.PROTECT, related_name="invoices", db_index=False)
    subscription = models.ForeignKey(Subscription, models.PROTECT, null=True, related_name="invoices")
    number = models.CharField(max_length=40, blank=True, default="")
    status = models.CharField(max_length=13, choices=InvoiceStatus, default=InvoiceStatus.DRAFT)
    currency = models.CharField(max_length=3)
    total = models.BigIntegerField()
    amount_paid = models.BigIntegerField(default=0)
    due_at = models.DateTimeField(null=True)  # a due date without a time is the end of that day in the workspace's zone
    collection_method = models.CharField(max_length=20, default=CHARGE_AUTOMATICALLY)
    auto_advance = models.BooleanField(default=True)
    attempt_count = models.PositiveIntegerField(default=0)  # payments tried
    failed_count = models.PositiveIntegerField(default=0)  # of them failed: `failureCount`
    next_payment_attempt = models.DateTimeField(null=True)
    finalized_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
    voided_at = models.DateTimeField(null=True)
    marked_uncollectible_at = models.DateTimeField(null=True)
    overdue_at = models.DateTimeField(null=True)  # when the sweep found it open past its due date
    changed_by_run = models.BigIntegerField(null=True)
    revision = models.PositiveIntegerField(default=0)  # transitions so far; part of the keys of its events

    class Meta:
        constraints = [
            external_id_unique("invoice"),
            models.UniqueConstraint(
                fields=["workspace", "number"], condition=~Q(number=""), name="invoice_number_unique"
            ),
            models.CheckConstraint(condition=Q(status__in=InvoiceStatus.values), name="invoice_status_known"),
            models.CheckConstraint(condition=Q(currency__regex=CURRENCY), name="invoice_currency_is_iso"),
            models.CheckConstraint(
                condition=Q(collection_method__in=COLLECTION_METHODS), name="invoice_collection_known"
            ),
            models.CheckConstraint(
                condition=Q(amount_paid__gte=0, amount_paid__lte=F("total")), name="invoice_paid_within_total"
            ),
            models.CheckConstraint(
                condition=Q(status="draft", amount_paid=0)
                | Q(status__in=["open", "uncollectible"], amount_paid__lt=F("total"))
                | Q(status="paid", amount_paid=F("total"))
                | Q(status="void"),
                name="invoice_status_agrees_with_paid",
            ),
            models.CheckConstraint(
                condition=Q(status="draft", finalized_at__isnull=True, number="")
                | (~Q(status="draft") & Q(finalized_at__isnull=False) & ~Q(number="")),
                name="invoice_issued_has_number_and_time",
            ),
            models.CheckConstraint(
                condition=Q(status="paid", paid_at__isnull=False) | (~Q(status="paid") & Q(paid_at__isnull=True)),
                name="invoice_paid_has_time",
            ),
            models.CheckConstraint(
                condition=Q(status="void", voided_at__isnull=False) | (~Q(status="void") & Q(voided_at__isnull=True)),
                name="invoice_void_has_time",
            ),
            models.CheckConstraint(
                condition=Q(status="uncollectible", marked_uncollectible_at__isnull=False)
                | Q(status__in=["draft", "open"], marked_uncollectible_at__isnull=True)
                | Q(status__in=["paid", "void"]),
                name="invoice_uncollectible_has_time",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["draft", "open"]) | Q(auto_advance=False, next_payment_attempt__isnull=True),
                name="invoice_final_is_not_collected",
            ),
            models.CheckConstraint(
                condition=Q(overdue_at__isnull=True)
                | (~Q(status="draft") & Q(due_at__isnull=False, overdue_at__gte=F("due_at"))),
                name="invoice_overdue_after_due",
            ),
            models.CheckConstraint(
                condition=Q(failed_count__lte=F("attempt_count")), name="invoice_failures_are_attempts"
            ),
        ]
        indexes = [
            newest_first("invoice"),
            # services/overdue.py: open invoices whose due date has passed
            models.Index(fields=["due_at"], condition=Q(status="open", overdue_at__isnull=True), name="invoice_due"),
            models.Index(fields=["customer", "id"], name="invoice_of_customer"),  # the customer's page
        ]

    @property
    def amount_due(self) -> int:
        """Minor units still to be paid."""
        return self.total - self.amount_paid


class InvoiceLine(models.Model):
    """One line. `amount` is that of the whole line in minor units, below zero for a deduction."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="lines", db_index=False)
    position = models.PositiveSmallIntegerField()
    description = models.CharField(max_length=500)
    quantity = models.PositiveIntegerField(default=1)
    amount = models.BigIntegerField()
    product = models.ForeignKey(Product, models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            # also serves the lines of a page of invoices
            models.UniqueConstraint(fields=["invoice", "position"], name="invoice_line_position_once")
        ]

    def __str__(self) -> str:
        return self.description


class InvoiceCounter(models.Model):
    """The last invoice number given in a workspace: raised in the transaction that issues, so numbers have no gaps."""

    workspace = models.OneToOneField("accounts.Workspace", models.PROTECT, primary_key=True, related_name="+")
    last = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.workspace_id}: {self.last}"
