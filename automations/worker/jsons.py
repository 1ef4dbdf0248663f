"""JSON as the worker stores it: decimals as text (money is never a float), times in ISO 8601."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS


def _encode(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def dumps(value: Any) -> str:
    """Compact JSON text. `\\u0000`, which jsonb refuses, becomes the replacement character."""
    try:
        text = orjson.dumps(value, _encode, _OPTIONS).decode()
    except TypeError:  # integers beyond 64 bits and texts that are not quite Unicode: the slower way
        text = json.dumps(value, default=_encode, ensure_ascii=False, separators=(",", ":"))
    return text.replace("\\u0000", "\ufffd") if "\\u0000" in text else text


def dumps_or_none(value: Any) -> str | None:
    """None and empty containers are stored as NULL."""
    return dumps(value) if value else None
