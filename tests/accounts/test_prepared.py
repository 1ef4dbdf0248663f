"""Statements that a connection keeps, and buckets that wait for no disk (PERFORMANCE W6)."""

from __future__ import annotations

import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.prepared import prepared

pytestmark = pytest.mark.django_db
HIDDEN = "select %(note)s::text from accounts_customer where id = any((select %(ids)s::bigint[])::bigint[])"


def ask(statement: str, note: str, times: int = 20) -> tuple[int, int]:
    """Asked so often with other values: how often it was planned for all values, and for these values."""
    for number in range(times):
        with prepared() as cursor:
            cursor.execute(statement, {"note": note, "ids": f"{{{number}}}"})
    with connection.cursor() as cursor:
        shown = statement.replace("%(note)s", "$1").replace("%(ids)s", "$2")
        cursor.execute("select generic_plans, custom_plans from pg_prepared_statements where statement = %s", [shown])
        row: tuple[int, int] = cursor.fetchone()
    return row


def test_a_statement_is_planned_once_for_a_connection() -> None:
    generic, custom = ask(HIDDEN, "hidden")
    assert custom <= 5, "the server tries five plans before it keeps one"
    assert generic >= 10


def test_others_cursors_prepare_nothing() -> None:
    for _ in range(10):
        with connection.cursor() as cursor:
            cursor.execute("select 'ours'::text")
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_prepared_statements where statement like %s", ["%''ours''%"])
        assert cursor.fetchone() == (0,)


def test_the_query_log_sees_it() -> None:
    with CaptureQueriesContext(connection) as queries, prepared() as cursor:
        cursor.execute("select %s::bigint + 1", [41])
        assert cursor.fetchone() == (42,)
    assert len(queries) == 1


def test_errors_are_those_of_the_framework() -> None:
    with pytest.raises(DataError), transaction.atomic(), prepared() as cursor:
        cursor.execute("select %s::bigint", ["x"])


def test_buckets_are_not_logged() -> None:
    """A token needs no write to the disk; the key that it is taken for does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select relname, relpersistence from pg_class where relname in ('accounts_ratebucket', 'accounts_apikey')"
        )
        assert dict(cursor.fetchall()) == {"accounts_ratebucket": "u", "accounts_apikey": "p"}
