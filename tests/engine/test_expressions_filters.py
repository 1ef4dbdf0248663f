"""Every filter of CONTRACTS 5: what it gives, on what it warns, and how the locale and the zone show (VAR-05, VAR-22)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from automations.engine.expressions import MISSING, ExpressionError, compile_expression, filters
from automations.engine.expressions.filtering import FILTERS
from tests.engine.language import NAMES, codes, environment, value

# fmt: off
CONTRACT = [
    "default", "upper", "lower", "capitalize", "title", "trim", "truncate", "replace", "length",
    "first", "last", "join", "sort", "unique", "round", "abs", "money", "number",
    "date", "time", "datetime", "plus", "minus", "days_since", "days_until", "json", "urlencode",
]
# fmt: on


def test_the_filters_are_those_of_the_contract() -> None:
    assert list(FILTERS) == CONTRACT
    assert [entry["name"] for entry in filters()] == CONTRACT


def test_the_listing_says_how_each_is_written() -> None:
    listed = {entry["name"]: entry for entry in filters()}
    assert all(entry["label"] for entry in listed.values())
    assert listed["truncate"]["usage"] == "truncate(length)"
    assert listed["join"]["arguments"] == [{"name": "separator", "type": "text", "optional": True}]
    assert listed["plus"]["arguments"] == [{"name": "duration", "type": "duration", "optional": False}]


# source, value
RESULTS: list[tuple[str, Any]] = [
    ("customer.nope | default('there')", "there"),
    ("customer.nothing | default(5)", 5),
    ("'' | default('x')", "x"),
    ("[] | default('x')", "x"),
    ("0 | default(7)", 0),
    ("false | default(true)", False),
    ("'a' | default('x')", "a"),
    ("customer.nope | default(null)", None),
    ("customer.nope | default(-1.5)", Decimal("-1.5")),
    ("'straße' | upper", "STRASSE"),
    ("'ÄB' | lower", "äb"),
    ("'ana RUIZ' | capitalize", "Ana ruiz"),
    ("\"o'neill it's\" | title", "O'neill It's"),
    ("'  x y ' | trim", "x y"),
    ("'abcdef' | truncate(6)", "abcdef"),
    ("'abcdef' | truncate(4)", "abc…"),
    ("'ab cdef' | truncate(4)", "ab…"),
    ("'abcdef' | truncate(1)", "…"),
    ("'a-b-c' | replace('-', '+')", "a+b+c"),
    ("'a-b-c' | replace('-', '')", "abc"),
    ("129.50 | replace('.', ',')", "129,50"),
    ("'abc' | length", 3),
    ("customer.tags | length", 2),
    ("'' | length", 0),
    ("customer.metadata | length", 2),
    ("customer.tags | first", "vip"),
    ("customer.tags | last", "beta"),
    ("'abc' | first", "a"),
    ("'abc' | last", "c"),
    ("[] | first", MISSING),
    ("customer.tags | join", "vip, beta"),
    ("customer.tags | join('-')", "vip-beta"),
    ("[1, 2.50, true, null] | join(' ')", "1 2.50 true "),
    ("[] | join", ""),
    ("[3, 1, 2] | sort", [1, 2, 3]),
    ("['10', 9, '8.5'] | sort", ["8.5", 9, "10"]),
    ("['b', 'a', 'C'] | sort", ["C", "a", "b"]),
    ("['2026-11-30T01:00:00+05:00', '2026-11-29T21:00:00Z'] | sort | first", "2026-11-30T01:00:00+05:00"),
    ("[] | sort", []),
    ("['a', 'b', 'a'] | unique", ["a", "b"]),
    ("[1, 1.0, 2] | unique", [1, 2]),
    ("[1, true] | unique", [1, True]),
    ("[[1], [1]] | unique", [[1]]),
    ("2.5 | round", 3),
    ("-2.5 | round", -3),
    ("2.345 | round(2)", Decimal("2.35")),
    ("2 | round(2)", 2),
    ("'2.55' | round(1)", Decimal("2.6")),
    ("-3 | abs", 3),
    ("-3.50 | abs", Decimal("3.50")),
    ("'-3' | abs", 3),
    ("1234.5 | money('EUR')", "€1,234.50"),
    ("1234.5 | money('JPY')", "¥1,234"),
    ("'129.00' | money('USD')", "$129.00"),
    ("-5 | money('USD')", "-$5.00"),
    ("1234.5 | money", "1,234.50"),
    ("invoice.total | money", "€1,500.00"),
    ("invoice.lines[0].amount | money", "€500.00"),
    ("trigger.amount | money", "€129.00"),
    ("payment.amount | money", "129.00"),
    ("1234567.891 | number", "1,234,567.891"),
    ("1234.5 | number(2)", "1,234.50"),
    ("1234.5 | number(0)", "1,234"),
    ("invoice.dueDate | date", "Nov 30, 2026"),
    ("invoice.dueDate | date('iso')", "2026-11-30"),
    ("invoice.dueDate | date('short')", "11/30/26"),
    ("invoice.dueDate | date('long')", "November 30, 2026"),
    ("invoice.dueDate | date('full')", "Monday, November 30, 2026"),
    ("invoice.dueDate | date('dd.MM.yyyy')", "30.11.2026"),
    ("trigger.invoice.dueDate | date('iso')", "2026-11-30"),
    ("customer.createdAt | date('iso')", "2026-01-02"),
    ("customer.createdAt | time('HH:mm')", "00:30"),
    ("customer.createdAt | time('iso')", "00:30:00"),
    ("customer.createdAt | datetime('iso')", "2026-01-02T00:30:00+01:00"),
    ("invoice.dueDate | datetime", "Nov 30, 2026"),
    ("now | minus('30d') | date('iso')", "2026-10-21"),
    ("now | plus('1mo') | date('iso')", "2026-12-20"),
    ("now | plus('2h')", datetime(2026, 11, 20, 11, 14, 2, 120_000, tzinfo=UTC)),
    ("invoice.dueDate | plus('1d')", date(2026, 12, 1)),
    ("invoice.dueDate | minus('1mo')", date(2026, 10, 30)),
    ("invoice.dueDate | plus('3mo')", date(2027, 2, 28)),
    ("invoice.dueDate | plus('1h')", datetime(2026, 11, 30, 0, 0, tzinfo=UTC)),
    ("'2026-03-28' | plus('2d')", date(2026, 3, 30)),
    ("invoice.dueDate | days_until", 10),
    ("invoice.dueDate | days_since", -10),
    ("customer.createdAt | days_since", 322),
    ("now | days_since", 0),
    ("'2026-11-19T23:30:00Z' | days_since", 0),
    ("'2026-11-19T22:30:00Z' | days_since", 1),
    ("customer.name | json", '"Ana Ruiz"'),
    ("customer.tags | json", '["vip", "beta"]'),
    ("invoice.total | json", '"1500.00"'),
    ("invoice.status | json", '"unpaid"'),
    ("customer.nope | json", "null"),
    ("customer.metadata | json", '{"cost_center": "K-12", "demo": "yes"}'),
    ("'ä &/?' | urlencode", "%C3%A4%20%26%2F%3F"),
    ("customer.name | upper | replace('ANA', 'A') | truncate(3)", "A…"),
]


@pytest.mark.parametrize(("source", "expected"), RESULTS)
def test_filters_give(source: str, expected: Any) -> None:
    found = value(source)
    assert found == expected or found is expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("source", "locale", "expected"),
    [
        ("1234.5 | money('EUR')", "de", "1.234,50\u00a0€"),
        ("1234.5 | money('EUR')", "de-DE", "1.234,50\u00a0€"),
        ("1234.5 | number", "de_DE", "1.234,5"),
        ("1234567.5 | number(2)", "en_IN", "12,34,567.50"),
        ("1234.5 | number(2)", "fr", "1\u202f234,50"),
        ("invoice.dueDate | date", "de", "30.11.2026"),
        ("invoice.dueDate | date('long')", "es", "30 de noviembre de 2026"),
        ("customer.createdAt | time", "de", "00:30"),
        ("customer.createdAt | datetime", "de", "02.01.2026, 00:30:00"),
        ("invoice.dueDate | date", "xx_nowhere", "Nov 30, 2026"),
        ("invoice.dueDate | date", "", "Nov 30, 2026"),
        ("invoice.dueDate | date", "../../etc/passwd", "Nov 30, 2026"),
    ],
)
def test_the_locale_decides_how_dates_and_numbers_look(source: str, locale: str, expected: str) -> None:
    assert value(source, environment(locale=locale)) == expected


def test_amounts_of_lines_find_the_currency_of_what_they_are_part_of() -> None:
    env = environment(
        trigger={"currency": "USD", "items": [{"amount": 5, "currency": "GBP"}, {"amount": 7}], "n": {"amount": 9}}
    )
    assert value("trigger.items[0].amount | money", env) == "£5.00"
    assert value("trigger.items[1].amount | money", env) == "$7.00"
    assert value("trigger.n.amount | money", env) == "$9.00"


@pytest.mark.parametrize("name", [name for name in CONTRACT if name not in ("default", "json")])
def test_what_has_no_value_passes_through_every_filter(name: str) -> None:
    arguments = {"truncate": "(5)", "replace": "('a', 'b')", "plus": "('1d')", "minus": "('1d')"}.get(name, "")
    env = environment()
    assert value(f"customer.nope | {name}{arguments}", env) is MISSING
    assert value(f"customer.nothing | {name}{arguments}", env) is None
    assert codes(env) == []


@pytest.mark.parametrize(
    "source",
    [
        "customer.tags | upper",
        "customer | trim",
        "customer.tags | truncate(3)",
        "customer | replace('a', 'b')",
        "5 | length",
        "5 | first",
        "customer | last",
        "'abc' | join",
        "'abc' | sort",
        "[1, 'a'] | sort",
        "[true, false] | sort",
        "5 | unique",
        "'x' | round",
        "true | abs",
        "'x' | money('EUR')",
        "now | number",
        "'soon' | date",
        "5 | time",
        "invoice.dueDate | time",
        "true | datetime",
        "'x' | plus('1d')",
        "customer.tags | days_since",
        "customer.tags | urlencode",
    ],
)
def test_a_filter_on_the_wrong_type_gives_nothing_and_warns(source: str) -> None:
    env = environment()
    assert value(source, env) is MISSING
    assert codes(env) == ["unlike_types"]


@pytest.mark.parametrize(
    "source", ["now | plus('1200mo') | plus('1200mo')" + " | plus('1200mo')" * 90, "'0001-01-01' | minus('1d')"]
)
def test_a_date_beyond_the_calendar_is_nothing(source: str) -> None:
    env = environment()
    assert value(source, env) is MISSING
    assert codes(env) == ["out_of_range"]


@pytest.mark.parametrize("name", ["round", "abs", "money", "number"])
def test_a_number_too_large_is_nothing(name: str) -> None:
    env = environment(trigger={"n": 10**30})
    assert value(f"trigger.n | {name}", env) is MISSING
    assert codes(env) == ["number_too_large"]


def test_numbers_too_small_to_be_written_are_zero() -> None:
    env = environment(trigger={"n": Decimal("1e-400000")})
    assert value("trigger.n | number", env) == "0"
    assert value("trigger.n | money('EUR')", env) == "€0.00"


def test_a_filter_does_not_change_the_data() -> None:
    tags = ["b", "a", "b"]
    env = environment(customer={"tags": tags})
    assert value("customer.tags | sort | unique | join", env) == "a, b"
    assert tags == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("uppper", "upper"), ("defualt", "default"), ("datetme", "datetime"), ("dayssince", "days_since")],
)
def test_an_unknown_filter_names_the_nearest_known_one(typed: str, meant: str) -> None:
    with pytest.raises(ExpressionError, match=f"Did you mean {meant}\\?"):
        compile_expression(f"customer.name | {typed}", NAMES)
