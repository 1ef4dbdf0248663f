"""When a schedule fires next (TRG-15 to 17, P6). Pure: the present moment, the zone and the anchor come in as arguments.

`parameters` are those of a schedule trigger: exactly one of `interval`, `cron`, `calendar`, beside `at` (a local time, 09:00 unless
given) and `timeZone` (else the workspace's).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from automations.engine.schedules import calendar, cron, interval

KINDS = ("interval", "cron", "calendar")
NINE = time(9)
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)  # a leap year: 29 February is near


def next_fire(
    parameters: Mapping[str, Any], after: datetime, zone: ZoneInfo | str, anchor: datetime | None = None
) -> datetime:
    """The first fire time strictly after `after` (aware; the answer is in UTC).

    `anchor` is the moment of activation, from which intervals count; without it they count from `after`. Raises ValueError
    with a sentence for people when the parameters are wrong or the time never comes.
    """
    kind, text = _form(parameters)
    place = _zone(parameters.get("timeZone") or zone)
    at = _at(parameters.get("at"))
    if kind == "cron":
        return cron.following(text, after, place)
    if kind == "calendar":
        return calendar.following(text, at or NINE, after, place)
    return interval.following(text, at, after, place, anchor or after).astimezone(UTC)


def problems(parameters: Mapping[str, Any], after: datetime = _SOME_DAY) -> list[tuple[str, str]]:
    """All that is wrong, as (code, sentence): `missing_config`, `bad_config`, `bad_cron`, `bad_duration` or
    `impossible_schedule`. The next two fire times are computed, so a date that never comes is found here."""
    found: list[tuple[str, str]] = []
    try:
        _zone(parameters.get("timeZone") or "UTC")
        _at(parameters.get("at"))
        kind, text = _form(parameters)
    except ValueError as error:
        given = any(parameters.get(kind) for kind in KINDS)
        return [("bad_config" if given else "missing_config", str(error))]
    try:
        _check_text(kind, text, parameters.get("at"))
    except ValueError as error:
        return [({"cron": "bad_cron", "interval": "bad_duration"}.get(kind, "bad_config"), str(error))]
    try:
        next_fire(parameters, next_fire(parameters, after, "UTC"), "UTC", after)
    except (ValueError, OverflowError) as error:
        found.append(("impossible_schedule", str(error)))
    return found


def check(parameters: Mapping[str, Any], after: datetime = _SOME_DAY) -> list[str]:
    """The sentences of `problems`."""
    return [text for _, text in problems(parameters, after)]


def local_time(moment: datetime, zone: ZoneInfo | str) -> str:
    """The wall time that names a fire time in its event's key: `2026-11-23T09:00` (CONTRACTS 7). The second passing of a doubled
    hour has its offset behind it."""
    wall = moment.astimezone(_zone(zone))
    return wall.strftime("%Y-%m-%dT%H:%M") + (wall.strftime("%z") if wall.fold else "")


def _form(parameters: Mapping[str, Any]) -> tuple[str, str]:
    given = [(kind, parameters[kind]) for kind in KINDS if parameters.get(kind) not in (None, "")]
    if len(given) != 1:
        raise ValueError("A schedule has exactly one of `interval`, `cron` and `calendar`.")
    kind, text = given[0]
    if not isinstance(text, str):
        raise ValueError(f"`{kind}` is written as text, for example `24h`, `0 9 * * 1` or `first day of month`.")
    return kind, text


def _check_text(kind: str, text: str, at: object) -> None:
    if kind == "cron":
        cron.checked(text)
        if at:
            raise ValueError("A cron expression names its own time of day; leave `at` out.")
    elif kind == "calendar":
        calendar.parse(text)
    elif at and not interval.whole_days(interval.parse(text)):
        raise ValueError("`at` needs an interval of whole days, weeks or months.")
    else:
        interval.parse(text)


def _at(text: object) -> time | None:
    if not text:
        return None
    try:
        return time.fromisoformat(str(text)).replace(tzinfo=None)
    except ValueError as error:
        raise ValueError(f"`at` is a time of day such as 09:00, not “{text}”.") from error


def _zone(zone: ZoneInfo | str) -> ZoneInfo:
    if isinstance(zone, ZoneInfo):
        return zone
    try:
        return ZoneInfo(str(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"There is no time zone “{zone}”; write one such as Europe/Berlin.") from error
