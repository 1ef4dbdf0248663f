"""Stopping one side at a point of the product's code, and what the races do over and over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from accounts.actor import system_actor
from accounts.models import Customer, Workspace
from accounts.services.lifecycle import merge_customers
from automations.models import Automation, Run, StepLog
from automations.services.events import shard_of
from automations.worker.advance import advance_batch
from tests.factories import make_customer
from tests.worker.living import happen
from tests.worker.routing import route_all

PATIENCE = 60.0  # seconds that a side may take to come to its point; only a defect takes them


class Gate:
    """Whoever comes stands here until it is opened."""

    def __init__(self) -> None:
        self.standing = 0
        self._came, self._opened = threading.Semaphore(0), threading.Event()

    def stand(self) -> None:
        """The side that is stopped."""
        self.standing += 1
        self._came.release()
        assert self._opened.wait(PATIENCE), "the gate was never opened"

    def wait(self) -> None:
        """Until the next one stands at it."""
        assert self._came.acquire(timeout=PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        """Let everybody go on."""
        self._opened.set()


@contextmanager
def gate(owner: Any, name: str, *, after: bool = False, sides: int = 1) -> Iterator[Gate]:
    """A gate right before the function `owner.name`, or behind it, for the first so many threads that call it, once each."""
    real, found = getattr(owner, name), Gate()
    known: set[int] = set()
    lock = threading.Lock()

    def stopped(*args: Any, **fields: Any) -> Any:
        with lock:
            mine = threading.get_ident() not in known and len(known) < sides
            known.add(threading.get_ident())
        if mine and not after:
            found.stand()
        answer = real(*args, **fields)
        if mine and after:
            found.stand()
        return answer

    setattr(owner, name, stopped)
    try:
        yield found
    finally:
        setattr(owner, name, real)
        found.open()


def advance() -> int:
    """One batch; the list of workspaces with something due may be a second old, so an empty answer is asked for again."""
    return advance_batch() or advance_batch()


def due(automation: Automation) -> Run:
    """A run of a new customer that is due and not yet advanced."""
    customer = make_customer(automation.workspace)
    happen(customer)
    route_all()
    return Run.objects.get(automation=automation, customer=customer)


def customer_of(run: Run) -> Customer:
    """Whom it is about."""
    assert run.customer is not None
    return run.customer


def fresh(run: Run) -> Run:
    """The run as it is now."""
    return Run.objects.get(pk=run.pk)


def steps(run: Run) -> list[str]:
    """What its log says, oldest first."""
    return list(StepLog.objects.filter(run_id=run.pk).order_by("seq", "attempt").values_list("step", flat=True))


def two_names(workspace: Workspace) -> tuple[Customer, Customer]:
    """One person under two records: events of the one that was merged keep its shard, so that two routers may have to do with one
    customer at once. That is the only way in which they can."""
    old, new = make_customer(workspace), make_customer(workspace)
    while shard_of(workspace.pk, old.pk) == shard_of(workspace.pk, new.pk):
        new = make_customer(workspace)
    merge_customers(actor=system_actor(workspace.pk), source_id=old.pk, into_id=new.pk)
    route_all()
    return old, new


class Undone(Exception):
    """A transaction that is rolled back at its end."""


def rolled_back(work: Callable[[], Any]) -> None:
    """Do it in a transaction that dies."""
    try:
        with transaction.atomic():
            work()
            raise Undone
    except Undone:
        pass


def committed_late(work: Callable[[], Any]) -> Any:
    """Do it in a transaction that it does not end itself."""
    with transaction.atomic():
        return work()


@contextmanager
def without_constraint(table: str, name: str) -> Iterator[None]:
    """The table without one of its rules. What was written meanwhile goes before the rule comes back."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [name])
        [definition] = cursor.fetchone()
        cursor.execute(f"alter table {table} drop constraint {name}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"truncate {table} cascade")
            cursor.execute(f"alter table {table} add constraint {name} {definition}")
