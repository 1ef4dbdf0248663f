"""Protections that can be taken away from the processes of a storm, so that it is known to find what they keep from happening.

`CHAOS_WITHOUT` names one; `money.Money` applies it in each process when Django is ready. The product has no such switch.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any


def take_away() -> None:
    """What the environment names, if anything."""
    name = os.environ.get("CHAOS_WITHOUT", "")
    if name and name != "durable":  # that one is a setting of the server
        PROTECTIONS[name]()


def steady_keys() -> None:
    """Every try of a delivery goes out under a key of its own."""
    from automations.worker import delivery_claim

    take = delivery_claim._take

    def other(cursor: Any, jobs: list[Any]) -> None:
        take(cursor, jobs)
        for job in jobs:
            job.key += f".{job.attempts}" if job.attempts > 1 else ""

    delivery_claim._take = other


def known_events() -> None:
    """An event that is said again is another event."""
    from automations.services import intake

    record = intake.record_events

    def other(events: Any, *known: Any) -> Any:
        return record([replace(event, key=f"{event.key}/{uuid.uuid4()}") for event in events], *known)

    intake.record_events = other  # type: ignore[assignment]  # a stand-in that passes on whatever it is given


def one_transaction() -> None:
    """Advancing commits each of its statements alone."""
    from automations.worker import advance

    class Plain:
        """In place of `django.db.transaction`."""

        @staticmethod
        def atomic(*arguments: Any, **options: Any) -> Any:
            work = arguments[0] if arguments and callable(arguments[0]) else None
            return work if work is not None else nullcontext()

    advance.transaction = Plain  # type: ignore[assignment]


def database_time() -> None:
    """Leases are judged by the clock of the host that looks at them."""
    import time

    from automations.worker import delivery_claim

    due = delivery_claim._due
    text = delivery_claim._CLAIM

    def other(*arguments: Any, **options: Any) -> Any:
        delivery_claim._CLAIM = text.replace("clock_timestamp()", f"to_timestamp({time.time()})").replace(
            "due_at <= onward_now()", f"due_at <= to_timestamp({time.time()})"
        )
        return due(*arguments, **options)

    delivery_claim._due = other  # type: ignore[assignment]


def one_scheduler() -> None:
    """A due schedule is locked by nobody, and each firing is an event of its own."""
    from automations.worker import schedules

    schedules._DUE = schedules._DUE.replace("for no key update of a skip locked", "")
    record = schedules.record_events
    schedules.record_events = lambda events: record(  # type: ignore[assignment]  # as above
        [replace(event, key=f"{event.key}/{uuid.uuid4()}") for event in events]
    )


def whole_queue() -> None:
    """A process of the queue that was killed is replaced alone."""
    from django_q.cluster import Sentinel

    from config import cluster

    cluster.Sentinel = Sentinel  # type: ignore[misc]  # what ours is made of


def alarm() -> None:
    """The queue's sentinel looks for the dead only when it comes to it."""
    from config import cluster

    cluster.LOOK_SECONDS = 0.0


PROTECTIONS: dict[str, Callable[[], None]] = {
    "steady_keys": steady_keys,
    "known_events": known_events,
    "one_transaction": one_transaction,
    "database_time": database_time,
    "one_scheduler": one_scheduler,
    "whole_queue": whole_queue,
    "alarm": alarm,
}
