"""What is sold: products and their prices."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from billing.models.base import CURRENCY, BillingObject, external_id_unique, newest_first

#: BIL-09, CND-14: a subscription's interval is that of its prices; `one_time` prices renew nothing.
INTERVALS = ("one_time", "daily", "weekly", "monthly", "yearly")


class Product(BillingObject):
    """Something sold under a name."""

    id_prefix = "prod"

    name = models.CharField(max_length=200)

    class Meta:
        constraints = [
            external_id_unique("product"),
            models.CheckConstraint(condition=~Q(name=""), name="product_has_name"),
        ]
        indexes = [newest_first("product")]


class Price(BillingObject):
    """What a product costs: minor units of `currency` once, or per interval."""

    id_prefix = "price"

    product = models.ForeignKey(Product, models.PROTECT, related_name="prices")
    amount = models.BigIntegerField()  # minor units
    currency = models.CharField(max_length=3)
    interval = models.CharField(max_length=10, default="monthly")

    class Meta:
        constraints = [
            external_id_unique("price"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="price_not_negative"),
            models.CheckConstraint(condition=Q(currency__regex=CURRENCY), name="price_currency_is_iso"),
            models.CheckConstraint(condition=Q(interval__in=INTERVALS), name="price_interval_known"),
        ]
        indexes = [newest_first("price")]
