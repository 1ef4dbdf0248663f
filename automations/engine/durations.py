"""Durations: months plus seconds (C-22). `mo w d h m s` in any combination; `m` is always minutes (DEF-16, STP-12)."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
MAX_MONTHS: Final = 1_200
MAX_SECONDS: Final = 100 * 366 * 86_400

_PART = re.compile(r"\s*([0-9]{1,10})\s*(mo|[wdhms])(?![a-z])", re.ASCII)
_WORDS = re.compile(r"[a-zA-Z]+")
_EXAMPLE = "Write it like 3d, 1d12h or 1mo (units mo w d h m s)."


class DurationError(ValueError):
    """The text is no duration. Its message is one sentence for people."""


@dataclass(frozen=True, slots=True)
class Duration:
    """Calendar months and fixed seconds, both of one sign. A day is 24 hours, a week seven of them."""

    months: int = 0
    seconds: int = 0

    def __post_init__(self) -> None:
        if self.months * self.seconds < 0:
            raise DurationError(
                "A duration has one sign: its months and its other parts cannot point in two directions."
            )
        if abs(self.months) > MAX_MONTHS or abs(self.seconds) > MAX_SECONDS:
            raise DurationError("A duration of more than 100 years is too long.")

    @classmethod
    def of(
        cls, months: int = 0, weeks: int = 0, days: int = 0, hours: int = 0, minutes: int = 0, seconds: int = 0
    ) -> Self:
        """From the fields of a form (STP-12)."""
        return cls(months, weeks * UNITS["w"] + days * UNITS["d"] + hours * UNITS["h"] + minutes * UNITS["m"] + seconds)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """From `{"months": 1, "days": 2, "hours": 3, "minutes": 4}`, each a whole number of at least 0, each optional."""
        for name, amount in fields.items():
            if name not in ("months", "weeks", "days", "hours", "minutes", "seconds"):
                raise DurationError(
                    f"“{name}” is no part of a duration; its parts are months, weeks, days, hours, minutes."
                )
            if type(amount) is not int or not 0 <= amount <= MAX_SECONDS:
                raise DurationError(f"The {name} of a duration are a whole number of at least 0.")
        return cls.of(**fields)

    @property
    def is_zero(self) -> bool:
        """Whether it lasts no time at all; a delay refuses that, an offset does not."""
        return not (self.months or self.seconds)

    @property
    def is_negative(self) -> bool:
        """Whether it points into the past."""
        return self.months < 0 or self.seconds < 0

    def __neg__(self) -> Duration:
        return Duration(-self.months, -self.seconds)

    def __str__(self) -> str:
        """The canonical text: `1mo2d3h4m`, `-3d`, `0s`. It parses to the same duration."""
        if self.is_zero:
            return "0s"
        months, rest = abs(self.months), abs(self.seconds)
        parts = [f"{months}mo"] if months else []
        for unit in ("d", "h", "m", "s"):
            amount, rest = divmod(rest, UNITS[unit])
            if amount:
                parts.append(f"{amount}{unit}")
        return ("-" if self.is_negative else "") + "".join(parts)

    def after(self, start: datetime, zone: ZoneInfo) -> datetime:
        """The moment this long after `start` (with a zone), in UTC: first the calendar months, counted in `zone` from `start`'s
        own day and clipped to the month's last day, then the fixed seconds. Raises OverflowError past the calendar's end."""
        moment = _add_months(start.astimezone(zone), self.months) if self.months else start.astimezone(UTC)
        return moment + timedelta(seconds=self.seconds)


def _add_months(local: datetime, months: int) -> datetime:
    """Same wall time some months on, as UTC. A wall time that a clock change skips moves forward, a doubled one is the first."""
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    if not 1 <= year <= 9_998:
        raise OverflowError("date value out of range")
    day = min(local.day, monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day).astimezone(UTC)


@lru_cache(maxsize=1024)
def parse_duration(text: str, signed: bool = False) -> Duration:
    """Read `3d`, `5m`, `1d12h`, with `signed` also `-3d`. Zero is read as zero; the caller decides. Raises `DurationError`."""
    body = text.strip()
    if not body:
        raise DurationError(f"A duration is missing. {_EXAMPLE}")
    negative = body[0] == "-"
    if body[0] in "+-":
        if not signed:
            raise DurationError(f"The duration “{_short(text)}” may not have a sign here.")
        body = body[1:]
    found = _parts(body, text)
    months = found.pop("mo", 0)
    duration = Duration(months, sum(amount * UNITS[unit] for unit, amount in found.items()))
    return -duration if negative else duration


def _parts(body: str, text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    at = 0
    while at < len(body):
        match = _PART.match(body, at)
        if match is None:
            # `1d12h` has no gap after a unit, so the look-ahead refuses only letters that make another word of it.
            raise DurationError(f"“{_short(text)}” is no duration. {_EXAMPLE}")
        amount, unit = match.groups()
        if unit in found:
            raise DurationError(f"The duration “{_short(text)}” names the unit {unit} twice.")
        found[unit] = int(amount)
        at = match.end()
    return found


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
