"""The floor with protections has them: it would be no measure of the product without (DESIGN 5.1, 5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from benchmarks import guarded
from benchmarks.guarded_advance import Batch, advance, look_again
from benchmarks.guarded_route import route
from tests.benchmarks.places import dsn

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session() -> Iterator[psycopg.Connection[Any]]:
    """Fresh tables with three customers, gone afterwards."""
    guarded.prepare(dsn(), 3)
    with psycopg.connect(dsn(), autocommit=True) as session:
        yield session
        tables = session.execute("SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c WHERE relname LIKE 'guarded\\_%' "
                                 "AND relkind IN ('r', 'p') AND NOT relispartition").fetchone()  # fmt: skip
        assert tables
        session.execute(f"DROP TABLE {tables[0]} CASCADE")


def go_on(session: psycopg.Connection[Any]) -> None:
    worker = session.execute("INSERT INTO guarded_worker DEFAULT VALUES RETURNING id").fetchone()
    assert worker
    with psycopg.connect(dsn(), autocommit=True) as holder:
        while route(session) + advance(session, holder, worker[0]) + look_again(session):
            pass


def one(session: psycopg.Connection[Any], query: str) -> Any:
    row = session.execute(query).fetchone()
    assert row
    return row[0]


def test_a_run_walks_six_steps_and_leaves_its_log_mails_and_tallies(session: psycopg.Connection[Any]) -> None:
    guarded.record(dsn(), "payment_trouble", [1, 2, 3])
    go_on(session)
    assert guarded.finished(dsn()) == (3, 18, 6)
    assert one(session, "SELECT sum(count) FROM guarded_tally_delta") == 18
    assert (
        one(session, "SELECT count(*) FROM guarded_log WHERE type = 'condition' AND output = '{\"result\": true}'") == 6
    )
    assert one(session, "SELECT cardinality(holding) FROM guarded_worker") == 3


def test_an_event_is_recorded_once(session: psycopg.Connection[Any]) -> None:
    guarded.record(dsn(), "payment_trouble", [1])
    with pytest.raises(psycopg.errors.UniqueViolation):
        guarded.record(dsn(), "payment_trouble", [1])


def test_whom_the_filter_refuses_gets_a_row_that_says_so_and_no_run(session: psycopg.Connection[Any]) -> None:
    session.execute("UPDATE guarded_customer SET plan = 'free' WHERE id = 2")
    guarded.record(dsn(), "payment_trouble", [1, 2])
    go_on(session)
    assert guarded.finished(dsn())[0] == 1
    assert one(session, "SELECT decisions ->> 0 FROM guarded_evaluation") == '{"gate": "filter", "outcome": "skipped"}'


def test_nothing_starts_of_a_paused_automation(session: psycopg.Connection[Any]) -> None:
    session.execute("UPDATE guarded_automation SET state = 'PAUSED'")
    guarded.record(dsn(), "payment_trouble", [1])
    go_on(session)
    assert one(session, "SELECT count(*) FROM guarded_run") == 0


def test_an_event_that_was_routed_while_its_run_parked_is_found_by_the_second_look_alone(
    session: psycopg.Connection[Any],
) -> None:
    guarded.record(dsn(), "waiting_begins", [1])
    route(session)
    guarded.record(dsn(), "paid", [1])
    route(session)  # nobody waits yet
    session.execute("UPDATE guarded_routed SET routed_at = now() + interval '1 second'")  # as by a router beside us
    advance(session, session, 0)
    assert route(session) == 0
    assert one(session, "SELECT status FROM guarded_run") == "WAITING"  # so it would stay without the look
    assert look_again(session) == 1
    assert one(session, "SELECT status FROM guarded_run") == "RUNNING"


def test_an_event_wakes_the_run_of_its_customer_alone(session: psycopg.Connection[Any]) -> None:
    guarded.wait(dsn(), 3)
    guarded.record(dsn(), "paid", [2])
    go_on(session)
    assert guarded.awake(dsn()) == 1
    assert one(session, "SELECT customer_id FROM guarded_run WHERE status = 'RUNNING'") == 2


def test_a_run_that_was_moved_by_somebody_else_stops_the_batch(session: psycopg.Connection[Any]) -> None:
    guarded.record(dsn(), "payment_trouble", [1])
    route(session)
    row = (one(session, "SELECT id FROM guarded_run"), 1, 1, 11, 1, 1, "first", 5, 0, 0, None)
    batch = Batch(one(session, "SELECT now()"))
    batch.walk(row, ("Name", "name@example.com"), ('{"failureCount": 1}',))
    with pytest.raises(RuntimeError, match="1 runs had moved"), session.transaction():
        batch.write(session)
    assert guarded.finished(dsn()) == (0, 0, 0)
