"""django-q2 with one task per step: each task takes a step and queues the next."""

from __future__ import annotations

from django.db import transaction
from django_q.tasks import async_task

from benchmarks.plain.models import Run
from benchmarks.plain.steps import take

STEP = "benchmarks.plain.queued.step"


def step(run_id: int, node: int) -> None:
    """Take this step of a run, unless another task has taken it."""
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        if run.node != node or run.status != "active":
            return
        take(run)
        if run.status == "active":
            async_task(STEP, run_id, run.node)


def enrol(count: int) -> None:
    """A run for each event, and the task of its first step."""
    for event in range(1, count + 1):
        with transaction.atomic():
            run = Run.objects.create(event_id=event, subject_id=event, ctx={"failureCount": 1})
            async_task(STEP, run.pk, 0)
