"""What exists once per installation: its clock, its random name, the plans (CONTRACTS 2 "The clock", 3)."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Installation(models.Model):
    """One row. `instance` stands in every delivery key, so two installations never share one at a provider."""

    instance = models.CharField(max_length=12)
    clock_offset = models.DurationField(default=timedelta())  # evaluation time = database time + this
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="installation_is_one_row")]

    def __str__(self) -> str:
        return self.instance


class Provenance(models.Model):
    """Where these data were last at work, in one row: by it a restored backup or a copy is told from the installation that it was
    made of (RELIABILITY 36). No row: nothing has worked here yet."""

    home = models.CharField(max_length=60)  # number of server and database; empty where the server does not say
    timeline = models.IntegerField(default=0)  # of the server; another one after a recovery to a point in time
    seen_at = models.DateTimeField()  # real clock, moved on every few seconds while anything works here
    held_at = models.DateTimeField(null=True)  # since then nothing works, until a person confirms
    held_why = models.CharField(max_length=300, default="")

    class Meta:
        verbose_name_plural = "provenance"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="provenance_is_one_row"),
            models.CheckConstraint(
                condition=Q(held_at__isnull=True, held_why="") | Q(held_at__isnull=False) & ~Q(held_why=""),
                name="provenance_held_for_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return self.home


class Plan(models.Model):
    """Limits of a plan, as data (LIM-14). Null is unlimited; 0 is none."""

    slug = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=60)
    order = models.PositiveSmallIntegerField(default=0)
    stage_automations = models.PositiveIntegerField(null=True, blank=True)  # automations per stage (LIM-01 to 03)
    stage_depth = models.PositiveIntegerField(
        null=True, blank=True
    )  # steps on the longest path, stage scope (LIM-04 to 06)
    global_automations = models.PositiveIntegerField(null=True, blank=True)  # C-17
    global_depth = models.PositiveIntegerField(null=True, blank=True)
    monthly_emails = models.PositiveIntegerField(
        null=True, blank=True
    )  # customer mails per calendar month (LIM-07 to 09)

    def __str__(self) -> str:
        return self.slug
