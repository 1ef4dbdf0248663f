"""Intervals (TRG-15): multiples of a duration counted from an anchor, the moment of activation.

`d`, `h` and `w` are fixed lengths, months calendar months counted from the anchor (31 January, 28 February, 31 March). With `at`
the anchor moves to that local time, and whole days are days of the calendar there.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from automations.engine.durations import Duration, parse_duration
from automations.engine.schedules import walltime

SHORTEST = 60  # seconds
_DAY = 86_400


@lru_cache(maxsize=1024)
def parse(text: str) -> Duration:
    """The duration; raises ValueError with a sentence for people when it is none, or shorter than a minute."""
    duration = parse_duration(text)
    if duration.months == 0 and duration.seconds < SHORTEST:
        raise ValueError(f"An interval is at least a minute, “{text}” is shorter.")
    return duration


def whole_days(duration: Duration) -> bool:
    """Whether the interval can be bound to a time of day."""
    return duration.seconds % _DAY == 0


def following(text: str, at: time | None, after: datetime, zone: ZoneInfo, anchor: datetime) -> datetime:
    """The first mark after a moment and after the anchor."""
    duration = parse(text)
    number = max(1 if at is None else 0, _estimate(duration, anchor, after) - 2)
    while (moment := _mark(duration, number, at, anchor, zone)) <= max(after, anchor):
        number += 1
    return moment


def _estimate(duration: Duration, anchor: datetime, after: datetime) -> int:
    """Never more than the number wanted: months are taken at their longest."""
    length = duration.months * 31 * _DAY + duration.seconds
    return int((after - anchor).total_seconds() // length)


def _mark(duration: Duration, number: int, at: time | None, anchor: datetime, zone: ZoneInfo) -> datetime:
    if at is None:
        return Duration(duration.months * number, duration.seconds * number).after(anchor, zone)
    start = walltime.naive(anchor, zone)
    if start.time() >= at:
        start += timedelta(days=1)
    days = timedelta(seconds=duration.seconds * number)
    noon = datetime.combine(start.date(), time(12), zone)
    day = walltime.naive(Duration(duration.months * number, 0).after(noon, zone), zone).date() + days
    return walltime.instant(datetime.combine(day, at), zone)
