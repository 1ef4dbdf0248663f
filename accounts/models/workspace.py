"""The tenant. Everything else belongs to one, and nothing crosses (DESIGN 3)."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.sealed import SealedField

SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"


class Workspace(models.Model):
    """`defaults` holds settings that a workspace chooses (pacing of stage automations, caps); absent keys mean the
    product's."""

    slug = models.CharField(max_length=60, unique=True)
    name = models.CharField(max_length=200)
    plan = models.CharField(max_length=20, default="PRO")  # slug of a plan row; foreign key in migration 0002
    currency = models.CharField(max_length=3, default="EUR")
    time_zone = models.CharField(max_length=60, default="UTC")
    defaults = models.JSONField(default=dict)
    webhook_secret = SealedField()  # whsec_<base64>, Standard Webhooks
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(slug__regex=SLUG), name="workspace_slug_is_a_slug"),
            models.CheckConstraint(condition=Q(currency__regex=r"^[A-Z]{3}$"), name="workspace_currency_is_iso"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        """`ws_1`."""
        return f"ws_{self.pk}"
