"""Reading request bodies: strict JSON within limits (CONTRACTS 1; DESIGN 6: request 8 MB).

Numbers with a point become Decimals (DESIGN 4). Doubled keys, NaN, NUL characters, lone surrogates and deep nesting are
refused, since none of them could be stored or written back unchanged.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import IO, Any

from django.core.exceptions import RequestDataTooBig
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from accounts.errors import Refusal

MOST_BYTES = 8 * 1024 * 1024
DEEPEST = 64
LONGEST_NUMBER = 64
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


def raw_body(request: Request) -> bytes:
    """The bytes of the body; `too_large` above 8 MB."""
    try:
        body: bytes = request._request.body
    except RequestDataTooBig:
        raise _too_large() from None
    if len(body) > MOST_BYTES:
        raise _too_large()
    return body


def text_body(request: Request) -> str:
    """The body as text, for endpoints that read JSON or YAML by themselves (definitions)."""
    return _text(raw_body(request))


def wants_yaml(request: Request) -> bool:
    """Whether `Accept` asks for YAML."""
    return "yaml" in request.headers.get("Accept", "")


def sends_yaml(request: Request) -> bool:
    """Whether the body is YAML by its media type."""
    return "yaml" in (request.content_type or "")


def read_json(raw: bytes) -> Any:
    """Parsed JSON; `malformed`, `duplicate_key` or `too_deep` with the place."""
    text = _text(raw)
    try:
        data = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Refusal(
            "malformed",
            f"The body is no JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            {"line": error.lineno, "column": error.colno},
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if raw.count(b"{") + raw.count(b"[") > DEEPEST:
        _refuse_deep(data)
    if _SUSPICIOUS.search(raw) is not None:
        _refuse_characters(data)
    return data


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"The body is no UTF-8: byte {error.start} cannot be read."
        raise Refusal("malformed", message, {"byte": error.start}) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                message = f"The key “{key[:80]}” stands twice in one object; keep one."
                raise Refusal("duplicate_key", message, {"key": key[:80]})
            seen.add(key)
    return data


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if len(text) > LONGEST_NUMBER or abs(number.adjusted()) > LONGEST_NUMBER:
        raise _number(text)
    return number


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise _number(text)
    return int(text)


def _number(text: str) -> Refusal:
    return Refusal("malformed", f"The number {text[:20]}… is too long or too large; send it as text.")


def _constant(text: str) -> Any:
    raise Refusal("malformed", f"{text} is no JSON value; send null or a text.", {"value": text})


# Made once: that costs more than a small body.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_int=_integer, parse_constant=_constant
)


def _refuse_deep(data: Any) -> None:
    """Level by level, without recursion, and only what can hold something: a list of a thousand events comes here."""
    level = [data] if isinstance(data, (dict, list)) else []
    for _ in range(DEEPEST - 1):
        held = [value.values() if type(value) is dict else value for value in level]
        level = [item for items in held for item in items if type(item) is dict or type(item) is list]
        if not level:
            return
    if any(level):
        raise _too_deep()


def _refuse_characters(value: Any) -> None:
    """Whatever could only be written with a backslash. The depth is known to be small."""
    if isinstance(value, str):
        _characters(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _characters(key)
            _refuse_characters(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_characters(item)


def _characters(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refusal(
            "malformed", "A text in the body contains a NUL or half a character (\\u0000, \\ud8xx); take it out."
        )


def _too_deep() -> Refusal:
    return Refusal("too_deep", f"The body is nested more than {DEEPEST} levels deep.", {"most": DEEPEST})


def _too_large() -> Refusal:
    megabytes = MOST_BYTES // 1024 // 1024
    return Refusal("too_large", f"The body is larger than {megabytes} MB; send less at once.", {"most": MOST_BYTES})


def _limited(stream: IO[bytes]) -> bytes:
    raw = stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise _too_large()
    return raw


class JsonParser(BaseParser):
    """`application/json`, strictly."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        """An empty body reads as an empty object."""
        raw = _limited(stream)
        return read_json(raw) if raw.strip() else {}


class YamlParser(BaseParser):
    """`application/yaml`: the text itself; the view reads it (`text_body`). For endpoints that take definitions."""

    media_type = "application/yaml"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        """The text; reading it is the engine's work, which knows lines, aliases and doubled keys."""
        return _text(_limited(stream))
