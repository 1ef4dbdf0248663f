"""Calendar schedules in words: `first day of month`, `day 15 of month`, `last friday of quarter`, `third business day of month`
(TRG-17). Business days are Monday to Friday."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from automations.engine.schedules import walltime

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ORDINALS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "last": -1}
MONTHS = {"month": 1, "quarter": 3, "year": 12}
LONGEST = {"month": 31, "quarter": 92, "year": 366}
_NUMBERED = re.compile(r"day (\d{1,3}) of (?:the |each |every )?(month|quarter|year)")
_ORDINAL = re.compile(
    rf"({'|'.join(ORDINALS)}) (day|business day|weekday|{'|'.join(WEEKDAYS)}) of (?:the |each |every )?(month|quarter|year)"
)
_HELP = "Write for example `first day of month`, `day 15 of month`, `last friday of quarter` or `third business day of month`."


@dataclass(frozen=True, slots=True)
class Rule:
    """`index` counts from 0, or from the end when negative; `numbered` days are clipped to the period's last one."""

    index: int
    kind: str
    period: str
    numbered: bool = False

    def day(self, days: list[date]) -> date | None:
        """The day of one period, None when it has none (a fifth Monday)."""
        if self.numbered:
            return days[min(self.index, len(days) - 1)]
        fitting = [day for day in days if self._fits(day)]
        return fitting[self.index] if self.index < len(fitting) else None

    def _fits(self, day: date) -> bool:
        if self.kind == "day":
            return True
        if self.kind in ("business day", "weekday"):
            return day.weekday() < 5
        return WEEKDAYS[day.weekday()] == self.kind


@lru_cache(maxsize=1024)
def parse(text: str) -> Rule:
    """Read the words, in any case; raises ValueError with a sentence for people."""
    words = " ".join(text.lower().split())
    if found := _NUMBERED.fullmatch(words):
        number, period = int(found[1]), found[2]
        if not 1 <= number <= LONGEST[period]:
            raise ValueError(f"A {period} has no day {number}. {_HELP}")
        return Rule(number - 1, "day", period, numbered=True)
    if found := _ORDINAL.fullmatch(words):
        return Rule(ORDINALS[found[1]], found[2], found[3])
    raise ValueError(f"“{text}” is not a calendar schedule. {_HELP}")


def following(text: str, at: time, after: datetime, zone: ZoneInfo) -> datetime:
    """The first fire time after a moment: the rule's day, at the local time `at`."""
    rule = parse(text)
    for days in _periods(walltime.naive(after, zone).date() - timedelta(days=1), MONTHS[rule.period]):
        day = rule.day(days)
        if day and (moment := walltime.instant(datetime.combine(day, at), zone)) > after:
            return moment
    raise ValueError(f"“{text}” names a day that never comes.")


def _periods(day: date, months: int) -> Iterator[list[date]]:
    """The days of the period around `day` and of the next forty years' periods."""
    first = date(day.year, (day.month - 1) // months * months + 1, 1)
    for _ in range(40 * 12 // months):
        total = sum(monthrange(*_month(first, step))[1] for step in range(months))
        yield [first + timedelta(days=number) for number in range(total)]
        first = date(*_month(first, months), 1)


def _month(first: date, step: int) -> tuple[int, int]:
    return first.year + (first.month - 1 + step) // 12, (first.month - 1 + step) % 12 + 1
