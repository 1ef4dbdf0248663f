"""Cron with ORM saves: a pass looks at all runs that are due and takes one step of each, in a transaction of its own. Passes follow each
other without the minute that cron would wait; two processes share the runs by their number."""

from __future__ import annotations

import time

from django.db import transaction
from django.utils import timezone

from benchmarks.plain.models import Run
from benchmarks.plain.steps import take


def passes(share: int, of: int) -> None:
    """One pass after the other, until the process is ended."""
    while True:
        due = Run.objects.filter(status="active", due_at__lte=timezone.now()).order_by("due_at")
        ids = [id for id in due.values_list("pk", flat=True) if id % of == share]
        for id in ids:
            with transaction.atomic():
                run = Run.objects.select_for_update().get(pk=id)
                take(run)
        if not ids:
            time.sleep(0.005)


def enrol(count: int) -> None:
    """A run for each event."""
    for event in range(1, count + 1):
        Run.objects.create(event_id=event, subject_id=event, ctx={"failureCount": 1}, due_at=timezone.now())
