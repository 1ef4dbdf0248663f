"""Money: minor units (whole numbers) in the database, Decimal in between, decimal text at the edges; never a float (DESIGN 3)."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from accounts.errors import invalid

_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS = "CLF UYW"
#: ISO 4217: decimals of the currencies that do not have two.
EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
    **dict.fromkeys(_FOUR_DECIMALS.split(), 4),
}
#: Largest amount taken, in minor units: exact in every client's number type, and far inside bigint when summed.
LARGEST = 10**15
_CODE = re.compile(r"[A-Z]{3}", re.ASCII)
_AMOUNT = re.compile(r"-?\d{1,16}(\.\d{1,4}0*)?", re.ASCII)


def exponent(currency: str) -> int:
    """Decimals of a currency: 2, unless ISO 4217 says otherwise."""
    return EXPONENTS.get(currency, 2)


def to_decimal(minor: int, currency: str) -> Decimal:
    """Minor units as an amount with all its decimals: `to_decimal(12900, "EUR")` is `Decimal("129.00")`."""
    return Decimal(minor).scaleb(-exponent(currency))


def to_text(minor: int, currency: str) -> str:
    """The amount as the API shows it: `"129.00"`."""
    return f"{to_decimal(minor, currency):f}"


def to_minor(amount: Decimal | int, currency: str, field: str = "amount") -> int:
    """Minor units of an amount. Refusal `invalid` when the currency has fewer decimals or the amount is out of range."""
    try:
        minor = Decimal(amount).scaleb(exponent(currency))
        whole = int(minor)
    except (InvalidOperation, ValueError, OverflowError):
        raise invalid(field, "write an amount such as 129.00.") from None
    if whole != minor:
        raise invalid(field, f"{currency} has {exponent(currency)} decimals; {amount} has more.")
    if abs(whole) > LARGEST:
        raise invalid(field, f"{amount} {currency} is larger than this installation takes.")
    return whole


def read_amount(value: object, currency: str, field: str = "amount") -> int:
    """Minor units of what a caller sent: text such as `"129.00"`, a whole number, or a Decimal; never a float."""
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        return to_minor(Decimal(value), currency, field)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return to_minor(value, currency, field)
    raise invalid(field, 'write the amount as text with a point, such as "129.00".')


def read_currency(value: object, field: str = "currency") -> str:
    """A currency code in capitals. Refusal `invalid` for anything but three letters."""
    code = value.upper() if isinstance(value, str) else ""
    if not _CODE.fullmatch(code):
        raise invalid(field, "write a currency as its three letters, such as EUR.")
    return code
