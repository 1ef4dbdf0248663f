"""Plain values: reading, rendering, JSON, and the status with many names (CONTRACTS 5, C-14)."""

from __future__ import annotations

import copy
import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.engine.values import (
    MISSING,
    Missing,
    StatusText,
    as_date,
    as_moment,
    as_number,
    invoice_status,
    iso,
    json_text,
    kind_of,
    normalise,
    number_text,
    plain,
    text_of,
)

BERLIN = ZoneInfo("Europe/Berlin")
MOMENT = datetime(2026, 11, 20, 9, 14, 2, 120_000, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


# Missing


def test_missing_is_false_one_of_a_kind_and_not_null() -> None:
    assert not MISSING
    assert MISSING is not None
    assert repr(MISSING) == "MISSING"
    assert copy.deepcopy(MISSING) is MISSING
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    assert isinstance(MISSING, Missing)


# Status


@pytest.mark.parametrize("stored", ["draft", "paid", "void", "uncollectible"])
def test_other_statuses_are_plain_text(stored: str) -> None:
    # C-14
    assert invoice_status(stored) == stored
    assert type(invoice_status(stored, late=True)) is str


def test_an_open_status_reads_unpaid_and_is_stored_as_open() -> None:
    # C-14
    status = invoice_status("open")
    assert isinstance(status, StatusText)
    assert (str.__str__(status), status.stored) == ("unpaid", "open")
    assert status.also == {"open", "unpaid", "issued"}
    assert f"{status}" == "unpaid"
    assert json.dumps(status) == '"unpaid"'


def test_a_late_status_has_two_more_names() -> None:
    status = invoice_status("open", late=True)
    assert isinstance(status, StatusText)
    assert status.also == {"open", "unpaid", "issued", "overdue", "past_due"}


def test_a_status_survives_being_copied() -> None:
    status = invoice_status("open", late=True)
    for again in (copy.copy(status), copy.deepcopy(status), pickle.loads(pickle.dumps(status))):
        assert isinstance(again, StatusText)
        assert (again, again.stored, again.also) == (status, status.stored, status.also)  # type: ignore[attr-defined]


def test_text_and_stored_name_always_belong_to_the_names() -> None:
    assert StatusText("a").also == {"a"}
    assert StatusText("a", "b", frozenset({"c"})).also == {"a", "b", "c"}


# normalise


@pytest.mark.parametrize(
    "value", [None, True, 1, Decimal("1.0"), "x", MOMENT, date(2026, 1, 1), [1], {"a": 1}, MISSING]
)
def test_plain_values_stay_themselves(value: Any) -> None:
    assert normalise(value) is value or normalise(value) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, Decimal("0.1")),
        (1e22, Decimal("1E+22")),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ((1, 2), [1, 2]),
    ],
)
def test_near_values_become_plain_ones(value: Any, expected: Any) -> None:
    found = normalise(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", [OrderedDict(a=1), MappingProxyType({"a": 1})])
def test_mappings_stay_mappings(value: Mapping[str, int]) -> None:
    assert normalise(value) is value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        len,
        int,
        json,
        b"bytes",
        {1, 2},
        iter([]),
        Fraction(1, 2),
        1j,
        float("nan"),
        float("inf"),
        Decimal("sNaN"),
        timedelta(1),
    ],
)
def test_everything_else_is_missing(value: Any) -> None:
    assert normalise(value) is MISSING


# Reading


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (Decimal("1.5"), Decimal("1.5")),
        ("1", 1),
        ("-1.50", Decimal("-1.50")),
        ("+2", 2),
        ("007", 7),
        ("1" * 40, int("1" * 40)),
        ("1" * 41, None),
        ("1.", None),
        (".5", None),
        ("1e5", None),
        ("0x1", None),
        ("1_000", None),
        ("NaN", None),
        ("inf", None),
        ("", None),
        ("-", None),
        (" 1", None),
        ("1\n", None),
        ("٣", None),
        (True, None),
        (None, None),
        (MISSING, None),
        ([1], None),
        (date(2026, 1, 1), None),
    ],
)
def test_what_reads_as_a_number(value: Any, expected: Any) -> None:
    found = as_number(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-30", date(2026, 11, 30)),
        ("2026-11-20T09:14:02.120Z", MOMENT),
        ("2026-11-20T10:14:02.120+01:00", MOMENT),
        ("2026-11-20T10:14:02.120", MOMENT),
        ("2026-11-20 10:14", datetime(2026, 11, 20, 10, 14, tzinfo=BERLIN)),
        (MOMENT, MOMENT),
        (MOMENT.replace(tzinfo=None), MOMENT.replace(tzinfo=BERLIN)),
        (date(2026, 1, 1), date(2026, 1, 1)),
        ("2026-02-30", None),
        ("2026-11-20T25:00", None),
        ("2026-11-20T", None),
        ("20261120", None),
        ("2026-W47-5", None),
        ("30.11.2026", None),
        ("soon", None),
        ("", None),
        ("2026-11-20T10:14" + "0" * 40, None),
        (5, None),
        (None, None),
        (True, None),
    ],
)
def test_what_reads_as_a_moment(value: Any, expected: Any) -> None:
    found = as_moment(value, BERLIN)
    assert found == expected
    assert type(found) is type(expected)


