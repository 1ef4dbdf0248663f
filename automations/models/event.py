"""Events: what happened, recorded once in the caller's transaction, routed by the workers (DESIGN 5.1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

SHARDS = 64


class JSONTextField(models.JSONField):
    """JSON that is kept as text (`json`): checked by the database, written and read whole, never searched."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """PostgreSQL's other type."""
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        """Psycopg has read it already, as it does with `json` and, told by Django, not with `jsonb`."""
        return value


class Event(models.Model):
    """One occurrence. `subjects` maps object names to ids (`{"customer": 7, "invoice": 8}`)."""

    workspace = models.ForeignKey(
        "accounts.Workspace", models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    name = models.CharField(max_length=100)
    source = models.CharField(max_length=40)  # api, billing, accounts, stripe, schedule, manual, tracking, hook:<n>
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    customer_id = models.BigIntegerField(null=True)
    subjects = models.JSONField(default=dict)
    origin = models.CharField(max_length=8, default="live")  # live, api, schedule, backfill
    cause_run = models.BigIntegerField(null=True)  # the run that brought it about
    depth = models.PositiveSmallIntegerField(default=0)  # length of the chain of causes
    occurred_at = models.DateTimeField()  # evaluation clock
    recorded_at = models.DateTimeField(db_default=models.functions.Now())  # real time
    shard = models.PositiveSmallIntegerField()  # hash of workspace and customer, 0..63
    # An event meant for one automation only (a schedule's fire time, a manual trigger); None: for all that listen.
    only_automation = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "source", "key"], name="event_recorded_once"),
            models.CheckConstraint(
                condition=Q(origin__in=["live", "api", "schedule", "backfill"]), name="event_origin_known"
            ),
        ]
        indexes = [
            # worker/second_look.py and the customer's timeline: events of a customer after an id
            models.Index(fields=["workspace", "customer_id", "id"], name="event_of_customer"),
        ]

    def __str__(self) -> str:
        return f"evt_{self.pk} {self.name}"

    @property
    def routed_at(self) -> datetime | None:
        """When the routers were done with it, in real time; None while it waits for them. Pages select `routed` with the event."""
        routed = getattr(self, "routed", None)
        return routed.routed_at if routed is not None else None


class Unrouted(models.Model):
    """The routers' queue: one row for each recorded event that none of them has taken up. The event itself is never written again:
    a mark on it rewrote the row and an entry of each of its indexes (PERFORMANCE). The keys are `doctor` queries, as a run's are."""

    # worker/route.py: a shard's recorded events, oldest first
    pk = models.CompositePrimaryKey("shard", "event_id")
    shard = models.SmallIntegerField()
    event_id = models.BigIntegerField()
    workspace_id = models.BigIntegerField()
    lost = models.SmallIntegerField(db_default=0)  # workers that died while they routed it (worker/poison.py)


class Routed(models.Model):
    """An event that the routers are done with."""

    event = models.OneToOneField(Event, models.DO_NOTHING, primary_key=True, related_name="routed", db_constraint=False)
    workspace_id = models.BigIntegerField()
    routed_at = models.DateTimeField()  # real time, at the end of the routing transaction
    # The order of these ends, whatever the clock does. None: routed before there were numbers.
    number = models.BigIntegerField(
        null=True, db_default=models.Func(models.Value("automations_routed_number"), function="nextval")
    )


class EventContent(models.Model):
    """Payload and snapshot. Partitioned by `recorded_at`; no foreign keys (DESIGN 6)."""

    pk = models.CompositePrimaryKey("event_id", "recorded_at")
    event_id = models.BigIntegerField()
    recorded_at = models.DateTimeField()
    workspace_id = models.BigIntegerField()
    payload = JSONTextField()  # as posted
    snapshot = JSONTextField()  # `trigger.*` without the payload: objects as they were, the event's own fields on top

    class Meta:
        managed = False
        db_table = "automations_event_content"


class Evaluation(models.Model):
    """Why some listening version did not simply start on an event: at most one row per event (DESIGN 5.1)."""

    pk = models.CompositePrimaryKey("event_id", "recorded_at")
    event_id = models.BigIntegerField()
    recorded_at = models.DateTimeField()
    workspace_id = models.BigIntegerField()
    decisions = models.JSONField()  # [{automation, version, priority, outcome, gate, reason}]
    values = models.JSONField()  # what the filters read

    class Meta:
        managed = False
        db_table = "automations_evaluation"


class EventShape(models.Model):
    """Fields learned of a custom event's payload: path, type and when it was last seen (DESIGN 4)."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="+")
    name = models.CharField(max_length=100)
    paths = models.JSONField(default=dict)  # {"seats": "number"}
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="event_shape_once")]
