"""Runs and their log. The run row is the queue: its lock is the lease, its counter `seq` the compare-and-set (DESIGN 5, 6)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

RUN_STATUSES = ["RUNNING", "WAITING_FOR_EVENT", "COMPLETED", "CANCELLED", "FAILED"]
UNFINISHED = ["RUNNING", "WAITING_FOR_EVENT"]


class Run(models.Model):
    """One walk of one subject through one version. References without a constraint are `doctor` queries (DESIGN 6)."""

    workspace = models.ForeignKey(
        "accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    automation = models.ForeignKey(
        "automations.Automation", models.DO_NOTHING, related_name="runs", db_index=False, db_constraint=False
    )
    version = models.ForeignKey(
        "automations.Version", models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    event = models.ForeignKey(
        "automations.Event", models.DO_NOTHING, related_name="runs", db_index=False, db_constraint=False
    )
    customer = models.ForeignKey("accounts.Customer", models.PROTECT, null=True, related_name="+", db_index=False)
    subject_kind = models.CharField(max_length=20)  # the narrowest: invoice, subscription, customer, none
    subject_id = models.BigIntegerField(default=0)
    subjects = models.JSONField(default=dict)  # all of them: {"customer": 7, "invoice": 8, "subscription": 3}
    mode = models.CharField(max_length=4, default="live")  # live, test

    status = models.CharField(max_length=17, default="RUNNING")
    parked_on = models.CharField(max_length=8, null=True)  # timer, event, delivery, approval, hold
    due_at = models.DateTimeField(
        null=True
    )  # `nextStepAt`, evaluation clock; null exactly when no clock can move the run
    step = models.CharField(max_length=100, null=True)  # `currentStepId`
    seq = models.PositiveIntegerField(default=0)  # visits so far: the number of the visit the run stands on
    attempt = models.PositiveSmallIntegerField(default=0)  # tries of this visit that ended without settling it
    entered_at = models.DateTimeField(null=True)  # when the present visit began
    state = models.JSONField(null=True)  # loop frames and the outputs that the version mentions later, at most 4 kB
    answer = models.JSONField(null=True)  # what moved a parked run: {"event": 9} or {"delivery": 90, "outcome": {...}}
    wait_name = models.CharField(max_length=100, null=True)
    wait_key = models.CharField(max_length=60, null=True)
    # From which number on events count for its wait (`Routed.number`, `worker/since.py`), also while it waits for an act outside.
    # None where a worker of the release before parked it; then times decide.
    wait_since = models.BigIntegerField(null=True)

    end_reason = models.CharField(max_length=100, null=True)
    error = models.JSONField(null=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    recorded_at = models.DateTimeField(db_default=models.functions.Now())
    goal_reached_at = models.DateTimeField(null=True)
    steps_executed = models.PositiveIntegerField(default=0)
    lost = models.PositiveSmallIntegerField(default=0)  # workers that died holding it (poison at the third)
    held = models.JSONField(null=True)  # what a hold froze: {"status", "parkedOn", "dueAt", "remaining"}

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "automation", "event", "subject_kind", "subject_id", "mode"],
                name="run_once_per_event",
            ),
            models.CheckConstraint(condition=Q(status__in=RUN_STATUSES), name="run_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=UNFINISHED, ended_at__isnull=True, end_reason__isnull=True)
                | (
                    ~Q(status__in=UNFINISHED)
                    & Q(
                        ended_at__isnull=False,
                        end_reason__isnull=False,
                        parked_on__isnull=True,
                        due_at__isnull=True,
                        wait_name__isnull=True,
                    )
                ),
                name="run_end_agrees_with_status",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=UNFINISHED)
                | Q(parked_on__isnull=True, status="RUNNING", due_at__isnull=False)
                | Q(parked_on="timer", status="RUNNING", due_at__isnull=False)
                | Q(parked_on="event", status="WAITING_FOR_EVENT", wait_name__isnull=False)
                | Q(parked_on__in=["delivery", "approval", "hold"], status="RUNNING", due_at__isnull=True),
                name="run_parking_agrees",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("started_at")), name="run_ends_after_start"
            ),
            models.CheckConstraint(condition=Q(mode__in=["live", "test"]), name="run_mode_known"),
        ]
        indexes = [
            # worker/claim.py: what is due, workspaces in turn, oldest first within one
            models.Index(fields=["workspace", "due_at"], condition=Q(due_at__isnull=False), name="run_due"),
            # worker/claim.py: what a dead worker held, claimed one at a time
            models.Index(fields=["id"], condition=Q(lost__gt=0), name="run_suspect"),
            # worker/wake.py: who waits for this event
            models.Index(
                fields=["workspace", "wait_name", "wait_key"], condition=Q(wait_name__isnull=False), name="run_waiting"
            ),
            # exits, unsubscribes, a customer's page: the runs of a customer
            models.Index(fields=["customer", "id"], name="run_of_customer"),
            # services/inflight.py, publish preview: the unfinished runs of an automation, among however many ended ones
            models.Index(
                fields=["workspace", "automation", "id"], condition=Q(ended_at__isnull=True), name="run_unfinished"
            ),
            # api: all executions of a workspace, newest first (those of one automation use run_once_per_event by event)
            models.Index(fields=["workspace", "id"], name="run_list"),
        ]

    def __str__(self) -> str:
        return f"exec_{self.pk}"


class RunInput(models.Model):
    """Loop items of a parked run, and its trigger snapshot once the event's content partition is to be dropped (64 kB)."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True)
    workspace = models.ForeignKey("accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False)
    items = models.JSONField(default=dict)  # loop step id -> list
    snapshot = models.JSONField(null=True)


class Entry(models.Model):
    """The re-entry key while it is set (RUN-23). `once` keeps its row for ever, also when the run is purged."""

    workspace = models.ForeignKey(
        "accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    automation = models.ForeignKey(
        "automations.Automation", models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    key = models.CharField(max_length=60)  # invoice:8
    run_id = models.BigIntegerField()
    once = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "automation", "key"], name="entry_once")]
        indexes = [models.Index(fields=["run_id"], name="entry_of_run")]  # cleared when the run ends


