"""JSON text of payloads, with numbers kept exact: a number with a point is a Decimal on both sides (DESIGN 4)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from automations.engine.values import iso

_PASS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_SORTED = _PASS | orjson.OPT_SORT_KEYS
_DECODER = json.JSONDecoder(parse_float=Decimal)  # made once: that costs more than a small text
# Numbers that the quicker reader would read as binary floats.
_INEXACT = re.compile(r"[0-9][.eE]|[0-9]{18}")


def dumps(value: Any, sort_keys: bool = False) -> str:
    """Compact JSON text. Decimals are numbers, times are ISO text. A NUL character, which jsonb refuses, is replaced."""
    try:
        text = orjson.dumps(value, option=_SORTED if sort_keys else _PASS).decode()
    except TypeError:  # something that plain JSON has no word for: the slower way
        text = _text(value, sort_keys)
    return text.replace("\\u0000", "\ufffd") if "\\u0000" in text else text


def loads(text: str | bytes | None) -> Any:
    """The value of JSON text; numbers with a point are Decimals, no text is None."""
    if text is None:
        return None
    if isinstance(text, str) and len(text) < 100 and _INEXACT.search(text) is None:
        return orjson.loads(text)
    return _DECODER.decode(text if isinstance(text, str) else text.decode())


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