def test_the_day_of_a_moment_is_the_one_in_the_zone() -> None:
    late = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)
    assert as_date(late, BERLIN) == date(2026, 11, 30)
    assert as_date(late, UTC) == date(2026, 11, 29)
    assert as_date(date(2026, 1, 1), BERLIN) == date(2026, 1, 1)
    assert as_date(datetime.max.replace(tzinfo=UTC), BERLIN) == date(9999, 12, 31)


# Writing


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (MISSING, ""),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (Decimal("129.00"), "129.00"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("1E+400"), "1E+400"),
        (1 << 300, "(number too large)"),
        ("x", "x"),
        (invoice_status("open"), "unpaid"),
        (MOMENT, "2026-11-20T09:14:02.120Z"),
        (MOMENT.astimezone(BERLIN), "2026-11-20T09:14:02.120Z"),
        (MOMENT.replace(tzinfo=None), "2026-11-20T09:14:02.120Z"),
        (date(2026, 11, 30), "2026-11-30"),
        ([], ""),
        ([1, "a", None, [True, Decimal("2.0")]], "1, a, , true, 2.0"),
        ((1, 2), "1, 2"),
        ({"a": [1, "ä"]}, '{"a": [1, "ä"]}'),
        ([object()], ""),
        (object(), ""),
    ],
)
def test_values_as_text(value: Any, expected: str) -> None:
    assert text_of(value) == expected


def test_times_at_the_edge_of_the_calendar_can_be_written() -> None:
    assert iso(datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))).startswith("9999-12-31T23:59:59.999")
    assert iso(datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))).startswith("0001-01-01T00:00:00.000")


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC)), st.integers(-12, 12))  # noqa: DTZ001  # zone beside
def test_a_moment_is_written_alike_in_whatever_zone_it_comes(moment: datetime, hours: int) -> None:
    text = f"{moment:%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
    assert iso(moment) == iso(moment.astimezone(timezone(timedelta(hours=hours)))) == f"{moment.year:04}-{text}"


@given(st.integers(-(2**200), 2**200) | st.decimals(-(10**12), 10**12, places=4))
def test_a_number_reads_back_from_its_text(number: int | Decimal) -> None:
    text = number_text(number)
    assert "E" not in text
    if len(text) <= 40:
        assert as_number(text) == number


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (MISSING, None),
        (True, True),
        (5, 5),
        ("x", "x"),
        (Decimal("129.00"), "129.00"),
        (0.5, "0.5"),
        (invoice_status("open", late=True), "open"),
        (MOMENT, "2026-11-20T09:14:02.120Z"),
        (date(2026, 11, 30), "2026-11-30"),
        ((1, Decimal("2.5")), [1, "2.5"]),
        ({"status": invoice_status("open"), 5: None}, {"status": "open", "5": None}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        ({"thing": object()}, {"thing": None}),
        (1 << 301, "(number too large)"),
        (Colour.RED, "red"),
    ],
)
def test_values_as_data_for_json(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert json.loads(json_text(value)) == expected


def test_plain_data_shares_nothing_with_what_it_came_from() -> None:
    data = {"list": [1], "object": {"a": 1}}
    found = plain(data)
    found["list"].append(2)
    found["object"]["b"] = 2
    assert data == {"list": [1], "object": {"a": 1}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "nothing"),
        (MISSING, "nothing"),
        (True, "true or false"),
        (1, "a number"),
        (Decimal(1), "a number"),
        ("x", "text"),
        (invoice_status("open"), "text"),
        (MOMENT, "a time"),
        (date(2026, 1, 1), "a date"),
        ([], "a list"),
        ({}, "object"),
    ],
)
def test_kinds_in_words(value: Any, expected: str) -> None:
    assert kind_of(value) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_json_data_is_plain_already(value: Any) -> None:
    assert plain(value) == value
    assert json.loads(json_text(value)) == value
