"""`manage.py qcluster`: django-q2's cluster, made to keep its schedules and to outlive its processes (STACK 3)."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connections

from config.cluster import keep
from config.queue import keep_schedules


class Command(BaseCommand):
    """In place of django-q2's own; its forked processes end with the one that forked them (`config.start`)."""

    help = "Run the queue's schedules and tasks until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `manage.py qcluster --help`."""
        parser.add_argument("--run-once", action="store_true", help="look at the queue once, then stop")

    def handle(self, *args: Any, **options: Any) -> None:
        """Refuses a connection pool: its forks would share the sockets."""
        if settings.DATABASES["default"].get("OPTIONS", {}).get("pool"):
            raise SystemExit("qcluster cannot run with a connection pool: remove `pool` from the database options.")
        keep_schedules()
        connections.close_all()  # the forks open their own
        keep(once=options.get("run_once", False))
