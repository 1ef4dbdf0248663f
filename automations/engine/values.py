"""Plain values: what variables may hold, how they read as numbers, moments and text (CONTRACTS 5, DESIGN 4).

A value is None, bool, int, Decimal, text, `datetime`, `date`, list or dict of such values. `normalise` turns anything else into one
of them or into `MISSING`, so that no object with behaviour is ever reached by an expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

#: No number in text longer than this is read as a number, and no integer wider than `MAX_BITS` is calculated with.
MAX_NUMBER_TEXT: Final = 40
MAX_BITS: Final = 256
#: Decimals whose exponent lies beyond this are written with an exponent: `1E+400`, never 400 digits.
MAX_EXPONENT: Final = 60
#: What stands in text for an integer of more than `MAX_BITS`.
TOO_LARGE: Final = "(number too large)"

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?\Z")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.*)?\Z")


class Missing:
    """The value of a name that has none. There is one instance, `MISSING`; it is false, and not the same as null."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class StatusText(str):
    """A status that has more than one name (C-14): the text is what is rendered, `stored` what the API says, and it equals
    every name in `also`. It is text everywhere else, so it passes through plain data unharmed."""

    __slots__ = ("also", "stored")
    also: frozenset[str]
    stored: str

    def __new__(cls, text: str, stored: str = "", also: frozenset[str] = frozenset()) -> StatusText:
        """`stored` defaults to the text; both always belong to the names."""
        self = super().__new__(cls, text)
        self.stored = stored or text
        self.also = also | {text, self.stored}
        return self

    def __getnewargs__(self) -> tuple[str, str, frozenset[str]]:  # type: ignore[override]  # more arguments than text has
        return str.__str__(self), self.stored, self.also


def invoice_status(stored: str, late: bool = False) -> str:
    """The status of an invoice as variables show it: an open one reads `unpaid` and equals `open`, `unpaid`, `issued`, and
    when it is past its due date also `overdue`, `past_due` (C-14)."""
    if stored != "open":
        return stored
    names = {"open", "unpaid", "issued"} | ({"overdue", "past_due"} if late else set())
    return StatusText("unpaid", stored, frozenset(names))


def normalise(value: Any) -> Any:
    """`value` if it is plain, else its plain equivalent, else `MISSING`. Containers are looked into when they are entered."""
    if type(value) in _PLAIN:
        return value
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    return MISSING


def _finite(value: Any) -> Any:
    """A float as the Decimal that it prints as; what is no number is missing."""
    number = Decimal(repr(float(value))) if isinstance(value, float) else value
    return number if number.is_finite() else MISSING


_AS_THEY_ARE = frozenset({str, bool, type(None)})
_SMALL = 2**63
_PLAIN = frozenset({str, StatusText, int, bool, type(None), datetime, date, list, dict, Missing})
_CONVERSIONS: tuple[tuple[Any, Any], ...] = (
    ((float, Decimal), _finite),
    (str, str.__str__),
    (int, int.__int__),
    (Mapping, lambda value: value),
    (tuple, list),
    (datetime, lambda value: value),
    (date, lambda value: value),
)


def kind_of(value: Any) -> str:
    """The kind of a normalised value, in words for messages: number, text, true or false, time, date, list, object, nothing."""
    if value is None or value is MISSING:
        return "nothing"
    for kind, name in _KIND_NAMES:
        if isinstance(value, kind):
            return name
    return "object"


_KIND_NAMES: tuple[tuple[Any, str], ...] = (
    (bool, "true or false"),
    ((int, Decimal), "a number"),
    (str, "text"),
    (datetime, "a time"),
    (date, "a date"),
    (list, "a list"),
)


def as_number(value: Any) -> int | Decimal | None:
    """`value` as a number: numbers themselves, and text that reads as one (`129.00`, `-3`). None for all else."""
    kind = type(value)
    if kind is int or kind is Decimal:
        number: int | Decimal = value
        return number
    if isinstance(value, str) and len(value) <= MAX_NUMBER_TEXT and _NUMBER.match(value):
        return Decimal(str.__str__(value)) if "." in value else int(value)
    return None


def as_moment(value: Any, zone: tzinfo) -> datetime | date | None:
    """`value` as a time with zone or as a date: times, dates, and ISO text of either. A time without a zone is in `zone`."""
    if isinstance(value, str):
        if len(value) > MAX_NUMBER_TEXT or not _MOMENT.match(value):
            return None
        try:
            value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=zone)
    return value if isinstance(value, date) else None


def as_date(value: datetime | date, zone: tzinfo) -> date:
    """The calendar day of a moment in `zone`."""
    if not isinstance(value, datetime):
        return value
    try:
        return value.astimezone(zone).date()
    except OverflowError:  # the first and the last day of the calendar, shifted out of it
        return value.date()


def iso(value: datetime | date) -> str:
    """A date as `2026-11-20`, a time as `2026-11-20T09:14:02.120Z`."""
    if not isinstance(value, datetime):
        return value.isoformat()
    if value.tzinfo is UTC:  # as nearly all are
        return value.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    try:
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:  # a time at the edge of the calendar stays in its own zone
        return value.isoformat(timespec="milliseconds")
    return value.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def number_text(value: int | Decimal) -> str:
    """A number in plain digits (`129.00`); only far-out exponents are written as such."""
    if isinstance(value, Decimal):
        return str(value) if abs(value.adjusted()) > MAX_EXPONENT else format(value, "f")
    return str(value) if value.bit_length() <= MAX_BITS else TOO_LARGE


def text_of(value: Any) -> str:
    """A value as it is rendered in text: nothing for missing and null, `true`, `129.00`, ISO times, lists joined by commas."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return number_text(value)
    if isinstance(value, date):
        return iso(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(text_of(normalise(item)) for item in value)
    return json_text(value) if isinstance(value, Mapping) else ""


def plain(value: Any) -> Any:
    """`value` as data for JSON: decimals and times as text, a status as it is stored, missing as null, no foreign object."""
    if type(value) in _AS_THEY_ARE or (type(value) is int and -_SMALL < value < _SMALL):
        return value
    value = normalise(value)
    if isinstance(value, StatusText):
        return value.stored
    if isinstance(value, Missing):
        return None
    if isinstance(value, Mapping):
        return {text_of(normalise(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    is_wide = type(value) is int and value.bit_length() > MAX_BITS
    return text_of(value) if is_wide or isinstance(value, (Decimal, date)) else value


def json_text(value: Any) -> str:
    """`plain(value)` as JSON text."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(", ", ": "))
