"""Money keeps every minor unit on its way between database, Decimal and text (DESIGN 3, BIL)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import Refusal
from billing.money import EXPONENTS, LARGEST, exponent, read_amount, read_currency, to_decimal, to_minor, to_text

currencies = st.sampled_from(["EUR", "USD", "GBP", *sorted(EXPONENTS)])
amounts = st.integers(min_value=-LARGEST, max_value=LARGEST)


@given(amounts, currencies)
def test_minor_units_survive_the_round_trip_through_decimal(minor: int, currency: str) -> None:
    assert to_minor(to_decimal(minor, currency), currency) == minor


@given(amounts, currencies)
def test_minor_units_survive_the_round_trip_through_text(minor: int, currency: str) -> None:
    assert read_amount(to_text(minor, currency), currency) == minor


@given(amounts, currencies)
def test_text_has_exactly_the_decimals_of_the_currency(minor: int, currency: str) -> None:
    _, _, decimals = to_text(minor, currency).partition(".")
    assert len(decimals) == exponent(currency)


@given(st.integers(min_value=0, max_value=10**6), currencies)
def test_decimals_beyond_those_of_the_currency_are_refused(minor: int, currency: str) -> None:
    finer = Decimal(minor).scaleb(-exponent(currency)) + Decimal(1).scaleb(-exponent(currency) - 1)
    with pytest.raises(Refusal, match="decimals"):
        to_minor(finer, currency)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (12900, "EUR", "129.00"),
        (129, "JPY", "129"),
        (129000, "KWD", "129.000"),
        (-5, "USD", "-0.05"),
        (0, "EUR", "0.00"),
    ],
)
def test_known_amounts(minor: int, currency: str, text: str) -> None:
    assert to_text(minor, currency) == text
    assert read_amount(text, currency) == minor


@pytest.mark.parametrize(
    "value", [1.5, True, None, "", "1,50", "1e3", "NaN", "Infinity", "٣", " 1", "0x10", [], "1.", "9" * 20]
)
def test_what_is_no_amount_is_refused_in_one_sentence(value: object) -> None:
    with pytest.raises(Refusal) as refused:
        read_amount(value, "EUR")
    assert refused.value.code == "invalid"
    assert refused.value.details["fields"].keys() == {"amount"}


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e40"), 10**18])
def test_numbers_out_of_range_are_refused(value: Decimal) -> None:
    with pytest.raises(Refusal):
        to_minor(value, "EUR")


def test_trailing_zeros_beyond_the_currency_are_no_decimals() -> None:
    assert read_amount("1.5000", "EUR") == 150


@pytest.mark.parametrize("value", ["", "EU", "EURO", "E1R", None, 978, "ÄÖÜ"])
def test_a_currency_is_three_letters(value: object) -> None:
    with pytest.raises(Refusal, match="three letters"):
        read_currency(value)


def test_a_currency_is_read_in_any_case() -> None:
    assert read_currency("eur") == "EUR"
