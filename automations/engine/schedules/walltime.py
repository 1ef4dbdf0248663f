"""Local wall times as instants: what a clock change does to a fire time (invariant P6).

A wall time that the clocks skip moves forward to the first moment after the gap; one that they pass twice means its first
passing. Both rules keep the order of wall times, which the searches in this package rely on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

NEAR = timedelta(hours=26)  # no zone ever moved its clocks by more than a day


def naive(instant: datetime, zone: ZoneInfo) -> datetime:
    """The wall time of an instant, without zone."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def exists(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks of the zone ever show this wall time."""
    return naive(wall.replace(tzinfo=zone).astimezone(UTC), zone) == wall


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment that a wall time means: its first passing, or the end of the gap that swallows it."""
    if exists(wall, zone):
        return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return _end_of_gap(wall, zone)


def passings(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """All moments at which the clocks show this wall time: none, one or two."""
    if not exists(wall, zone):
        return []
    return sorted({wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """Bisect for the change of offset, to the second: before it the old offset holds, after it the new one."""
    old = wall.replace(tzinfo=zone, fold=0).utcoffset() or timedelta()
    new = wall.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    low, high = (wall - max(old, new)).replace(tzinfo=UTC), (wall - min(old, new)).replace(tzinfo=UTC)
    before = (low - timedelta(seconds=1)).astimezone(zone).utcoffset()
    low -= timedelta(seconds=1)
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def changes_near(moment: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks change within a good day of this moment."""
    offset = moment.astimezone(zone).utcoffset()
    return any((moment + shift).astimezone(zone).utcoffset() != offset for shift in (-NEAR, NEAR))
