"""The table of filters (CONTRACTS 5): what each is called, takes and does. A filter is a function of plain values and literals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from automations.engine.durations import DurationError, parse_duration
from automations.engine.expressions import formats
from automations.engine.expressions.environment import Environment
from automations.engine.expressions.semantics import bounded, is_empty
from automations.engine.values import MAX_EXPONENT, MISSING, as_number, json_text, kind_of, normalise, text_of

Apply = Callable[..., Any]

#: Number filters work on numbers below this, 30 digits.
LARGEST: Final = 10**30


@dataclass(frozen=True, slots=True)
class Argument:
    """One literal that a filter takes. `read` turns it into what the filter works with, or raises ValueError with a sentence."""

    name: str
    kind: str
    read: Callable[[Any], Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter. `apply(env, value, *arguments)`; a missing or null value passes through unless it `takes_nothing`."""

    name: str
    label: str
    apply: Apply
    arguments: tuple[Argument, ...] = ()
    takes_nothing: bool = False

    def read_arguments(self, values: list[Any]) -> tuple[Any, ...]:
        """The arguments, checked. Raises ValueError with a sentence."""
        least = sum(not argument.optional for argument in self.arguments)
        if not least <= len(values) <= len(self.arguments):
            raise ValueError(f"The filter {self.name} is written {self.usage}.")
        pairs = zip(self.arguments, values, strict=False)
        return tuple(argument.read(value) for argument, value in pairs)

    @property
    def usage(self) -> str:
        """How it is written: `truncate(length)`, `join([separator])`."""
        names = [f"[{argument.name}]" if argument.optional else argument.name for argument in self.arguments]
        return f"{self.name}({', '.join(names)})" if names else self.name


# Reading of arguments


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("This argument is a text in quotes.")
    return value


def _some_text(value: Any) -> str:
    if not _text(value):
        raise ValueError("This argument is a text in quotes that is not empty.")
    return str(value)


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"This argument is a whole number from {least} to {most}.")
        return value

    return read


def _duration(value: Any) -> Any:
    try:
        return parse_duration(_text(value))
    except DurationError as problem:
        raise ValueError(str(problem)) from None


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Z]{3}", value):
        raise ValueError('A currency is three capital letters in quotes, such as "EUR".')
    return value


def _style(value: Any) -> str:
    if not formats.is_style(_text(value)):
        raise ValueError('A style is short, medium, long, full or iso, or a pattern such as "dd.MM.yyyy".')
    return str(value)


# What texts go through


def _unlike(env: Environment, name: str, needs: str, value: Any) -> Any:
    env.warn("unlike_types", f"The filter {name} needs {needs} and found {kind_of(value)}, so this has no value.")
    return MISSING


def _on_text(name: str, work: Callable[..., str]) -> Apply:
    def apply(env: Environment, value: Any, *arguments: Any) -> Any:
        if isinstance(value, (list, Mapping)):
            return _unlike(env, name, "text", value)
        text = text_of(value)
        env.budget.make(len(text))
        return work(text, *arguments)

    return apply


def _title(text: str) -> str:
    return re.sub(r"\S+", lambda word: word.group()[:1].upper() + word.group()[1:].lower(), text)


