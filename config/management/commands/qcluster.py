"""`manage.py qcluster`: django-q2's own command, made to keep its schedules (STACK 3)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django_q.management.commands.qcluster import Command as Original

from config.queue import keep_schedules


class Command(Original):
    """The cluster; its forked processes end with the one that forked them (`config.start`)."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuses a connection pool: its forks would share the sockets."""
        if settings.DATABASES["default"].get("OPTIONS", {}).get("pool"):
            raise SystemExit("qcluster cannot run with a connection pool: remove `pool` from the database options.")
        keep_schedules()
        super().handle(*args, **options)
