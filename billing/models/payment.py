"""Payment methods, and every try to collect money."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from billing.models.base import CURRENCY, BillingObject, external_id_unique, newest_first
from billing.models.invoice import Invoice


class PaymentMethod(BillingObject):
    """A card or account at a gateway, named there by `reference`. `fingerprint` is the same for the same card again."""

    id_prefix = "pm"

    customer = models.ForeignKey("accounts.Customer", models.CASCADE, related_name="payment_methods", db_index=False)
    gateway = models.CharField(max_length=40)
    reference = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    default = models.BooleanField(default=False)

    class Meta:
        constraints = [
            external_id_unique("payment_method"),
            models.UniqueConstraint(fields=["customer"], condition=Q(default=True), name="payment_method_one_default"),
        ]
        indexes = [models.Index(fields=["customer", "id"], name="payment_method_of_customer")]


class PaymentStatus(models.TextChoices):
    """pending: about to be charged, or being charged. unknown: nobody can tell yet whether the gateway charged."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


#: A charge that may still come true; one invoice has at most one (no double charge).
OPEN_PAYMENTS = ("pending", "unknown")


class Payment(BillingObject):
    """One try. `attempt` counts the decided tries of the invoice; `key` is the delivery key that the gateway got."""

    id_prefix = "pay"

    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="payments", db_index=False)
    method = models.ForeignKey(PaymentMethod, models.SET_NULL, null=True, related_name="payments")
    amount = models.BigIntegerField()  # minor units
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=9, choices=PaymentStatus)
    attempt = models.PositiveIntegerField(null=True)  # null until it is decided
    settles = models.BooleanField(default=False)  # with it the invoice was paid in full
    failure_code = models.CharField(max_length=100, blank=True, default="")
    failure_reason = models.CharField(max_length=500, blank=True, default="")
    gateway_reference = models.CharField(max_length=200, blank=True, default="")
    key = models.CharField(max_length=255, blank=True, default="")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            external_id_unique("payment"),
            models.UniqueConstraint(fields=["invoice", "attempt"], name="payment_attempt_once"),
            models.UniqueConstraint(fields=["workspace", "key"], condition=~Q(key=""), name="payment_key_once"),
            models.UniqueConstraint(fields=["invoice"], condition=Q(settles=True), name="payment_one_settles"),
            models.UniqueConstraint(
                fields=["invoice"], condition=Q(status__in=["pending", "unknown"]), name="payment_one_open"
            ),
            models.CheckConstraint(condition=Q(status__in=PaymentStatus.values), name="payment_status_known"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="payment_amount_positive"),
            models.CheckConstraint(condition=Q(currency__regex=CURRENCY), name="payment_currency_is_iso"),
            models.CheckConstraint(
                condition=Q(status__in=["pending", "unknown"], attempt__isnull=True, decided_at__isnull=True)
                | Q(status__in=["succeeded", "failed"], attempt__isnull=False, decided_at__isnull=False),
                name="payment_decided_has_attempt_and_time",
            ),
            models.CheckConstraint(
                condition=Q(settles=False) | Q(status="succeeded"), name="payment_settles_only_if_succeeded"
            ),
            models.CheckConstraint(
                condition=Q(status="failed") | Q(failure_code="", failure_reason=""),
                name="payment_reason_only_if_failed",
            ),
        ]
        indexes = [newest_first("payment")]


class TestCharge(models.Model):
    """The test gateway's own books: what a real provider would keep on its side. Written on a connection of its own,
    never in our transactions, and read by nothing but that gateway."""

    __test__ = False  # pytest: not a test class

    key = models.CharField(max_length=255, unique=True)
    reference = models.CharField(max_length=200)
    invoice = models.BigIntegerField()
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    result = models.JSONField()
    created_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        db_table = "billing_test_charge"
        # gateways/test.py: earlier charges of this card for this invoice
        indexes = [models.Index(fields=["reference", "invoice"], name="test_charge_of_card")]

    def __str__(self) -> str:
        return self.key
