"""Automations and their versions (C-01: the automation is open or closed for entry, a version says which text runs)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Deferrable, Q


class AutomationState(models.TextChoices):
    """DRAFT: never activated. ACTIVE and PAUSED both have an active version; PAUSED only closes the entrance."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


class Automation(models.Model):
    """Key, name, state and priority; everything else stands in its versions."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+")
    key = models.CharField(max_length=100, blank=True, default="")
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="")
    state = models.CharField(max_length=8, choices=AutomationState, default=AutomationState.DRAFT)
    # Copies of the active version, of the draft while none was ever active (CONTRACTS 3); limits and routing read them.
    trigger_key = models.CharField(max_length=100, blank=True, default="")
    listens = ArrayField(
        models.CharField(max_length=100), default=list
    )  # event names that its trigger, exits and goal hear
    stages = ArrayField(models.BigIntegerField(), default=list)  # empty: global scope
    exclusive = models.BooleanField(default=False)
    priority = models.PositiveIntegerField(null=True)  # exclusive triggers only
    active_version = models.ForeignKey("automations.Version", models.PROTECT, null=True, related_name="+")
    draft_revision = models.PositiveIntegerField(default=0)
    next_fire_at = models.DateTimeField(null=True)  # schedules: the next fire time, evaluation clock
    paused_at = models.DateTimeField(null=True)
    in_flight = models.CharField(max_length=6, blank=True, default="")  # what the pause asked for: finish, cancel, hold
    # One mark in place of many rows: runs up to that id are to be ended or held; claims obey it at once (DESIGN 5.5).
    cancel_mark = models.BigIntegerField(null=True)
    cancel_reason = models.CharField(max_length=40, blank=True, default="")
    hold_mark = models.BigIntegerField(null=True)
    release_mark = models.BigIntegerField(null=True)  # after a resume: held runs up to that id are to go on
    release_how = models.CharField(max_length=8, blank=True, default="")  # continue, skip, reanchor
    release_at = models.DateTimeField(null=True)  # when the clocks of held runs began to run again
    enrol_after = models.BigIntegerField(null=True)  # an enrolment under way: records up to this id are enrolled
    sweep = models.BooleanField(default=False)  # rows have still to follow a mark (services/inflight.py)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "key"], condition=~Q(key=""), name="automation_key_unique"),
            models.UniqueConstraint(
                fields=["workspace", "trigger_key", "priority"],
                deferrable=Deferrable.IMMEDIATE,
                name="automation_priority_unique",
            ),
            models.CheckConstraint(
                condition=Q(state="DRAFT", active_version__isnull=True)
                | (~Q(state="DRAFT") & Q(active_version__isnull=False)),
                name="automation_state_agrees_with_version",
            ),
            models.CheckConstraint(
                condition=Q(priority__isnull=True) | Q(exclusive=True), name="automation_priority_only_exclusive"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["DRAFT", "ACTIVE", "PAUSED"])
                & Q(in_flight__in=["", "finish", "cancel", "hold"]),
                name="automation_states_known",
            ),
        ]
        indexes = [
            # worker/schedules.py: automations whose fire time has come
            models.Index(
                fields=["next_fire_at"],
                condition=Q(state="ACTIVE", next_fire_at__isnull=False),
                name="automation_next_fire",
            ),
            # api: list by workspace, newest first
            models.Index(fields=["workspace", "-id"], name="automation_list"),
            # services/inflight.py: automations whose runs have still to follow a mark
            models.Index(fields=["id"], condition=Q(sweep=True), name="automation_sweep"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        """`auto_1`."""
        return f"auto_{self.pk}"


class VersionState(models.TextChoices):
    """draft: being edited. active: the one that new runs follow. inactive: was active before; never again (VER-07)."""

    DRAFT = "draft"
    ACTIVE = "active"
    INACTIVE = "inactive"


class Version(models.Model):
    """One definition. A database trigger refuses any change of its text once it was activated (VER-08)."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+")
    automation = models.ForeignKey(Automation, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=VersionState, default=VersionState.DRAFT)
    definition = models.JSONField()  # the graph form, `engine.reading.to_data`
    source = models.TextField(blank=True, default="")  # the text as it was written, "" when made by the canvas
    source_format = models.CharField(max_length=4, blank=True, default="")  # yaml, json
    sha256 = models.CharField(max_length=64)  # of the canonical graph form
    author = models.ForeignKey("accounts.User", models.SET_NULL, null=True, related_name="+")
    activated_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["automation", "number"], name="version_number_unique"),
            models.UniqueConstraint(fields=["automation"], condition=Q(state="draft"), name="version_one_draft"),
            models.UniqueConstraint(fields=["automation"], condition=Q(state="active"), name="version_one_active"),
            models.CheckConstraint(
                condition=Q(state="draft", activated_at__isnull=True)
                | (Q(state__in=["active", "inactive"]) & Q(activated_at__isnull=False)),
                name="version_state_agrees_with_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.automation_id}/{self.number}"
