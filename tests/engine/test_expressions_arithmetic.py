"""Calculating: whole numbers, Decimals, text that reads as a number, and what has no answer (CONTRACTS 5)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.engine.expressions import MISSING
from tests.engine.language import codes, environment, value

CALCULATIONS: list[tuple[str, Any]] = [
    ("1 + 1", 2),
    ("0.1 + 0.2", Decimal("0.3")),
    ("1 + 0.50", Decimal("1.50")),
    ("10 - 12", -2),
    ("3 * 4", 12),
    ("2 * 0.5", Decimal("1.0")),
    ("6 / 2", Decimal(3)),
    ("1 / 4", Decimal("0.25")),
    ("7 % 3", 1),
    ("-7 % 3", 2),
    ("-7.5 % 3", Decimal("1.5")),
    ("7.5 % -3", Decimal("-1.5")),
    ("2 + 3 * 4 - 5", 9),
    ("100 - 10 - 5", 85),
    ("100 / 10 / 2", Decimal(5)),
    ("trigger.amount + 1", Decimal("130.00")),
    ("trigger.amount * 2", Decimal("258.00")),
    ("trigger.amount - '29.00'", Decimal("100.00")),
    ("'1' + '2'", 3),
    ("'a' + 'b'", "ab"),
    ("'a' + 'b' + 'c'", "abc"),
    ("invoice.status + '!'", "unpaid!"),
    ("-trigger.failureCount", -1),
    ("-'3'", -3),
    ("--2.50", Decimal("2.50")),
    ("invoice.total - payment.amount", Decimal("1371.00")),
]


@pytest.mark.parametrize(("source", "expected"), CALCULATIONS)
def test_calculations(source: str, expected: Any) -> None:
    found = value(source)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("source", ["1 / 0", "1 % 0", "1.5 / 0.0", "trigger.amount / '0.00'", "1 + 2 / 0"])
def test_a_division_by_zero_is_missing(source: str) -> None:
    env = environment()
    assert value(source, env) is MISSING
    assert "division_by_zero" in codes(env)


@pytest.mark.parametrize(
    "source", ["1 + customer.nope", "customer.nope * 2", "customer.nothing - 1", "-customer.nope", "1 + null"]
)
def test_a_missing_operand_makes_the_result_missing(source: str) -> None:
    env = environment()
    assert value(source, env) is MISSING
    assert codes(env) == ["missing_value"]


@pytest.mark.parametrize(
    "source", ["1 + 'x'", "'x' * 2", "'x' - 'y'", "true + 1", "[1] + [2]", "now - 1", "customer + 1", "-'x'"]
)
def test_unlike_operands_make_the_result_missing(source: str) -> None:
    env = environment()
    assert value(source, env) is MISSING
    assert codes(env) == ["unlike_types"]


def test_a_missing_result_makes_its_comparison_false() -> None:
    env = environment()
    assert value("1 / 0 > 5", env) is False
    assert value("1 / 0 != 5", env) is True


@pytest.mark.parametrize("number", [2**300, -(2**300), 1 << 20_000], ids=["wide", "negative", "very wide"])
@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "%"])
def test_a_number_too_large_to_calculate_with_is_missing(number: int, sign: str) -> None:
    env = environment(trigger={"n": number})
    assert value(f"trigger.n {sign} 2", env) is MISSING


def test_a_number_that_becomes_too_large_is_missing() -> None:
    env = environment()
    assert value(" * ".join(["9" * 30] * 12), env) is MISSING
    assert "number_too_large" in codes(env)


@pytest.mark.parametrize("text", ["1e999999", "1e-999999", "-9.99e99999"])
def test_far_exponents_in_the_data_do_no_harm(text: str) -> None:
    env = environment(trigger={"n": Decimal(text)})
    for source in (
        "trigger.n * trigger.n",
        "trigger.n + 1",
        "trigger.n / 3",
        "trigger.n > 1",
        "trigger.n | round",
        "trigger.n | abs",
    ):
        value(source, env)
    assert len(str(value("trigger.n", env))) < 20


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_whole_numbers_calculate_as_in_python(a: int, b: int) -> None:
    env = environment({"trigger": {"a": a, "b": b}})
    assert value("trigger.a + trigger.b", env) == a + b
    assert value("trigger.a - trigger.b", env) == a - b
    assert value("trigger.a * trigger.b", env) == a * b
    if b:
        assert value("trigger.a % trigger.b", env) == a % b
        assert value("trigger.a / trigger.b * trigger.b - trigger.a | round | abs", env) is not None


amounts = st.decimals(min_value=-(10**9), max_value=10**9, places=2)


@given(amounts, amounts)
def test_amounts_add_up_exactly(a: Decimal, b: Decimal) -> None:
    env = environment({"trigger": {"a": str(a), "b": b}})
    assert value("trigger.a + trigger.b", env) == a + b
    assert value("trigger.a - trigger.b", env) == a - b
    assert value("trigger.a + trigger.b - trigger.b == trigger.a", env) is True
