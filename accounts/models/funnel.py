"""Funnels, their stages, and who entered which one when (BIL-16)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Funnel(models.Model):
    """A row of stages. A new workspace has one, `default`."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    slug = models.CharField(max_length=60)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "slug"], name="funnel_slug_unique")]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        """`fun_1`."""
        return f"fun_{self.pk}"


class Stage(models.Model):
    """One stage; `buckets` are the names that an entry may carry, none when empty."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    funnel = models.ForeignKey(Funnel, models.CASCADE, related_name="stages", db_index=False)
    slug = models.CharField(max_length=60)  # TRIAL; looked up in any case
    name = models.CharField(max_length=200)
    order = models.PositiveSmallIntegerField()
    buckets = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["funnel", "slug"], name="stage_slug_unique"),
            models.UniqueConstraint(fields=["funnel", "order"], name="stage_order_unique"),
        ]
        indexes = [models.Index(fields=["workspace", "id"], name="stage_of_workspace")]  # api: /stages

    def __str__(self) -> str:
        return self.slug

    @property
    def public_id(self) -> str:
        """`stg_1`."""
        return f"stg_{self.pk}"


class StageEntry(models.Model):
    """A stay in a stage. One is open per customer and funnel; moving on closes it (BIL-16)."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    customer = models.ForeignKey("accounts.Customer", models.CASCADE, related_name="stage_entries", db_index=False)
    funnel = models.ForeignKey(Funnel, models.CASCADE, related_name="+", db_index=False)
    stage = models.ForeignKey(Stage, models.PROTECT, related_name="+")
    bucket = models.CharField(max_length=60, blank=True, default="")
    at = models.DateTimeField()  # evaluation clock
    left_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "stage entries"
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "funnel"], condition=Q(left_at__isnull=True), name="stage_entry_one_open"
            ),
            models.CheckConstraint(
                condition=Q(left_at__isnull=True) | Q(left_at__gte=F("at")), name="stage_entry_left_after_entered"
            ),
        ]
        indexes = [models.Index(fields=["customer", "id"], name="stage_entry_history")]  # a customer's page

    def __str__(self) -> str:
        return f"{self.customer_id} {self.stage_id}"
