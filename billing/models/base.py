"""What every billing object has in common (CONTRACTS 8: `id`, `externalId`, `metadata`, `createdAt`, `updatedAt`)."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

CURRENCY = r"^[A-Z]{3}$"

SEND_INVOICE = "send_invoice"
CHARGE_AUTOMATICALLY = "charge_automatically"
#: BIL-01: invoices are either sent to the customer to be paid, or charged to a payment method on file.
COLLECTION_METHODS = (SEND_INVOICE, CHARGE_AUTOMATICALLY)


class BillingObject(models.Model):
    """Abstract. Times are of the evaluation clock and written by the services; `metadata` are text pairs (BIL-10)."""

    id_prefix: ClassVar[str] = ""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    external_id = models.CharField(max_length=200, blank=True, default="")
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id that the API shows: prefix and number."""
        return f"{self.id_prefix}_{self.pk}"


def external_id_unique(table: str) -> models.UniqueConstraint:
    """An `externalId` names one object of its kind in its workspace."""
    return models.UniqueConstraint(
        fields=["workspace", "external_id"], condition=~Q(external_id=""), name=f"{table}_external_id_unique"
    )


def newest_first(table: str) -> models.Index:
    """Index of the API's list: a workspace's objects, newest first, paged by id."""
    return models.Index(fields=["workspace", "-id"], name=f"{table}_list")
