"""Checks data that was parsed elsewhere (a request body, a stored version) and brings it to the readers' types."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from automations.engine.problems import DefinitionError
from automations.engine.reading.parsed import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_VALUES,
    UNSTORABLE,
    Path,
    number,
    refusal,
    shown,
)


class Cleaner:
    """Copies nested data; numbers with a point become Decimal. Counts what it saw against the limits of a definition."""

    def __init__(self) -> None:
        self._values = 0
        self._length = 0

    def clean(self, value: Any, path: Path = ()) -> Any:
        """Raises `DefinitionError`: `too_deep`, `too_large` or `malformed` with the key path."""
        self._count(path)
        if isinstance(value, Mapping):
            return {self._key(key, path): self.clean(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean(item, (*path, index)) for index, item in enumerate(value)]
        return self._scalar(value, path)

    def _count(self, path: Path) -> None:
        self._values += 1
        if len(path) > MAX_DEPTH:
            raise refusal(
                "too_deep", f"The definition is more than {MAX_DEPTH} levels deep; use fewer levels of nesting."
            )
        if self._values > MAX_VALUES or self._length > MAX_BYTES:
            raise refusal("too_large", "The definition is larger than 512 kB; split the automation in two.")

    def _key(self, key: Any, path: Path) -> str:
        if not isinstance(key, str):
            raise refusal("malformed", f"A key below “{shown(path)}” is no text; write it in quotes.", path=shown(path))
        return self._text(key, path)

    def _text(self, text: str, path: Path) -> str:
        self._length += len(text)
        if UNSTORABLE.search(text):
            message = f"“{shown(path)}” holds a character that cannot be stored (NUL or half of a pair); remove it."
            raise refusal("malformed", message, path=shown(path))
        return text

    def _scalar(self, value: Any, path: Path) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, (int, float, Decimal)):
            return self._number(value, path)
        message = f"“{shown(path)}” is of a type that JSON does not have ({type(value).__name__}); write it as text."
        raise refusal("malformed", message, path=shown(path))

    def _number(self, value: int | float | Decimal, path: Path) -> int | Decimal:
        try:
            if isinstance(value, int):
                return number(str(value), None) if -(2**64) < value < 2**64 else number("1e999", None)
            text = repr(value) if isinstance(value, float) else str(value)
            read = number(text if text.lstrip("-")[:1].isdigit() else "1e999", None)
        except DefinitionError as error:
            message = f"The number at “{shown(path)}” cannot be kept exactly; write it as text."
            raise refusal("malformed", message, path=shown(path)) from error
        return read
