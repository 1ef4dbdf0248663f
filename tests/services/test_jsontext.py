"""JSON of payloads: exact numbers, stable text, nothing that the database refuses (DESIGN 4)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.services.jsontext import dumps, loads

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(VALUES)
def test_what_is_written_reads_back_the_same(value):
    expected = json.loads(json.dumps(value, default=lambda found: f"d{found}").replace("\\u0000", "�"))
    found = loads(dumps(value))
    assert json.loads(json.dumps(found, default=lambda number: f"d{number}")) == expected


@given(VALUES)
def test_the_text_is_json(value):
    json.loads(dumps(value))


@given(st.dictionaries(st.text(), VALUES, max_size=6))
def test_sorted_text_does_not_depend_on_the_order_of_keys(value):
    backwards = dict(reversed(list(value.items())))
    assert dumps(value, sort_keys=True) == dumps(backwards, sort_keys=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("11.70"), "11.70"),
        ({"a": Decimal("0.1")}, '{"a":0.1}'),
        ([Decimal(1), 1, True, None, "é"], '[1,1,true,null,"é"]'),
        (datetime(2026, 11, 20, 9, 14, 2, 120_000, tzinfo=UTC), '"2026-11-20T09:14:02.120Z"'),
        ({"d": date(2026, 11, 20)}, '{"d":"2026-11-20"}'),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        ({}, "{}"),
    ],
)
def test_how_values_are_written(value, text):
    assert dumps(value) == text


def test_numbers_with_a_point_are_decimals_when_read():
    found = loads('{"a": 1.10, "b": 2, "c": 1e3}')
    assert (found["a"], str(found["a"])) == (Decimal("1.10"), "1.10")
    assert (found["b"], type(found["b"])) == (2, int)
    assert found["c"] == 1000


def test_nul_characters_are_replaced():
    assert "\\u0000" not in dumps({"a": "x\x00y"})
    assert loads(dumps({"a": "x\x00y"})) == {"a": "x�y"}


def test_nothing_reads_as_nothing():
    assert loads(None) is None
    assert loads(b'{"a": 1}') == {"a": 1}