def _truncate(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _replace(env: Environment, value: Any, old: str, new: str) -> Any:
    if isinstance(value, (list, Mapping)):
        return _unlike(env, "replace", "text", value)
    text = text_of(value)
    env.budget.read(len(text))
    env.budget.make(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new)


def _urlencode(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")


def _json(env: Environment, value: Any) -> str:
    text = json_text(text_of(value) if isinstance(value, str) else value)
    env.budget.make(len(text))
    return text


def _default(env: Environment, value: Any, other: Any) -> Any:
    return other if is_empty(value) else value


# Lists


def _length(env: Environment, value: Any) -> Any:
    return len(value) if isinstance(value, (str, list, Mapping)) else _unlike(env, "length", "text or a list", value)


def _at(name: str, index: int) -> Apply:
    def apply(env: Environment, value: Any) -> Any:
        if not isinstance(value, (str, list)):
            return _unlike(env, name, "a list", value)
        return normalise(value[index]) if value else MISSING

    return apply


def _join(env: Environment, value: Any, separator: str = ", ") -> Any:
    if not isinstance(value, list):
        return _unlike(env, "join", "a list", value)
    env.budget.spend(len(value))
    env.budget.make(len(separator) * len(value))
    parts = []
    for item in value:
        parts.append(text_of(normalise(item)))
        env.budget.make(len(parts[-1]))
    return separator.join(parts)


def _sort(env: Environment, value: Any) -> Any:
    if not isinstance(value, list):
        return _unlike(env, "sort", "a list", value)
    env.budget.spend(len(value) * 4)
    items = [normalise(item) for item in value]
    readings: tuple[Callable[[Any], Any], ...] = (as_number, partial(formats.instant_of, env), _text_key)
    for key in readings:
        keys = [key(item) for item in items]
        if None not in keys:
            return [item for _, item in sorted(zip(keys, items, strict=True), key=lambda pair: pair[0])]
    return _unlike(env, "sort", "a list of numbers, of dates or of texts", value)


def _text_key(item: Any) -> str | None:
    return str.__str__(item) if isinstance(item, str) else None


def _unique(env: Environment, value: Any) -> Any:
    if not isinstance(value, list):
        return _unlike(env, "unique", "a list", value)
    env.budget.spend(len(value) * 2)
    kept: dict[tuple[str, Any], Any] = {}
    for item in map(normalise, value):
        is_open = isinstance(item, (list, Mapping))
        kept.setdefault((kind_of(item), _json(env, item) if is_open else item), item)
    return list(kept.values())


# Numbers


def _on_number(name: str, work: Callable[..., Any]) -> Apply:
    def apply(env: Environment, value: Any, *arguments: Any) -> Any:
        number = as_number(value)
        if number is None:
            return _unlike(env, name, "a number", value)
        if not -LARGEST < number < LARGEST:
            env.warn("number_too_large", f"The number is too large for the filter {name}, so this has no value.")
            return MISSING
        if isinstance(number, Decimal) and number.adjusted() < -MAX_EXPONENT:
            number = 0  # written out it would be zeros only, and without end
        return work(env, number, *arguments)

    return apply


def _round(env: Environment, number: int | Decimal, digits: int = 0) -> Any:
    if isinstance(number, int):
        return number
    rounded = number.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP, context=formats.WIDE)
    return rounded if digits else int(rounded)


def _abs(env: Environment, number: int | Decimal) -> Any:
    return bounded(number.copy_abs() if isinstance(number, Decimal) else abs(number), env)


# The table

_LENGTH = Argument("length", "number", _whole(1, 10_000))
_DIGITS = Argument("digits", "number", _whole(0, 10), optional=True)
_STYLE = Argument("style", "text", _style, optional=True)
_DURATION = Argument("duration", "duration", _duration)

_ALL: Final = (
    Filter(
        "default", "Value when empty", _default, (Argument("value", "any", lambda value: value),), takes_nothing=True
    ),
    Filter("upper", "Upper case", _on_text("upper", str.upper)),
    Filter("lower", "Lower case", _on_text("lower", str.lower)),
    Filter("capitalize", "First letter upper case", _on_text("capitalize", str.capitalize)),
    Filter("title", "Every word's first letter upper case", _on_text("title", _title)),
    Filter("trim", "Without blanks at both ends", _on_text("trim", str.strip)),
    Filter("truncate", "Shortened to a length", _on_text("truncate", _truncate), (_LENGTH,)),
    Filter(
        "replace",
        "One text in place of another",
        _replace,
        (Argument("old", "text", _some_text), Argument("new", "text", _text)),
    ),
    Filter("length", "Number of characters or members", _length),
    Filter("first", "First member", _at("first", 0)),
    Filter("last", "Last member", _at("last", -1)),
    Filter("join", "Members as one text", _join, (Argument("separator", "text", _text, optional=True),)),
    Filter("sort", "Members in order", _sort),
    Filter("unique", "Members without repeats", _unique),
    Filter("round", "Rounded, halves away from zero", _on_number("round", _round), (_DIGITS,)),
    Filter("abs", "Without sign", _on_number("abs", _abs)),
    Filter(
        "money",
        "Amount with currency",
        _on_number("money", formats.money),
        (Argument("currency", "text", _currency, optional=True),),
    ),
    Filter("number", "Number as the locale writes it", _on_number("number", formats.number), (_DIGITS,)),
    Filter("date", "Date as the locale writes it", formats.on_moment("date", formats.date_text), (_STYLE,)),
    Filter("time", "Time of day as the locale writes it", formats.on_moment("time", formats.time_text), (_STYLE,)),
    Filter(
        "datetime",
        "Date and time as the locale writes them",
        formats.on_moment("datetime", formats.datetime_text),
        (_STYLE,),
    ),
    Filter("plus", "Later by a duration", formats.on_moment("plus", formats.later), (_DURATION,)),
    Filter("minus", "Earlier by a duration", formats.on_moment("minus", formats.earlier), (_DURATION,)),
    Filter("days_since", "Calendar days since then", formats.on_moment("days_since", formats.days_since)),
    Filter("days_until", "Calendar days until then", formats.on_moment("days_until", formats.days_until)),
    Filter("json", "As JSON", _json, takes_nothing=True),
    Filter("urlencode", "Encoded for an address", _on_text("urlencode", _urlencode)),
)

FILTERS: Final[Mapping[str, Filter]] = {one.name: one for one in _ALL}
