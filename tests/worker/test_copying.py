"""Lines for COPY and arrays are written by hand, so whatever a text holds must come back as it was (DESIGN 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from automations.engine.values import invoice_status
from automations.services.jsontext import loads, plain_text
from automations.worker.copying import NULL, array, arrays, field, json_field, moment

pytestmark = pytest.mark.django_db
# All that the database can hold: no NUL, no half characters.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
AWKWARD = [
    "",
    "\\",
    "\\\\",
    "\\N",
    "\\.",
    "\\t",
    "\t",
    "\n",
    "\r\n",
    "\\\n",
    "NULL",
    "null",
    "{}",
    '"',
    '\\"',
    ",",
    " ",
    "\x0b\x0c\x08",
]
AWKWARD += ["\x7f\x85\u2028\ufeff\ufffe", "💩", "e\u0301", "\\u0000", "'; --", "%s %%"]
ZONES = st.timedeltas(timedelta(hours=-14), timedelta(hours=14)).map(
    lambda by: timezone(timedelta(minutes=by // timedelta(minutes=1)))
)
TIMES = st.datetimes(
    datetime.fromisoformat("0002-01-01"), datetime.fromisoformat("9998-01-01"), timezones=ZONES | st.just(UTC)
)
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def copied(lines: Sequence[str], kind: str) -> list[Any]:
    """What the database reads of these fields."""
    with connection.cursor() as cursor:
        cursor.execute(f"create temp table fields (n serial, value {kind}) on commit drop")
        with cursor.copy("copy fields (value) from stdin") as copy:
            copy.write("".join(f"{line}\n" for line in lines))
        cursor.execute(
            "select value::text from fields order by n" if kind == "json" else "select value from fields order by n"
        )
        found = [row[0] for row in cursor.fetchall()]
        cursor.execute("drop table fields")
    return found


def unnested(values: Sequence[Any], kind: str) -> list[Any]:
    """What the database reads of an array."""
    with connection.cursor() as cursor:
        cursor.execute(f"select * from unnest(%s::{kind}[])", [array(values)])
        return [row[0] for row in cursor.fetchall()]


@few
@example([*AWKWARD, None])
@example(AWKWARD)
@given(st.lists(TEXT | st.none()))
def test_texts_come_back_as_they_were(values: list[str | None]) -> None:
    assert copied([field(value) for value in values], "text") == values
    assert unnested(values, "text") == values


@few
@example([{text: [text]} for text in AWKWARD])
@given(st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT), max_size=3)))
def test_json_comes_back_as_it_was(values: list[dict[str, Any]]) -> None:
    texts = [plain_text(value) for value in values]
    assert [loads(text) for text in copied([json_field(text) for text in texts], "json")] == values
    assert unnested(texts, "text") == texts


@few
@example(
    [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        None,
    ]
)
@given(st.lists(TIMES | st.none()))
def test_times_are_the_same_moments(values: list[datetime | None]) -> None:
    assert copied([NULL if at is None else moment(at) for at in values], "timestamptz") == values
    assert unnested(values, "timestamptz") == values


@few
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none()), st.lists(st.booleans() | st.none()))
def test_numbers_and_truths(numbers: list[int | None], truths: list[bool | None]) -> None:
    assert unnested(numbers, "bigint") == numbers
    assert unnested(truths, "boolean") == truths


def test_other_numbers_and_a_status_are_what_they_read_as() -> None:
    assert unnested([1.5, float("inf"), 1e-300], "float8") == [1.5, float("inf"), 1e-300]
    assert unnested([Decimal("129.00"), Decimal("1E+3")], "numeric") == [Decimal("129.00"), Decimal("1000")]
    status = invoice_status("open", late=True)  # equal to several texts
    assert unnested([status], "text") == copied([field(status)], "text") == ["unpaid"]


@pytest.mark.parametrize("others", [[], ["b"], [None]])
def test_a_text_that_the_database_refuses_does_not_become_two(others: list[str | None]) -> None:
    with pytest.raises(DataError, match="NUL"):
        unnested(["a\x00,b", *others], "text")


def test_rows_become_an_array_a_column() -> None:
    assert arrays([(1, "a", None), (2, "b,c", True)]) == ["{1,2}", '{"a","b,c"}', "{NULL,t}"]
    assert array([]) == "{}"
