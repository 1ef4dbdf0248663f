"""What accounts must tell the upper apps, without knowing them (DESIGN 5.5, CONTRACTS 6).

    # in an upper app's AppConfig.ready
    listen(on_announcements)

    # here, inside the caller's transaction
    announce(Announcement("stage.entered", workspace_id, customer_id, {"stage": "TRIAL"}, cause))

A listener gets a list, so that a change of 500 customers is one call. One that raises fails the caller's change.

Some changes move or end what the upper apps keep of a customer: runs. The lock order has runs before customers (DESIGN 5.2), so
such a change asks first, `take_locks_ahead`, and whoever called `lock_ahead` takes the locks that come before the customers'.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

KINDS = frozenset(
    {
        "workspace.created",
        "workspace.updated",
        "customer.created",
        "customer.updated",
        "customer.identified",
        "customer.merged",
        "customer.erased",
        "stage.entered",
        "tag.added",
        "tag.removed",
        "consent.changed",
        "task.done",
    }
)


@dataclass(frozen=True, slots=True)
class Announcement:
    """`data` is plain JSON data; `cause` the id of the run that brought it about, None for people and integrations.

    Keys of `data`: workspace.created `owner` (user id, None) · workspace.updated `changed`
    (field names), `before` (their former values) · customer.created `key` (once per customer), `source` ·
    customer.updated `changed` (field names) · customer.merged `into` (customer id; `customer_id` is the one that
    ceased) · stage.entered `entry` (row id), `funnel`, `stage`, `bucket` · tag.added, tag.removed `tag` ·
    consent.changed `address`, `topic`, `state`, `reason`, `main` (whether it is the customer's own address) · task.done
    `task`."""

    kind: str
    workspace_id: int
    customer_id: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    cause: int | None = None


Listener = Callable[[list[Announcement]], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> Listener:
    """Add a listener, once. Can be used as a decorator."""
    if listener not in _listeners:
        _listeners.append(listener)
    return listener


def ignore(listener: Listener) -> None:
    """Remove a listener again (tests)."""
    if listener in _listeners:
        _listeners.remove(listener)


def announce(announcement: Announcement) -> None:
    """Tell all listeners about one change."""
    announce_many([announcement])


def announce_many(announcements: Sequence[Announcement]) -> None:
    """Tell all listeners, in the caller's transaction and in order. Outside of one it is a programming error: a
    listener's rows could stay although the change is rolled back."""
    if not announcements:
        return
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("Announcements are made inside the transaction of the change they tell.")
    unknown = {announcement.kind for announcement in announcements} - KINDS
    if unknown:
        raise ValueError(f"Unknown kinds of announcement: {sorted(unknown)}")
    for listener in _listeners:
        listener(list(announcements))


#: Workspace and customers: take what comes before these customers in the lock order, for the rest of the transaction.
Locker = Callable[[int, Collection[int]], None]
_lockers: list[Locker] = []


def lock_ahead(locker: Locker) -> Locker:
    """Add somebody who has locks to take before customers are locked, once."""
    if locker not in _lockers:
        _lockers.append(locker)
    return locker


def take_locks_ahead(workspace_id: int, customers: Collection[int]) -> None:
    """Called in the transaction of a change that will move, end or empty what others keep of these customers, before any customer
    is locked. Without it two who hold a run and its customer would wait for each other (DESIGN 5.2)."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("Locks are taken inside the transaction of the change that needs them.")
    for locker in _lockers:
        locker(workspace_id, sorted(set(customers)))
