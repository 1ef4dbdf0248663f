"""From values to text, escaped for the place where it stands (VAR-27)."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

from automations.engine.expressions.environment import Environment
from automations.engine.expressions.errors import ExpressionError
from automations.engine.values import MISSING, json_text, text_of

Place = Literal["text", "header", "url", "json", "html"]
PLACES: Final = frozenset({"text", "header", "url", "json", "html"})
Show = Callable[[Environment, Any], str]

_FORBIDDEN = re.compile(r"[\r\n\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_RESERVED: Final = ":/?#[]@!$&'()*+,;=%"


def plain_text(env: Environment, value: Any) -> str:
    """The text of a value, paid for."""
    if isinstance(value, list):
        env.budget.spend(len(value))
    text = value if type(value) is str else text_of(value)
    env.budget.make(len(text))
    return text


def in_html(env: Environment, value: Any) -> str:
    """As text in HTML, also inside quoted attributes."""
    return html.escape(plain_text(env, value), quote=True)


def in_header(env: Environment, value: Any) -> str:
    """As part of a header line. Raises `ExpressionError` where it would begin another line."""
    return check_header(plain_text(env, value))


def check_header(text: str) -> str:
    """`text`, refused when it holds a line break or NUL."""
    if _FORBIDDEN.search(text):
        raise ExpressionError(
            "A value with a line break or NUL cannot stand in a header or address.", code="header_injection"
        )
    return text


def in_url(env: Environment, value: Any) -> str:
    """As one part of an address: everything that has a meaning there is encoded."""
    return quote(plain_text(env, value).encode("utf-8", "replace"), safe="")


def as_url(env: Environment, value: Any) -> str:
    """As an address or its beginning: its own signs stay, blanks and control characters are encoded."""
    return quote(plain_text(env, value).encode("utf-8", "replace"), safe=_RESERVED)


def in_json_text(env: Environment, value: Any) -> str:
    """Inside a JSON text."""
    return json.dumps(plain_text(env, value))[1:-1]


def in_json(env: Environment, value: Any) -> str:
    """As a JSON value of its own. A status reads as in other rendered text (C-14)."""
    text = json_text(text_of(value) if isinstance(value, str) else value)
    env.budget.make(len(text))
    return text


SHOWS: Final[Mapping[str, Show]] = {
    "text": plain_text,
    "html": in_html,
    "header": in_header,
    "url": in_url,
    "json": in_json,
}


def shown(env: Environment, value: Any, label: str, show: Show) -> str:
    """A value in its place; an unknown one is empty, with a warning (VAR-26)."""
    if value is MISSING:
        env.warn("missing_value", f"“{label}” has no value and is left empty.")
    return show(env, value)


class JsonState:
    """Follows the literal parts of a JSON template to know whether a variable stands inside a text."""

    def __init__(self) -> None:
        self.in_text = False

    def feed(self, literal: str) -> None:
        """Read one literal part."""
        escaped = False
        for sign in literal:
            if escaped:
                escaped = False
            elif sign == "\\" and self.in_text:
                escaped = True
            elif sign == '"':
                self.in_text = not self.in_text
