"""JSON of payloads: exact numbers, stable text, nothing that the database refuses (DESIGN 4)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.engine.values import MISSING, invoice_status, plain
from automations.services.jsontext import dumps, loads, plain_text

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def replaced(value):
    """What the database can hold of JSON data."""
    if isinstance(value, dict):
        return {replaced(key): replaced(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item) for item in value]
    return value.replace("\x00", "�") if isinstance(value, str) else value


@given(VALUES)
def test_what_is_written_reads_back_the_same(value):
    expected = replaced(json.loads(json.dumps(value, default=lambda found: f"d{found}")))
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


# As it stands in a path, a regular expression or a text about JSON.
@pytest.mark.parametrize("text", [r"\u0000", r"C:\u0000x", r"\\u0000", "\\\x00", "\\\\\x00\\u0000", "\x00\x00"])
@pytest.mark.parametrize("write", [dumps, plain_text])
def test_the_name_of_nul_is_no_nul(write, text):  # DESIGN 4: a payload is stored as it was sent
    written = write({text: [text]})
    assert loads(written) == replaced({text: [text]})


@pytest.mark.parametrize("write", [dumps, plain_text])
@pytest.mark.parametrize(
    ("text", "kept"), [("\ud83d", "�"), ("é\udca9é", "é�é"), ("\ud83d\udca9", "💩"), ("💩\ud83d", "💩�")]
)
def test_half_a_character_is_replaced_and_two_halves_are_one(write, text, kept):  # the database holds whole ones
    written = write({text: text})
    assert written.encode()
    assert loads(written) == {kept: kept}


def test_nothing_reads_as_nothing():
    assert loads(None) is None
    assert loads(b'{"a": 1}') == {"a": 1}


@given(VALUES)
def test_plain_text_is_the_text_of_plain_data(value):
    assert loads(plain_text(value)) == loads(dumps(plain(value)))


@pytest.mark.parametrize(
    "value",
    [
        {"status": invoice_status("open", late=True)},
        {"at": datetime(2026, 11, 20, 9, 14, 2, 120_000, tzinfo=UTC), "day": date(2026, 11, 20)},
        {"total": Decimal("129.00"), "lines": ({"amount": Decimal("-0.50")},)},
        {"wide": 2**70, "none": MISSING, 7: "a name that is no text"},
        {"text": "a\0b", "half": "\ud800"},
        MappingProxyType({"nested": MappingProxyType({"a": [1, True, None]})}),
    ],
)
def test_plain_text_of_what_json_has_no_word_for(value):
    text = plain_text(value)
    assert loads(text) == loads(dumps(plain(value)))
    assert "\0" not in text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":{"b":[1,{"c":1.10}]}}', {"a": {"b": [1, {"c": Decimal("1.10")}]}}),
        ("[[[0.1]]]", [[[Decimal("0.1")]]]),
        ("1e2", Decimal("1e2")),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('{"a":"at 10:50:13.176","b":2}', {"a": "at 10:50:13.176", "b": 2}),
        ('"\\ud800"', "\ud800"),
        ("[18446744073709551615,-9223372036854775808]", [2**64 - 1, -(2**63)]),
    ],
)
def test_numbers_are_exact_wherever_they_stand(text, value):  # DESIGN 4
    for form in (text, text.encode()):
        found = loads(form)
        assert found == value
        assert str(found) == str(value)
