"""Rows and arrays as PostgreSQL reads them in text: what COPY takes, and array parameters.

Written by hand because it is the hottest code there is: ten rows a run. Django's cursor builds each array element by element.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import Any

from automations.services.jsontext import plain_text

NULL = "\\N"
_SPECIAL = re.compile(r"[\\\t\n\r]")
_SIGNS = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def field(value: str | None) -> str:
    """A text as COPY takes it."""
    if value is None:
        return NULL
    if type(value) is not str:  # a text with more names than one is stored as what it reads as
        value = str.__str__(value)
    return _SPECIAL.sub(_escaped, value) if _SPECIAL.search(value) else value


def json_field(text: str) -> str:
    """JSON as COPY takes it: its own backslashes are doubled, and it holds no tab or line break."""
    return text.replace("\\", "\\\\") if "\\" in text else text


def json_or_null(value: Any) -> str:
    """JSON of values of ours as COPY takes it, NULL for nothing."""
    return json_field(plain_text(value)) if value else NULL


def _escaped(found: re.Match[str]) -> str:
    return _SIGNS[found.group()]


@lru_cache(maxsize=4096)
def moment(at: datetime) -> str:
    """A time; the rows of one batch share a few."""
    return at.isoformat()


def array(values: Sequence[Any]) -> str:
    """An array of numbers, texts or times, with NULL for None. One of texts, of integers or of None alone is written in one go."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return "{" + ",".join(map(str, values)) + "}"
    if kinds == {NoneType}:
        return "{" + ",".join(["NULL"] * len(values)) + "}"
    between = "\x00"  # which the database takes in no text
    if kinds == {str} and (whole := between.join(values)).count(between) == len(values) - 1:
        return '{"' + whole.replace("\\", "\\\\").replace('"', '\\"').replace(between, '","') + '"}'
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is datetime:
        return f'"{moment(value)}"'
    if kind is bool:
        return "t" if value else "f"
    text = str(value)
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return '"' + text.replace('"', '\\"') + '"'


def arrays(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Rows as one array a column."""
    return [array(column) for column in zip(*rows, strict=True)]
