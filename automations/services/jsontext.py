"""JSON text, the one place that writes it for the database. There are two forms, because a Decimal is one of two things.

`dumps` writes data *as they came*: what somebody posted as a number stays a number, exact to the digit, so that a payload is stored,
hashed and shown as it was sent (DESIGN 4; CONTRACTS 7). `plain_text` writes values *of ours*: what records, steps and expressions
made, where a Decimal is mostly money, which is a decimal text outside of the database (DESIGN 3). That is the form of snapshots, logs,
outputs, the state of runs, and of all that leaves the house (`engine.values.plain`); readers there know no Decimal and would make a
float of a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from automations.engine.values import iso, plain

_PASS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_SORTED = _PASS | orjson.OPT_SORT_KEYS
_SUBCLASS = _PASS | orjson.OPT_PASSTHROUGH_SUBCLASS
_DECODER = json.JSONDecoder(parse_float=Decimal)  # made once: that costs more than a small text
#: NUL as JSON writes it. Behind a backslash of its own it is a text with these six characters, which stays as it is.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def dumps(value: Any, sort_keys: bool = False) -> str:
    """Compact JSON text. Decimals are numbers, times are ISO text. What the database refuses, a NUL character or half a pair of
    them, is replaced: another's answer may hold it, and must be written down all the same."""
    try:
        text = orjson.dumps(value, option=_SORTED if sort_keys else _PASS).decode()
    except TypeError:  # something that plain JSON has no word for: the slower way
        text = _whole(_text(value, sort_keys))
    return without_nul(text) if "\\u0000" in text else text


def plain_text(value: Any) -> str:
    """JSON text of `plain(value)`: decimals and times as text, a status as it is stored. Records hold no floats, which would stay
    numbers here."""
    try:
        text = orjson.dumps(value, _plain_value, _SUBCLASS).decode()
    except TypeError:  # names that are no text, integers beyond 64 bits: the slower way
        return dumps(plain(value))
    return without_nul(text) if "\\u0000" in text else text


def plain_text_or_none(value: Any) -> str | None:
    """None and empty containers are stored as NULL."""
    return plain_text(value) if value else None


def without_nul(text: str) -> str:
    """JSON text with the replacement character for each NUL that it writes."""
    return _NUL.sub("\\1\ufffd", text)


def _whole(text: str) -> str:
    """Pairs of half characters become the one they mean, a half alone the replacement character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain_value(value: Any) -> Any:
    return iso(value) if type(value) is datetime else plain(value)


def loads(text: str | bytes | None) -> Any:
    """The value of JSON text; numbers with a point are Decimals, no text is None."""
    if text is None:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:  # half a character pair, which the slower reader takes
        return _exactly(text)
    return _exactly(text) if _has_float(value) else value


def _exactly(text: str | bytes) -> Any:
    return _DECODER.decode(text if isinstance(text, str) else text.decode())


def _has_float(value: Any) -> bool:
    """Whether the quick reader met a number that it reads as a binary float: one with a point, or beyond 64 bits."""
    if type(value) is dict:
        value = value.values()
    elif type(value) is not list:
        return type(value) is float
    for item in value:
        kind = type(item)
        if kind is float or ((kind is dict or kind is list) and _has_float(item)):
            return True
    return False


def _text(value: Any, sort_keys: bool) -> str:
    if isinstance(value, Mapping):
        items = sorted(value.items()) if sort_keys else value.items()
        return "{" + ",".join(f"{_plain(str(key))}:{_text(item, sort_keys)}" for key, item in items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_text(item, sort_keys) for item in value) + "]"
    if isinstance(value, Decimal):
        return str(value)
    return _plain(iso(value)) if isinstance(value, date) else _plain(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
