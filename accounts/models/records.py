"""Tasks for people, the audit log, stored answers and rate buckets (CONTRACTS 1, 3)."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Task(models.Model):
    """Something that a person is asked to do, mostly by an automation (ACT `create_task`)."""

    OPEN = "open"
    DONE = "done"

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    title = models.CharField(max_length=200)
    message = models.TextField(blank=True, default="")
    assignee = models.CharField(max_length=254, blank=True, default="")  # as written, often an e-mail address
    assignee_user = models.ForeignKey("accounts.User", models.SET_NULL, null=True, related_name="+")
    due_at = models.DateTimeField(null=True)  # evaluation clock
    state = models.CharField(max_length=4, default=OPEN)
    subjects = models.JSONField(default=dict)  # {"customer": 7, "invoice": 8}
    customer = models.ForeignKey("accounts.Customer", models.SET_NULL, null=True, related_name="tasks")
    run_id = models.BigIntegerField(null=True)  # the run that asked for it
    created_at = models.DateTimeField()  # evaluation clock
    updated_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True)
    done_by = models.ForeignKey("accounts.User", models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state="open", done_at__isnull=True) | Q(state="done", done_at__isnull=False),
                name="task_state_agrees_with_time",
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="task_list"),  # api: newest first
            models.Index(fields=["workspace", "-id"], condition=Q(state="open"), name="task_open"),  # the open ones
            models.Index(fields=["run_id"], condition=Q(run_id__isnull=False), name="task_of_run"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def public_id(self) -> str:
        """`task_1`."""
        return f"task_{self.pk}"


class Audit(models.Model):
    """Who did what to which object. The database refuses UPDATE and DELETE. It keeps no customer's personal values,
    only the names of changed fields, so that an erasure needs no exception (SUP-06). No foreign keys but the workspace:
    a row outlives the person, the key and the object it names."""

    workspace = models.ForeignKey("accounts.Workspace", models.PROTECT, related_name="+", db_index=False)
    at = models.DateTimeField(db_default=Now())  # database's real time
    actor = models.CharField(max_length=300)  # how the actor was called then
    user_id = models.BigIntegerField(null=True)
    key_id = models.BigIntegerField(null=True)
    run_id = models.BigIntegerField(null=True)
    action = models.CharField(max_length=60)  # customer.erase
    object = models.CharField(max_length=100)  # cus_7
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["workspace", "-id"], name="audit_list"),  # api: newest first
            models.Index(fields=["workspace", "object", "-id"], name="audit_of_object"),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.object}"


class Idempotency(models.Model):
    """The answer once given for a key, written in the transaction of what it answers (CONTRACTS 1); kept 24 hours."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="+", db_index=False)
    endpoint = models.CharField(max_length=300)  # method and path
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    answer = models.TextField(blank=True, default="")  # the bytes of the body, as text
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())  # real time

    class Meta:
        verbose_name_plural = "idempotency keys"
        constraints = [
            models.UniqueConstraint(fields=["workspace", "endpoint", "key"], name="idempotency_key_unique"),
        ]
        indexes = [models.Index(fields=["created_at"], name="idempotency_age")]  # housekeeping

    def __str__(self) -> str:
        return f"{self.endpoint} {self.key}"


class RateBucket(models.Model):
    """Tokens left to a caller (an API key or a person). UNLOGGED (migration 0002): losing it in a crash costs
    nothing."""

    caller = models.CharField(max_length=40, primary_key=True)  # key_3, usr_4
    tokens = models.FloatField()
    at = models.DateTimeField()  # real time of `tokens`
    allowed = models.BooleanField(default=True)  # whether the latest call got its token

    def __str__(self) -> str:
        return self.caller
