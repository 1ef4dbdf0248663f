"""What routers leave to a second look that is due, the look finds, whatever its bounds; and one that takes too long takes less (W1)."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection

from accounts.models import Customer, Workspace
from automations.models import SecondLook, StepLog
from automations.services.entry import trigger_manually
from automations.services.events import IDS_UNDER_WAY
from automations.worker import runs, second_look
from automations.worker.advance import advance_batch
from automations.worker.claim import due_workspaces
from automations.worker.second_look import look_again
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, live, settle
from tests.worker.routing import route_all

pytestmark = pytest.mark.django_db(transaction=True)
WAIT = "steps: [{id: w, type: wait_until, event: ping}, {id: d, type: delay, duration: 9d}]"


@pytest.fixture(params=[True, False], ids=["left to looks", "without"])
def left(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether routers tell the look what they left; else the protection is taken away."""
    if not request.param:
        monkeypatch.setattr("automations.worker.route.leave_to_looks", lambda events: None)
    return bool(request.param)


def park() -> None:
    """A claim parks the runs, each with a look that is due."""
    due_workspaces.forget()
    assert advance_batch()
    assert SecondLook.objects.exists()


def woken() -> bool:
    return StepLog.objects.filter(step="w").exists()


def test_an_event_from_far_behind_that_is_routed_before_the_look(
    workspace: Workspace, customer: Customer, left: bool
) -> None:
    """Somebody starts a run by hand, which goes ahead of a long backlog: the look would not go so far back by itself."""
    automation = live(workspace, "trigger: {type: manual}\n" + WAIT)
    route_all()
    happen(customer, "ping")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval('automations_event_id_seq', (SELECT max(id) FROM automations_event) + %s)",
            [IDS_UNDER_WAY + 1],
        )
    trigger_manually(actor_of(workspace), automation, {"customer": customer.pk}, {})
    park()
    route_all()
    settle()
    assert woken() == left


def test_an_event_with_a_small_number_behind_a_full_page(
    workspace: Workspace, customer: Customer, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look goes on behind a page; meanwhile an event is committed and routed whose number lies before it."""
    monkeypatch.setattr(second_look, "EVENTS", 2)
    live(workspace, WAIT.replace("event: ping", "event: ping, filter: event.n == 1"))
    happen(customer)
    route_all()
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('automations_event_id_seq')")
        early = cursor.fetchone()[0]
    for _ in range(2):
        happen(customer, "ping", {"n": 0})
    route_all()
    park()
    assert look_again() == 1
    assert SecondLook.objects.count() == 1
    renumber(happen(customer, "ping", {"n": 1}), early)
    route_all()
    settle()
    assert woken() == left


def renumber(event: int, number: int) -> None:
    """As if its transaction had got this number, and was committed only now."""
    with connection.cursor() as cursor:
        for table, column in (("event", "id"), ("unrouted", "event_id"), ("event_content", "event_id")):
            cursor.execute(
                "SET session_replication_role = replica; "
                f"UPDATE automations_{table} SET {column} = %s WHERE {column} = %s; SET session_replication_role = origin",
                [number, event],
            )


def test_looks_that_take_too_long_together_are_taken_apart(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server breaks the statement off; the same page again would fare no better, and keep every later one waiting."""
    live(workspace, WAIT)
    people = [make_customer(workspace) for _ in range(3)]
    for customer in people:
        happen(customer)
    route_all()
    park()
    missed = second_look._missed

    def slow(waiting: Any, looks: Any) -> Any:
        if len(waiting) > 1:
            raise OperationalError("canceled") from psycopg.errors.QueryCanceled("statement timeout")
        return missed(waiting, looks)

    monkeypatch.setattr(second_look, "_missed", slow)
    assert look_again() == 3
    assert not SecondLook.objects.exists()


def test_nothing_is_written_where_nothing_was_left() -> None:
    with connection.execute_wrapper(_no_statement):
        runs.leave_to_looks({})


def _no_statement(*_: Any) -> Any:
    raise AssertionError
