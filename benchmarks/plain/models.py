"""Runs, their log and their outbox as Django models, without tenancy, versions or checks."""

from __future__ import annotations

from django.db import models


class Run(models.Model):
    """One walk; `node` is the step it stands on."""

    objects: models.Manager[Run] = models.Manager()
    event_id = models.BigIntegerField(unique=True)
    subject_id = models.BigIntegerField()
    status = models.CharField(max_length=10, default="active")
    node = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True, db_index=True)
    ctx = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "plain"


class StepLog(models.Model):
    """One row for each step."""

    objects: models.Manager[StepLog] = models.Manager()
    run = models.ForeignKey(Run, models.CASCADE)
    node = models.PositiveSmallIntegerField()
    result = models.CharField(max_length=20)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "plain"


class Mail(models.Model):
    """One row for each mail to be sent."""

    objects: models.Manager[Mail] = models.Manager()
    run = models.ForeignKey(Run, models.CASCADE)
    recipient = models.CharField(max_length=320)
    subject = models.CharField(max_length=200)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "plain"


class Event(models.Model):
    """What the bare view of W6 inserts."""

    objects: models.Manager[Event] = models.Manager()
    name = models.CharField(max_length=100)
    payload = models.JSONField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "plain"