class SplitChoice(models.Model):
    """The branch of a percentage split, kept per customer, automation and step (C-20)."""

    workspace = models.ForeignKey("accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False)
    customer = models.ForeignKey("accounts.Customer", models.CASCADE, related_name="+", db_index=False)
    automation = models.ForeignKey("automations.Automation", models.CASCADE, related_name="+", db_index=False)
    step = models.CharField(max_length=100)
    branch = models.CharField(max_length=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "customer", "automation", "step"], name="split_kept_once")
        ]


class StepLog(models.Model):
    """One row per attempt of a visit that ended. Append-only, partitioned by `recorded_at`, no foreign keys."""

    pk = models.CompositePrimaryKey("run_id", "seq", "attempt", "recorded_at")
    run_id = models.BigIntegerField()
    seq = models.PositiveIntegerField()
    attempt = models.PositiveSmallIntegerField()
    recorded_at = models.DateTimeField()
    workspace_id = models.BigIntegerField()
    step = models.CharField(max_length=100)
    type = models.CharField(max_length=60)
    status = models.CharField(max_length=9)  # succeeded, failed, skipped
    port = models.CharField(max_length=60, null=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    input = models.JSONField(null=True)
    output = models.JSONField(null=True)
    error = models.JSONField(null=True)
    warnings = models.JSONField(null=True)
    iteration = models.CharField(max_length=60, null=True)  # "2" or "2.0" in nested loops
    flags = models.PositiveSmallIntegerField(default=0)  # 1 fallback, 2 late

    class Meta:
        managed = False
        db_table = "automations_step_log"


class SecondLook(models.Model):
    """A run that just parked on an event: after the commit a worker looks once more over the recorded events (DESIGN 5.2)."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True)
    workspace = models.ForeignKey(
        "accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    customer_id = models.BigIntegerField(null=True)
    since = models.BigIntegerField()  # events with a greater id are still to be looked at
    created_at = models.DateTimeField(db_default=models.functions.Now())


class Tally(models.Model):
    """Counts per step, port and day, folded from the deltas every few seconds; readers add both."""

    workspace = models.ForeignKey("accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False)
    automation = models.ForeignKey("automations.Automation", models.CASCADE, related_name="+", db_index=False)
    version_id = models.BigIntegerField()
    step = models.CharField(max_length=100)
    port = models.CharField(max_length=60)  # "" counts entries of the step
    day = models.DateField()
    count = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "automation", "version_id", "step", "port", "day"], name="tally_once"
            )
        ]


class TallyDelta(models.Model):
    """Appended by each advancing transaction, so that no two workers wait for one counter row."""

    workspace_id = models.BigIntegerField()
    automation_id = models.BigIntegerField()
    version_id = models.BigIntegerField()
    step = models.CharField(max_length=100)
    port = models.CharField(max_length=60)
    day = models.DateField()
    count = models.BigIntegerField()


class Worker(models.Model):
    """One row per worker process: its heartbeat and the runs it holds, written on a second connection (DESIGN 5.2, poison)."""

    name = models.CharField(max_length=80, unique=True)  # host:pid:random
    kind = models.CharField(max_length=12, default="work")
    started_at = models.DateTimeField(db_default=models.functions.Now())
    beat_at = models.DateTimeField(db_default=models.functions.Now())
    holding = ArrayField(models.BigIntegerField(), default=list)


class PartitionLog(models.Model):
    """What housekeeping made, detached and dropped."""

    table = models.CharField(max_length=60)
    partition = models.CharField(max_length=80)
    action = models.CharField(max_length=10)  # created, detached, dropped
    at = models.DateTimeField(db_default=models.functions.Now())
