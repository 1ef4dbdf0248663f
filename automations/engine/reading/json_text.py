"""JSON text to plain data with lines. Stricter than Python's own reader: doubled keys, NaN and Infinity are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from automations.engine.problems import DefinitionError
from automations.engine.reading.parsed import Builder, Parsed, number, refusal

_TOKEN = re.compile(
    r"""(?P<space>[ \t\n\r]+)
      | (?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+")
      | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![0-9A-Za-z.+]))
      | (?P<word>true|false|null)\b
      | (?P<mark>[][{}:,])""",
    re.VERBOSE,
)
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_json(text: str) -> Parsed:
    """Raises `DefinitionError` (`malformed`, `too_deep`, `duplicate_key`, `too_large`) with the line."""
    reader = _Reader(_tokens(text))
    while reader.expect != "nothing":
        reader.step(reader.next())
    token = reader.next()
    if token.kind != "end":
        raise _unexpected(token)
    return reader.builder.finish()


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise refusal("malformed", f"This is not JSON: line {line} has an unexpected {text[at : at + 12]!r}.", line)
        if found.lastgroup != "space":
            yield _Token(found.lastgroup, found.group(), line)
        line += text.count("\n", at, found.end())
        at = found.end()
    while True:
        yield _Token("end", "", line)


def _unexpected(token: _Token) -> DefinitionError:
    what = f"“{token.text[:12]}”" if token.text else "end of the text"
    return refusal("malformed", f"This is not JSON: line {token.line} has an unexpected {what}.", token.line)


@dataclass(slots=True)
class _Reader:
    """A table of what may come next; the containers that are open stand on the builder's stack."""

    tokens: Iterator[_Token]
    builder: Builder = field(default_factory=Builder)
    expect: str = "value"  # value, first (value or ]), key, name (key or }), colon, more (, or end), nothing
    open: list[str] = field(default_factory=list)

    def next(self) -> _Token:
        return next(self.tokens)

    def step(self, token: _Token) -> None:
        mark = token.text if token.kind == "mark" else ""
        if self.expect in ("value", "first"):
            self._value(token, mark)
        elif self.expect in ("key", "name"):
            self._key(token, mark)
        elif self.expect == "colon":
            if mark != ":":
                raise _unexpected(token)
            self.expect = "value"
        else:
            self._more(token, mark)

    def _value(self, token: _Token, mark: str) -> None:
        if mark in ("{", "["):
            self.builder.open({} if mark == "{" else [], token.line)
            self.open.append("}" if mark == "{" else "]")
            self.expect = "name" if mark == "{" else "first"
        elif mark == "]" and self.expect == "first":
            self._close()
        else:
            self.builder.value(_scalar(token), token.line)
            self._after()

    def _key(self, token: _Token, mark: str) -> None:
        if mark == "}" and self.expect == "name":
            self._close()
        elif token.kind == "string":
            self.builder.key(json.loads(token.text), token.line)
            self.expect = "colon"
        else:
            raise _unexpected(token)

    def _more(self, token: _Token, mark: str) -> None:
        if mark == ",":
            self.expect = "key" if self.open[-1] == "}" else "value"
        elif mark and mark == self.open[-1]:
            self._close()
        else:
            raise _unexpected(token)

    def _close(self) -> None:
        self.open.pop()
        self.builder.close()
        self._after()

    def _after(self) -> None:
        self.expect = "more" if self.open else "nothing"


def _scalar(token: _Token) -> Any:
    if token.kind == "string":
        return json.loads(token.text)
    if token.kind == "number":
        return number(token.text, token.line)
    if token.kind == "word":
        return _WORDS[token.text]
    raise _unexpected(token)
