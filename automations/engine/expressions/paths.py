"""Names and paths: camelCase and snake_case are one (C-10, VAR-24), aliases mean paths, nothing but mappings and lists is entered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from automations.engine.expressions.environment import Environment, Names
from automations.engine.values import MISSING, normalise

TRIGGER: Final = "trigger"
NOW: Final = "now"
Code = Callable[[Environment], Any]

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_IDENTIFIER = re.compile(r"[^\W\d]\w*\Z")


def camel(name: str) -> str:
    """`due_date` as `dueDate`; names that begin with an underscore stay as they are."""
    if "_" not in name or name.startswith("_"):
        return name
    first, *rest = [part for part in name.split("_") if part]
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def snake(name: str) -> str:
    """`dueDate` as `due_date`."""
    return _HUMP.sub(r"_\1", name).lower()


def fold(name: str) -> str:
    """What both spellings have in common: `duedate`."""
    return name.replace("_", "").lower()


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a path, in every spelling it may have in the data; or a place in a list (`index`)."""

    written: str
    spellings: tuple[str, ...] = ()
    folded: str = ""
    index: int | None = None

    @property
    def name(self) -> str:
        """As `paths` lists it: camelCase, or the number."""
        return camel(self.written) if self.index is None and _IDENTIFIER.match(self.written) else self.written


@lru_cache(maxsize=4096)
def segment(written: str) -> Segment:
    """The segment of a name."""
    return Segment(written, tuple(dict.fromkeys((written, camel(written), snake(written)))), fold(written))


def place_in_list(index: int) -> Segment:
    """The segment of a number."""
    return Segment(str(index), (str(index),), str(index), index)


def look(env: Environment, value: Any, wanted: Segment) -> Any:
    """One step into `value`, or `MISSING`. The written name is preferred, then camelCase, snake_case, then any like spelling."""
    if wanted.index is not None and isinstance(value, (list, tuple)):
        return value[wanted.index] if wanted.index < len(value) else MISSING
    if not isinstance(value, Mapping):
        return MISSING
    for key in wanted.spellings:
        found = value.get(key, MISSING)
        if found is not MISSING:
            return found
    env.budget.spend(len(value) // 16)
    for key in value:
        if isinstance(key, str) and fold(key) == wanted.folded:
            return value[key]
    return MISSING


def walker(root: str, segments: tuple[Segment, ...]) -> Code:
    """Code that follows a path from `env.data`. The first spelling of each segment is tried without a call, which is the
    ordinary case and costs a fraction of a microsecond."""
    if root == NOW and not segments:
        return lambda env: env.now
    quick = tuple((wanted.spellings[0], wanted) for wanted in segments)

    def walk(env: Environment) -> Any:
        value = env.data.get(root, MISSING)
        for key, wanted in quick:
            # A key that is there with the written name needs no further spelling.
            found = value.get(key, MISSING) if type(value) is dict else MISSING
            value = look(env, value, wanted) if found is MISSING else found
        return normalise(value)

    return walk


def local_walker(slot: str, segments: tuple[Segment, ...]) -> Code:
    """Code that follows a path from a variable of a `for` loop."""

    def walk(env: Environment) -> Any:
        value = env.locals.get(slot, MISSING)
        for wanted in segments:
            value = look(env, value, wanted)
        return normalise(value)

    return walk


def first_of(code: Code, other: Code) -> Code:
    """Code that falls back to `other` where `code` finds nothing."""

    def either(env: Environment) -> Any:
        value = code(env)
        return other(env) if value is MISSING else value

    return either


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a first segment means: a root and the segments that an alias puts before the rest. `bare`: it is neither root nor
    alias, so it is a field of the trigger's data, or a word."""

    root: str
    before: tuple[str, ...] = ()
    bare: bool = False
    alias: bool = False


@lru_cache(maxsize=256)
def _tables(names: Names) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    roots = {fold(root): root for root in (*sorted(names.roots), TRIGGER, NOW)}
    return roots, {fold(alias): path for alias, path in reversed(names.aliases)}


def resolve(names: Names, first: str) -> Resolved:
    """What a path's first segment means (C-09): a root, an alias, else a field of the trigger's data."""
    roots, aliases = _tables(names)
    key = fold(first)
    if key in roots:
        return Resolved(roots[key])
    if key in aliases:
        root, *before = aliases[key]
        return Resolved(roots.get(fold(root), root), tuple(before), alias=bool(before))
    return Resolved(TRIGGER, (first,), bare=True)
