"""Deliveries: intent written down before the act (DESIGN 5.3). Leases, fences and attempts live here and nowhere else."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class DeliveryState(models.TextChoices):
    """SENT covers every kind of hand-over (a mail accepted, a webhook answered, a charge made or declined)."""

    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SENT = "SENT"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    SUPPRESSED = "SUPPRESSED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    REVIEW = "REVIEW"


OPEN_STATES = ["QUEUED", "SENDING", "UNKNOWN"]


class Delivery(models.Model):
    """One e-mail, HTTP call, charge, ... to be made once. `run`, `visit`, `effect` name it for ever."""

    workspace = models.ForeignKey(
        "accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    run = models.ForeignKey("automations.Run", models.PROTECT, related_name="deliveries", db_index=False)
    visit = models.PositiveIntegerField()
    effect = models.PositiveSmallIntegerField(default=0)
    # <instance>.exec_456.4.0: a check (migration 0005) holds it to the three numbers that `delivery_once` keeps unique, so it needs
    # no index of its own.
    key = models.CharField(max_length=80)
    automation_id = models.BigIntegerField()
    step = models.CharField(max_length=100)
    action = models.CharField(max_length=60)  # the action's key in the registry
    kind = models.CharField(max_length=20)  # email, http, charge, ...
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.QUEUED)
    customer_id = models.BigIntegerField(null=True)
    to = models.CharField(max_length=320, blank=True, default="")
    subject = models.TextField(blank=True, default="")
    envelope = models.JSONField()  # `kinds.Envelope` as JSON
    customer_mail = models.BooleanField(default=False)
    money = models.BooleanField(default=False)
    waits = models.BooleanField(default=True)  # its run stands on it until it is settled
    retries = models.PositiveSmallIntegerField(default=0)
    retry_delay = models.PositiveIntegerField(default=60)  # seconds
    backoff = models.FloatField(default=2.0)
    exact_waits = models.BooleanField(
        default=False
    )  # explicit waits are exact, built-in ones jittered by up to a tenth

    due_at = models.DateTimeField(null=True)  # when to look at it next, evaluation clock; null when settled or held
    lease_until = models.DateTimeField(null=True)  # database's real time
    fence = models.PositiveIntegerField(default=0, db_default=0)  # raised at each claim; a settle must still own it
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    request_sha256 = models.CharField(max_length=64, blank=True, default="", db_default="")
    provider_ref = models.CharField(max_length=200, blank=True, default="", db_default="")
    first_attempt_at = models.DateTimeField(null=True)  # real time; money is not tried later than 20 h after it
    unknown_since = models.DateTimeField(null=True)
    outcome = models.JSONField(null=True)
    error = models.JSONField(null=True)
    created_at = models.DateTimeField()  # evaluation clock
    sending_at = models.DateTimeField(null=True)  # real time of the last claim, taken under the customer's lock
    sent_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(null=True)
    clicked_at = models.DateTimeField(null=True)
    bounced_at = models.DateTimeField(null=True)
    complained_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["run", "visit", "effect"], name="delivery_once"),
            models.CheckConstraint(condition=Q(state__in=DeliveryState.values), name="delivery_state_known"),
            models.CheckConstraint(
                condition=(Q(state="SENDING") & Q(lease_until__isnull=False, fence__gt=0))
                | (~Q(state="SENDING") & Q(lease_until__isnull=True)),
                name="delivery_sending_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=OPEN_STATES) | Q(due_at__isnull=True), name="delivery_settled_has_no_due"
            ),
        ]
        indexes = [
            # worker/deliver.py: what is to be sent or read back, workspaces in turn; services/mail.py: what is queued for an address
            models.Index(fields=["workspace", "due_at"], condition=Q(due_at__isnull=False), name="delivery_due"),
            # api: list of a workspace, newest first
            models.Index(fields=["workspace", "-id"], name="delivery_list"),
        ]

    def __str__(self) -> str:
        return f"dlv_{self.pk}"


class DeliveryAttempt(models.Model):
    """One try: written when it ends, also by the worker that finds an expired lease (`outcome` lost)."""

    workspace = models.ForeignKey("accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False)
    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="tries")
    number = models.PositiveSmallIntegerField()
    fence = models.PositiveIntegerField()
    outcome = models.CharField(max_length=10)  # ok, failed, unknown, refused, lost
    error = models.JSONField(null=True)
    request_sha256 = models.CharField(max_length=64, blank=True, default="")
    at = models.DateTimeField()  # evaluation clock
    started_at = models.DateTimeField()  # real time

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["delivery", "number"], name="attempt_number_once"),
            models.UniqueConstraint(fields=["delivery", "fence"], name="attempt_fence_once"),
        ]


class DeliveryBody(models.Model):
    """The bytes that are handed over, rendered once. Partitioned by `recorded_at`."""

    pk = models.CompositePrimaryKey("delivery_id", "recorded_at")
    delivery_id = models.BigIntegerField()
    recorded_at = models.DateTimeField()
    workspace_id = models.BigIntegerField()
    body = models.BinaryField()

    class Meta:
        managed = False
        db_table = "automations_delivery_body"


class EmailTemplate(models.Model):
    """A named e-mail text: subject and body are Jinja templates of the one language (TPL-11)."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="+")
    slug = models.SlugField(max_length=100)
    name = models.CharField(max_length=200)
    subject = models.CharField(max_length=500)
    body = models.TextField()  # HTML with {{ }}; the text part is made from it
    kind = models.CharField(max_length=8, default="customer")  # customer, team
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "slug"], name="email_template_slug_unique")]


class MailText(models.Model):
    """A body of a template as it was when a mail was queued with it, kept by its hash and never changed: a template may be
    edited while mails wait."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="+", db_index=False)
    sha256 = models.CharField(max_length=64)
    body = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "sha256"], name="mail_text_once")]


class Sender(models.Model):
    """An address that mail may come from, once verified (EML-05)."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="+")
    name = models.CharField(max_length=200, blank=True, default="")
    address = models.EmailField()
    verified_at = models.DateTimeField(null=True)
    default = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "address"], name="sender_address_unique"),
            models.UniqueConstraint(fields=["workspace"], condition=Q(default=True), name="sender_one_default"),
        ]
