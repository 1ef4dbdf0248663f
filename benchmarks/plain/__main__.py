"""`python -m benchmarks.plain queued|cron|enrol-queued|enrol-cron|tables`: the programs of these contenders. Those that serve write `ready`
when they stand by; those that enrol do so when a number comes on their input."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """One of them."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.plain.settings"
    import django

    django.setup()
    name, *rest = sys.argv[1:]
    if name == "tables":
        _make_tables()
    elif name == "cron":
        _serve_cron(int(rest[0]), int(rest[1]))
    elif name == "queued":
        _serve_queued()
    else:
        _enrol(name.removeprefix("enrol-"))


def _make_tables() -> None:
    from django.core.management import call_command
    from django.db import connection

    from benchmarks.plain.models import Event, Mail, Run, StepLog

    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS plain CASCADE")
        cursor.execute("CREATE SCHEMA plain")
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Run, StepLog, Mail, Event):
            editor.create_model(model)


def _ready() -> None:
    print("ready", flush=True)


def _serve_cron(share: int, of: int) -> None:
    from benchmarks.plain import cron

    _ready()
    cron.passes(share, of)


def _serve_queued() -> None:
    """The cluster stands by when its first task has come back."""
    import threading

    from django.core.management import call_command
    from django.db import connection
    from django_q.tasks import async_task, result

    first = async_task("math.floor", 1.5)

    def watch() -> None:
        if result(first, wait=60_000) is not None:
            _ready()
        connection.close()

    threading.Thread(target=watch, daemon=True).start()
    call_command("qcluster", verbosity=0)


def _enrol(name: str) -> None:
    import importlib

    enrol = importlib.import_module(f"benchmarks.plain.{name}").enrol
    _ready()
    for line in sys.stdin:
        enrol(int(line))


if __name__ == "__main__":
    main()
