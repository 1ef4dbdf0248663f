"""django-q2 as safety net: its settings, its own signing key, its four schedules (DESIGN 5.4, STACK 3)."""

from __future__ import annotations

from typing import Any

from config.environment import Environment

TASK_SECONDS = 240
WORKERS = 2  # one for the pass, one so that mail does not wait for it


def queue_settings(environment: Environment) -> dict[str, Any]:
    """Django's `Q_CLUSTER`. A task's lock runs from its prefetch, hence `retry` above twice the longest task."""
    return {
        "name": "onward",
        "label": "Queue",
        "workers": WORKERS,
        "queue_limit": WORKERS,
        "bulk": 1,
        "timeout": TASK_SECONDS,
        "retry": 2 * TASK_SECONDS + 120,
        "ack_failures": True,
        "max_attempts": 1,
        "save_limit": -1,
        "catch_up": False,
        "poll": 1,
        **_broker(environment.onward_broker_url),
    }


def _broker(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    if scheme == "sqs":
        return {"sqs": {"aws_region": rest}}
    return {"redis": url} if scheme else {"orm": "default"}


def schedules(minutes: int) -> dict[str, tuple[str, str]]:
    """Name -> task and cron text of each schedule; `minutes` is ONWARD_PASS_MINUTES."""
    every = f"*/{minutes} * * * *" if minutes < 60 else "0 * * * *"
    return {
        "onward.pass": ("automations.tasks.automation_pass", every),
        "onward.mail": ("automations.tasks.mail_pass", "* * * * *"),
        "onward.sweep": ("automations.tasks.sweep_pass", every),
        "onward.housekeeping": ("automations.tasks.housekeeping", "17 3 * * *"),
    }


def keep_schedules() -> None:
    """Make the schedule rows what the settings say: one per name, whatever stands there (a second start adds none)."""
    from django.conf import settings
    from django.db import connection, transaction
    from django.utils import timezone
    from django_q.models import Schedule

    with transaction.atomic():
        with connection.cursor() as cursor:  # two starts at once
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('onward_schedules'))")
        wanted = schedules(settings.ONWARD_PASS_MINUTES)
        found = {row.name: row for row in Schedule.objects.filter(name__in=wanted).order_by("-id")}
        Schedule.objects.filter(name__startswith="onward.").exclude(pk__in=[row.pk for row in found.values()]).delete()
        for name, (func, cron) in wanted.items():
            row = found.get(name) or Schedule(name=name, next_run=timezone.now())
            if (row.func, row.cron, row.schedule_type) != (func, cron, Schedule.CRON):
                row.func, row.cron, row.schedule_type = func, cron, Schedule.CRON
                row.save()


def use_own_key() -> None:
    """Sign queue payloads with their own key: they are pickles, and django-q2 takes Django's key for them."""
    from django.conf import settings
    from django_q.conf import Conf

    Conf.SECRET_KEY = settings.ONWARD_QUEUE_KEY
