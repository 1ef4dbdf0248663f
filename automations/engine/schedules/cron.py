"""Cron expressions of five fields (TRG-16).

With a fixed hour (`0 9 * * 1`) a schedule belongs to the wall clock and fires once per local day and time, also across a clock
change. With an hour that begins with `*` it belongs to absolute time: it fires at every moment whose wall time matches, so
`*/15 * * * *` neither pauses nor doubles when the clocks change.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import croniter

from automations.engine.schedules import walltime

NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EXAMPLE = "for example `0 9 * * 1` for Mondays at 09:00"
_TRIES = 2_000  # candidates looked at before a search gives up; an hour that the clocks skip costs a few


def fields(text: str) -> tuple[str, ...]:
    """The five fields, lower case; raises ValueError with a sentence for people."""
    parts = tuple(NAMED.get(text.strip().lower(), text.strip().lower()).split())
    if len(parts) != 5:
        raise ValueError(
            f"A cron expression has five fields (minute, hour, day, month, weekday), “{text}” has {len(parts)}; {_EXAMPLE}."
        )
    if any(_is_random(part) for part in parts):
        raise ValueError(f"“{text}” has a random field (R or H); name the minute and the hour, {_EXAMPLE}.")
    return parts


def _is_random(part: str) -> bool:
    """`R`, `H` and their ranges; `FRI`, `MAR`, `THU`, `MARCH` are no such thing."""
    return any(piece[:1] in ("r", "h") for piece in part.replace("/", ",").replace("-", ",").split(","))


@lru_cache(maxsize=1024)
def checked(text: str) -> tuple[str, bool]:
    """The canonical expression, and whether its hour is fixed. Raises ValueError when nobody could ever follow it."""
    parts = fields(text)
    expression = " ".join(parts)
    try:
        croniter.expand(expression)
    except (ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"“{text}” is not a cron expression: {error}. Write {_EXAMPLE}.") from error
    return expression, not parts[1].startswith("*")


def following(text: str, after: datetime, zone: ZoneInfo) -> datetime:
    """The first fire time after a moment. ValueError: there is none."""
    expression, fixed = checked(text)
    return _by_wall_clock(expression, after, zone) if fixed else _by_absolute_time(expression, after, zone)


def _walls(expression: str, start: datetime) -> Iterator[datetime]:
    """Matching wall times after `start`, ascending."""
    found = croniter(expression, start.replace(microsecond=0, tzinfo=UTC))
    for _ in range(_TRIES):
        try:
            yield found.get_next(datetime).replace(tzinfo=None)
        except ValueError as error:  # croniter's CroniterBadDateError: nothing within 50 years
            raise ValueError(f"“{expression}” names a date that never comes.") from error


def _by_wall_clock(expression: str, after: datetime, zone: ZoneInfo) -> datetime:
    for wall in _walls(expression, walltime.naive(after, zone)):
        moment = walltime.instant(wall, zone)
        if moment > after:
            return moment
    raise ValueError(f"“{expression}” names a time that never comes.")


def _by_absolute_time(expression: str, after: datetime, zone: ZoneInfo) -> datetime:
    """Near a clock change wall times are not in the order of moments, so the earliest of a day and more is taken."""
    start, margin = walltime.naive(after, zone), timedelta()
    if walltime.changes_near(after, zone):
        margin = _largest_jump(after, zone)
    best: datetime | None = None
    first: datetime | None = None
    for wall in _walls(expression, start - margin):
        if best is not None and first is not None and wall > first + margin:
            break
        later = [moment for moment in walltime.passings(wall, zone) if moment > after]
        if later and (best is None or later[0] < best):
            best = later[0]
            first = first or wall
    if best is None:
        raise ValueError(f"“{expression}” names a time that never comes.")
    return best


def _largest_jump(moment: datetime, zone: ZoneInfo) -> timedelta:
    offsets = [
        (moment + timedelta(hours=hours)).astimezone(zone).utcoffset() or timedelta() for hours in (-26, -13, 0, 13, 26)
    ]
    return max(offsets) - min(offsets)
