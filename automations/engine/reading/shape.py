"""Gathers shape errors while a definition is read: the reader goes on after each, so that all are told at once (DEF-25)."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from automations.engine.problems import DefinitionError, Problem
from automations.engine.reading.parsed import Path, shown

MAX_PROBLEMS = 100  # more of them help nobody


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like `name`, or none."""
    found = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence of help for a name that is not known."""
    found = nearest(name, known)
    return f"Did you mean {found}?" if found else ""


@dataclass(slots=True)
class Shape:
    """Typed access to untyped data. Every getter answers with something usable and reports what did not fit."""

    lines: Mapping[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def report(self, code: str, path: Path, message: str, help: str = "", step: str | None = None) -> None:
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        self.problems.append(Problem(code, message, step=step, path=shown(path), line=line, help=help))
        if len(self.problems) >= MAX_PROBLEMS:
            self.give_up()

    def give_up(self) -> NoReturn:
        """End the reading with what was gathered."""
        raise DefinitionError("invalid_definition", self.problems)

    def keys(self, data: Mapping[str, Any], known: Collection[str], path: Path) -> None:
        """Report every key that is not known here, with the nearest one that is."""
        where = f"in “{shown(path)}”" if path else "at the top of a definition"
        for key in data:
            if key not in known:
                help = did_you_mean(key, known) or f"Known are {', '.join(sorted(known))}."
                self.report(
                    "bad_config", (*path, key), f"The key “{key}” is not known {where}; remove or rename it.", help
                )

    def mapping(self, value: Any, path: Path) -> dict[str, Any]:
        """A mapping; None counts as empty."""
        if isinstance(value, dict):
            return value
        if value is not None:
            self.report("bad_config", path, f"“{shown(path)}” must be a mapping of keys to values, not {_kind(value)}.")
        return {}

    def list(self, value: Any, path: Path) -> list[Any]:
        """A list; None counts as empty."""
        if isinstance(value, list):
            return value
        if value is not None:
            self.report("bad_config", path, f"“{shown(path)}” must be a list, not {_kind(value)}.")
        return []

    def text(self, data: Mapping[str, Any], key: str, path: Path, limit: int | None = None) -> str:
        """A text; absent and null are the empty text, whole numbers are taken as they are written."""
        value = data.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.report("bad_config", (*path, key), f"“{shown((*path, key))}” must be a text, not {_kind(value)}.")
            return ""
        if limit is not None and len(value) > limit:
            message = f"“{shown((*path, key))}” has {len(value)} characters; at most {limit} are allowed."
            self.report("limit_exceeded", (*path, key), message)
        return value

    def flag(self, data: Mapping[str, Any], key: str, path: Path) -> bool | None:
        """True, false or None when absent."""
        value = data.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.report("bad_config", (*path, key), f"“{shown((*path, key))}” must be true or false, not {_kind(value)}.")
        return None

    def choice(self, data: Mapping[str, Any], key: str, path: Path, known: tuple[str, ...]) -> Any:
        """One of the known words; the first is the default."""
        value = data.get(key)
        if value is None:
            return known[0]
        if not isinstance(value, str) or value not in known:
            help = did_you_mean(str(value), known)
            self.report("bad_config", (*path, key), f"“{shown((*path, key))}” must be one of {', '.join(known)}.", help)
            return known[0]
        return value

    def number(self, data: Mapping[str, Any], key: str, path: Path, default: int, whole: bool) -> int | float:
        """A number; `whole` refuses those with a point."""
        value = data.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, (Decimal, float)) and not whole:
            return float(value)
        kind = "a whole number" if whole else "a number"
        self.report("bad_config", (*path, key), f"“{shown((*path, key))}” must be {kind}, not {_kind(value)}.")
        return default

    def expressions(self, data: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
        """An expression or a list of them that must all hold; absent and empty mean none (C-35)."""
        value, at = data.get(key), (*path, key)
        if value is None or value == "":
            return ()
        texts = []
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, bool):
                item = "true" if item else "false"
            if isinstance(item, str):
                texts.append(item)
            else:
                where = (*at, index) if isinstance(value, list) else at
                self.report("bad_config", where, f"“{shown(where)}” must be an expression in text, not {_kind(item)}.")
        return tuple(texts)


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
