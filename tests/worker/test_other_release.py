"""During an upgrade workers of one release meet tables of another: nothing is failed for it, and all goes on when both agree again
(RELIABILITY 25)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import DatabaseError, connection

from automations.models import Evaluation, Run, Unrouted
from automations.worker import claim, schema
from automations.worker.advance import advance_batch
from automations.worker.route import route_batch
from tests.factories import make_customer, make_workspace
from tests.worker.living import live
from tests.worker.routing import happen, occur, route_all

pytestmark = pytest.mark.django_db(transaction=True)
ERRORS = (DatabaseError, psycopg.Error)  # COPY raises the driver's own
NEXT = "9999_of_the_next_release"


@contextmanager
def strange_column(table: str) -> Iterator[None]:
    """A column that this release does not fill."""
    given = "ADD CONSTRAINT of_the_next_given CHECK (of_the_next IS NOT NULL) NOT VALID"  # not of rows that are there
    execute(f"ALTER TABLE {table} ADD COLUMN of_the_next int, {given}")
    try:
        yield
    finally:
        execute(f"ALTER TABLE {table} DROP COLUMN of_the_next")


@contextmanager
def migrated_further() -> Iterator[None]:
    execute(f"INSERT INTO django_migrations (app, name, applied) VALUES ('automations', '{NEXT}', now())")
    try:
        yield
    finally:
        execute(f"DELETE FROM django_migrations WHERE name = '{NEXT}'")


@contextmanager
def not_yet_migrated() -> Iterator[None]:
    execute("UPDATE django_migrations SET app = 'automations_' WHERE app = 'automations' AND name LIKE '0001%'")
    try:
        yield
    finally:
        execute("UPDATE django_migrations SET app = 'automations' WHERE app = 'automations_'")


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def started() -> Run:
    """A run that is due, of an event that was routed."""
    customer = make_customer(make_workspace())
    automation = live(customer.workspace, "steps: [{type: stop}]")
    occur(customer)
    claim.due_workspaces.forget()  # the list that an earlier test of this second left
    return Run.objects.get(automation=automation)


def test_the_tables_are_known_as_ours() -> None:
    assert schema.is_ours()


@pytest.mark.parametrize("other", [migrated_further, not_yet_migrated])
def test_a_run_is_not_failed_because_the_tables_are_of_another_release(other) -> None:
    run = started()
    with strange_column("automations_step_log"), other(), pytest.raises(ERRORS):
        advance_batch()
    run.refresh_from_db()
    assert run.status == "RUNNING"
    assert advance_batch() == 1
    run.refresh_from_db()
    assert run.status == "COMPLETED"


def test_the_same_error_fails_the_run_where_the_tables_are_ours() -> None:
    run = started()
    with strange_column("automations_step_log"):
        advance_batch()
    run.refresh_from_db()
    assert run.status == "FAILED"


def test_an_event_stays_in_the_queue_while_the_tables_are_of_another_release() -> None:
    customer = make_customer(make_workspace())
    automation = live(customer.workspace, "steps: [{type: stop}]")
    event = happen(customer)
    with strange_column("automations_run"), migrated_further(), pytest.raises(ERRORS):
        route_batch()
    assert Unrouted.objects.filter(event_id=event).exists()
    route_all()
    assert Run.objects.filter(automation=automation).count() == 1
    assert not Evaluation.objects.filter(event_id=event).exists()
