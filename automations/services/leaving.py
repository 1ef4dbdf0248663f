"""Customers who unsubscribe or are erased: what becomes of their runs (C-15, SUP-04, SUP-06; DESIGN 5.5).

The customer's row is locked here, and the lock order has runs before customers. Who erases has taken the runs before (`ahead`).
Who unsubscribes waits for nobody: runs that a worker is advancing at this very moment are left to an event of the same transaction,
which the router, who takes its locks in order, ends them by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from django.db import connection

from accounts.announcements import Announcement
from automations.engine.plan import Plan
from automations.services.cancel import end_runs
from automations.services.endings import ERASED, REASONS, UNSUBSCRIBED
from automations.services.erasing import empty_records
from automations.services.events import NewEvent, record_events
from automations.services.mail import suppress_queued
from automations.worker.plans import plans_for

_UNFINISHED = """
select id, version_id from automations_run
where customer_id = any(%s) and ended_at is null order by id
"""
_FREE = "select id from automations_run where id = any(%s) order by id for no key update skip locked"


def unsubscribed(items: Sequence[Announcement]) -> None:
    """Who unsubscribes the customer's own address from everything ends all runs that are not transactional; mail is suppressed."""
    for item in items:
        if item.data.get("state") != "unsubscribed":
            continue
        if not item.data.get("topic"):
            suppress_queued(item.workspace_id, str(item.data["address"]), item.customer_id)
        if item.customer_id is None:
            continue
        if item.data.get("main") and not item.data.get("topic"):
            _end(item, UNSUBSCRIBED, [item.customer_id], lambda plan: not plan.transactional)


def erased(items: Sequence[Announcement]) -> None:
    """An erased customer's runs end, and what they wrote of the person is emptied."""
    for item in items:
        if item.customer_id is not None:
            customers = [item.customer_id, *item.data.get("merged", [])]
            _end(item, ERASED, customers, lambda plan: True)
            empty_records(item.workspace_id, customers)


def _end(item: Announcement, name: str, customers: Collection[int], which: Callable[[Plan], bool]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_UNFINISHED, [list(customers)])
        rows = cursor.fetchall()
        plans = plans_for({version for _, version in rows})
        wanted = [id for id, version in rows if version not in plans or which(plans[version])]
        cursor.execute(_FREE, [wanted])
        free = [row[0] for row in cursor.fetchall()]
    end_runs(free, reason=REASONS[name])
    if len(free) < len(wanted):
        record_events([_later(item, name, customer, wanted) for customer in customers])


def _later(item: Announcement, name: str, customer: int, runs: Sequence[int]) -> NewEvent:
    """Keyed by the newest run it is about: asked again for the same runs, it is the same event."""
    return NewEvent(
        workspace_id=item.workspace_id,
        name=name,
        source="accounts",
        key=f"cus_{customer}:{REASONS[name]}:{max(runs)}",
        subjects={"customer": customer},
        payload={},
        snapshot={},
        cause_run=item.cause,
    )
