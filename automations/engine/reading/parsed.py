"""Plain data built from the events of a YAML or JSON text, with the line of every value and the limits of untrusted input.

Both parsers hand over the same five events. Nothing here recurses, so depth costs no stack (RELIABILITY 39).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from automations.engine.problems import DefinitionError, Problem

MAX_BYTES = 512 * 1024  # of a definition's text (DESIGN 6)
MAX_DEPTH = 100  # mappings and lists inside each other; an arm of a step takes two
MAX_VALUES = 50_000  # keys, values, lists and mappings of one text; bounds the parser's time

#: Where a value stands: `("steps", 0, "then", 0, "template")`.
Path = tuple[str | int, ...]

# PostgreSQL stores neither NUL nor lone surrogates in text or jsonb.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def shown(path: Path) -> str:
    """The path as people read it: `steps[0].then[0].template`."""
    text = ""
    for part in path:
        if isinstance(part, str) and len(part) > 80:
            part = f"{part[:79]}…"
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def refusal(code: str, message: str, line: int | None = None, path: str = "", help: str = "") -> DefinitionError:
    """A refusal of the whole text for one reason."""
    return DefinitionError(code, [Problem(code, message, path=path, line=line, help=help)])


@dataclass(slots=True)
class Parsed:
    """Plain data (dict, list, str, int, Decimal, bool, None) and the 1-based line on which each value begins."""

    data: Any
    lines: dict[Path, int]


@dataclass(slots=True)
class _Frame:
    container: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    ignored: bool = False  # the value of a doubled key


@dataclass(slots=True)
class Builder:
    """Receives events in order. Doubled keys, anchors and unstorable texts are gathered; a broken limit ends it at once."""

    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _stack: list[_Frame] = field(default_factory=list)
    _root: Any = None
    _count: int = 0

    def open(self, container: dict[str, Any] | list[Any], line: int) -> None:
        """A mapping or a list begins."""
        if len(self._stack) >= MAX_DEPTH:
            raise refusal(
                "too_deep", f"Line {line} lies more than {MAX_DEPTH} levels deep; use fewer levels of nesting.", line
            )
        path = self._place(container, line)
        self._stack.append(_Frame(container, path))

    def close(self) -> None:
        """The innermost mapping or list ends."""
        self._stack.pop()

    def key(self, text: str, line: int) -> None:
        """The next value belongs to this key of the innermost mapping."""
        frame = self._stack[-1]
        self._tick(line)
        self.check(text, line)
        frame.key, frame.ignored = text, text in frame.container
        if frame.ignored:
            path = shown((*frame.path, text))
            message = f"The key “{text}” stands twice in one mapping, the second time on line {line}; keep one of them."
            self.report("duplicate_key", message, line, path)

    def value(self, value: Any, line: int) -> None:
        """A scalar."""
        if isinstance(value, str):
            self.check(value, line)
        self._place(value, line)

    def check(self, text: str, line: int) -> None:
        """Report a character that the database cannot store."""
        if UNSTORABLE.search(text):
            message = (
                f"The text on line {line} holds a character that cannot be stored (NUL or half of a pair); remove it."
            )
            self.report("malformed", message, line)

    def report(self, code: str, message: str, line: int, path: str = "") -> None:
        """Gather one problem; after twenty the rest would only be noise."""
        self.problems.append(Problem(code, message, path=path or shown(self.here()), line=line))
        if len(self.problems) >= 20:
            self.finish()

    def here(self) -> Path:
        """The path of the value that comes next."""
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return (*frame.path, frame.key if frame.key is not None else len(frame.container))

    def in_mapping(self) -> bool:
        """Whether a key is expected next."""
        return bool(self._stack) and isinstance(self._stack[-1].container, dict) and self._stack[-1].key is None

    @property
    def depth(self) -> int:
        return len(self._stack)

    def finish(self) -> Parsed:
        """The data, or all that was gathered against it."""
        if self.problems:
            raise DefinitionError(self.problems[0].code, self.problems)
        return Parsed(self._root, self.lines)

    def _tick(self, line: int) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            message = f"The text holds more than {MAX_VALUES:,} values by line {line}; split the automation in two."
            raise refusal("too_large", message, line)

    def _place(self, value: Any, line: int) -> Path:
        self._tick(line)
        path = self.here()
        if not self._stack:
            self._root = value
        else:
            frame = self._stack[-1]
            if isinstance(frame.container, list):
                frame.container.append(value)
            elif not frame.ignored and frame.key is not None:
                frame.container[frame.key] = value
            frame.key, frame.ignored = None, False
        self.lines.setdefault(path, line)
        return path


def number(text: str, line: int | None) -> int | Decimal:
    """The value of a JSON number: whole numbers as int, those with a point or an exponent as Decimal (DESIGN 4).

    Raises `DefinitionError` for numbers that a JSON reader elsewhere would not keep: beyond 64 bits, or with more digits than
    a double has.
    """
    if len(text) <= 400:
        if not any(sign in text for sign in ".eE"):
            whole = int(text)
            if -(2**63) <= whole < 2**63:
                return whole
        elif (value := _decimal(text)) is not None:
            return value
    short = text if len(text) <= 40 else f"{text[:40]}…"
    raise refusal("malformed", f"The number {short} cannot be kept exactly; write it as text in quotes.", line)


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except ArithmeticError:  # an exponent that no context holds
        return None
    if not value.is_finite() or not -300 < value.adjusted() < 300:
        return None
    return value if Decimal(repr(float(value))) == value else None
