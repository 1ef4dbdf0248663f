"""Dates, times, amounts and numbers as a locale writes them, and arithmetic with dates. Times are shown in the workspace's zone."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_currency, format_decimal

from automations.engine.durations import Duration
from automations.engine.expressions.environment import Environment
from automations.engine.values import MISSING, as_date, as_moment, iso, kind_of

#: Wide enough for every number that filters take (30 digits before the point, 10 behind it).
WIDE: Final = Context(prec=60)

_STYLES: Final = frozenset({"short", "medium", "long", "full", "iso"})
_PATTERN = re.compile(r"[GyMLdEehHmsaZzvV '.,:/\-]{1,40}\Z")
_RUN_TOO_LONG = re.compile(r"(\w)\1{5}")


def is_style(text: str) -> bool:
    """Whether `text` is a named style or a pattern of date letters (`dd.MM.yyyy`)."""
    return text in _STYLES or bool(_PATTERN.match(text) and not _RUN_TOO_LONG.search(text) and text.count("'") % 2 == 0)


@lru_cache(maxsize=256)
def locale_of(name: str) -> Locale:
    """The locale of that name (`de`, `de-DE`, `de_DE`), English when it is unknown."""
    try:
        return Locale.parse(name.replace("-", "_"))
    except (ValueError, TypeError, UnknownLocaleError):
        return Locale.parse("en")


# Numbers


def money(env: Environment, amount: int | Decimal, currency: str = "") -> str:
    """An amount with its currency (`€129.00`); without one, the amount with two decimals."""
    if not currency:
        return number(env, amount, 2)
    return str(format_currency(Decimal(amount), currency, locale=locale_of(env.locale)))


def number(env: Environment, amount: int | Decimal, digits: int | None = None) -> str:
    """A number with the locale's signs; `digits` fixes the decimals."""
    locale = locale_of(env.locale)
    if digits is None:
        return str(format_decimal(Decimal(amount), locale=locale, decimal_quantization=False))
    pattern = copy.copy(locale.decimal_formats[None])
    pattern.frac_prec = (digits, digits)
    return str(pattern.apply(Decimal(amount), locale))


# Moments


def on_moment(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """A filter on dates, times and ISO text of either."""

    def apply(env: Environment, value: Any, *arguments: Any) -> Any:
        moment = as_moment(value, env.time_zone)
        if moment is None:
            env.warn(
                "unlike_types",
                f"The filter {name} needs a date or a time and found {kind_of(value)}, so this has no value.",
            )
            return MISSING
        try:
            return work(env, moment, *arguments)
        except OverflowError:
            env.warn("out_of_range", f"The filter {name} went beyond the calendar, so this has no value.")
            return MISSING

    return apply


def instant_of(env: Environment, value: Any) -> datetime | None:
    """A value as a time with zone; a date is its first moment in the zone. None for what is no moment."""
    moment = as_moment(value, env.time_zone)
    if moment is None or isinstance(moment, datetime):
        return moment
    return datetime.combine(moment, time(), env.time_zone)


def _local(env: Environment, moment: datetime) -> datetime:
    return moment.astimezone(env.time_zone)


def date_text(env: Environment, moment: datetime | date, style: str = "medium") -> str:
    """The calendar day in the zone."""
    day = as_date(moment, env.time_zone)
    return iso(day) if style == "iso" else format_date(day, style, locale=locale_of(env.locale))


def time_text(env: Environment, moment: datetime | date, style: str = "short") -> Any:
    """The time of day in the zone; a date has none."""
    if not isinstance(moment, datetime):
        env.warn("unlike_types", "The filter time needs a time and found a date, so this has no value.")
        return MISSING
    local = _local(env, moment)
    if style == "iso":
        return local.strftime("%H:%M:%S")
    return format_time(local, style, tzinfo=env.time_zone, locale=locale_of(env.locale))


def datetime_text(env: Environment, moment: datetime | date, style: str = "medium") -> str:
    """Day and time in the zone; a date alone stays one."""
    if not isinstance(moment, datetime):
        return date_text(env, moment, style)
    if style == "iso":
        return _local(env, moment).isoformat(timespec="seconds")
    return format_datetime(_local(env, moment), style, tzinfo=env.time_zone, locale=locale_of(env.locale))


def later(env: Environment, moment: datetime | date, duration: Duration) -> datetime | date:
    """A duration on. A date stays a date when the duration is one of whole days."""
    zone = env.time_zone
    if isinstance(moment, datetime):
        return duration.after(moment, zone)
    if duration.seconds % 86_400:
        return duration.after(datetime.combine(moment, time(), zone), zone)
    # Days are counted on the calendar here, so that a clock change cannot move a date.
    months = Duration(duration.months).after(datetime.combine(moment, time(12), UTC), ZoneInfo("UTC"))
    return months.date() + timedelta(seconds=duration.seconds)


def earlier(env: Environment, moment: datetime | date, duration: Duration) -> datetime | date:
    """A duration before."""
    return later(env, moment, -duration)


def days_since(env: Environment, moment: datetime | date) -> int:
    """Whole calendar days from then to today, in the zone; negative for what is to come."""
    return (as_date(env.now, env.time_zone) - as_date(moment, env.time_zone)).days


def days_until(env: Environment, moment: datetime | date) -> int:
    """Whole calendar days from today to then, in the zone; negative for what is over."""
    return -days_since(env, moment)
