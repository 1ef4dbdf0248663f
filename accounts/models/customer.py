"""The person or account acted on. `profile` is the same record (C-31); anonymous until identified."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now


class Customer(models.Model):
    """`metadata` are text pairs of the workspace (BIL-10), `facts` what we know by ourselves: `pageviewCount`,
    `subscriptionStatus`, `latestEmail`, `stage`, `bucket` (BIL-13). Erased ones keep their row, emptied, with a
    placeholder for a name (SUP-06)."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    external_id = models.CharField(max_length=200, blank=True, default="")
    name = models.CharField(max_length=200, blank=True, default="")
    email = models.CharField(max_length=254, blank=True, default="")
    segment = models.CharField(max_length=100, blank=True, default="")
    plan = models.CharField(max_length=100, blank=True, default="")
    country = models.CharField(max_length=2, blank=True, default="")  # ISO 3166
    time_zone = models.CharField(max_length=60, blank=True, default="")  # "" is the workspace's
    locale = models.CharField(max_length=20, blank=True, default="")
    owner = models.ForeignKey("accounts.User", models.SET_NULL, null=True, related_name="+")
    metadata = models.JSONField(default=dict)
    facts = models.JSONField(default=dict)
    identified_at = models.DateTimeField(null=True)  # evaluation clock; null: an anonymous visitor
    erased_at = models.DateTimeField(null=True)
    merged_into = models.ForeignKey("self", models.PROTECT, null=True, related_name="+", db_index=False)
    created_at = models.DateTimeField()  # evaluation clock: `created` is a field of expressions
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                F("workspace"),
                Lower("email"),
                condition=~Q(email="") & Q(merged_into__isnull=True, erased_at__isnull=True),
                name="customer_email_unique",
            ),
            models.UniqueConstraint(
                fields=["workspace", "external_id"],
                condition=~Q(external_id="") & Q(merged_into__isnull=True, erased_at__isnull=True),
                name="customer_external_id_unique",
            ),
            models.CheckConstraint(
                condition=Q(identified_at__isnull=False) | Q(email="", external_id=""),
                name="customer_with_address_is_identified",
            ),
            models.CheckConstraint(
                condition=Q(erased_at__isnull=True)
                | Q(email="", external_id="", country="", time_zone="", locale="", metadata={}, owner__isnull=True),
                name="customer_erased_is_empty",
            ),
            models.CheckConstraint(
                condition=Q(merged_into__isnull=True) | ~Q(merged_into=F("id")), name="customer_not_merged_into_itself"
            ),
        ]
        indexes = [
            # api: list of a workspace, newest first; queries page by id
            models.Index(fields=["workspace", "-id"], name="customer_list"),
            # what was merged into one. Of merged ones alone: an index that had the others in one heap, under null, would be taken for a
            # quick way to them before the first ANALYZE.
            models.Index(fields=["merged_into"], condition=Q(merged_into__isnull=False), name="customer_merged"),
            # queries over customers: metadata.x = "y"
            GinIndex(fields=["metadata"], opclasses=["jsonb_path_ops"], name="customer_metadata"),
        ]

    def __str__(self) -> str:
        return self.name or self.email or self.public_id

    @property
    def public_id(self) -> str:
        """`cus_7`."""
        return f"cus_{self.pk}"


class Contact(models.Model):
    """A further person of a customer, with a role (payer, owner, ...)."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="contacts")
    role = models.CharField(max_length=40)
    name = models.CharField(max_length=200, blank=True, default="")
    email = models.CharField(max_length=254, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                F("workspace"), F("customer"), F("role"), Lower("email"), name="contact_once_per_role"
            )
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.email or self.name}"


class Tag(models.Model):
    """A label, named by its slug, made at its first use (ACT-10)."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    slug = models.CharField(max_length=60)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "slug"], name="tag_slug_unique"),
            models.CheckConstraint(condition=~Q(slug=""), name="tag_has_slug"),
        ]

    def __str__(self) -> str:
        return self.slug


class CustomerTag(models.Model):
    """A customer has a tag once, however often it is added (ACT-10)."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="customer_tags", db_index=False)
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            # also serves the tags of a page of customers
            models.UniqueConstraint(fields=["customer", "tag"], name="customer_tag_once"),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} {self.tag_id}"


class Consent(models.Model):
    """Whether an address may be mailed: per workspace, address and topic; topic "" is everything (SUP-03, SUP-04)."""

    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    customer = models.ForeignKey(Customer, models.SET_NULL, null=True, related_name="consents")
    address = models.CharField(max_length=254)  # lower case
    topic = models.CharField(max_length=100, blank=True, default="")
    state = models.CharField(max_length=12)
    reason = models.CharField(max_length=40, blank=True, default="")  # link, one_click, api, staff, bounce, complaint
    at = models.DateTimeField()  # database's real time (DESIGN 5.4)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            # channels ask by address before each mail
            models.UniqueConstraint(fields=["workspace", "address", "topic"], name="consent_once_per_topic"),
            models.CheckConstraint(condition=Q(address=Lower(F("address"))), name="consent_address_is_lower_case"),
            models.CheckConstraint(condition=Q(state__in=["subscribed", "unsubscribed"]), name="consent_state_known"),
        ]

    def __str__(self) -> str:
        return f"{self.address} {self.state}"
