"""Fire times when the time zone changes: each local day and time once, none twice, none lost (TRG-15 to 18, P6, DESIGN 5.4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automations.engine.schedules import local_time, next_fire
from automations.engine.schedules.moving import moved
from tests.engine.test_schedules import MOMENTS, ZONES

BERLIN, LONDON, NEW_YORK, TOKYO, KOLKATA = (
    ZoneInfo(name) for name in ("Europe/Berlin", "Europe/London", "America/New_York", "Asia/Tokyo", "Asia/Kolkata")
)
DAILY = {"cron": "0 9 * * *"}
START = datetime(2027, 1, 1, 12, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]  # year to minute, as written


def wall(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%m-%d %H:%M")


def move(
    parameters: dict[str, Any], due: datetime, old: ZoneInfo, new: ZoneInfo, now: datetime | None = None
) -> datetime:
    return moved(parameters, due, now or due - timedelta(minutes=1), old, new, START)


# -- schedules of the wall clock ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [DAILY, {"calendar": "first day of month"}, {"cron": "0 9 1 * *"}])
@pytest.mark.parametrize("new", [LONDON, NEW_YORK, TOKYO, KOLKATA])
def test_the_local_day_and_time_are_kept(parameters: dict[str, Any], new: ZoneInfo) -> None:  # TRG-16, TRG-17
    due = next_fire(parameters, utc(2027, 5, 30, 12), BERLIN)
    found = move(parameters, due, BERLIN, new)
    assert wall(found, new) == wall(due, BERLIN)


def test_a_morning_that_has_fired_does_not_fire_again_further_west() -> None:
    due = next_fire(DAILY, utc(2027, 5, 3, 8), BERLIN)  # 10:00 in Berlin, 04:00 in New York: this morning's has fired
    assert move(DAILY, due, BERLIN, NEW_YORK, utc(2027, 5, 3, 8)) == utc(2027, 5, 4, 13)


def test_a_morning_that_has_not_fired_is_due_at_once_further_east() -> None:
    now = utc(2027, 5, 3, 12)  # 08:00 in New York, 14:00 in Berlin
    due = next_fire(DAILY, now, NEW_YORK)
    found = move(DAILY, due, NEW_YORK, BERLIN, now)
    assert found == utc(2027, 5, 3, 7) < now
    assert next_fire(DAILY, now, BERLIN) == utc(2027, 5, 4, 7)


@pytest.mark.parametrize(
    ("due", "new", "found"),
    [
        (utc(2027, 3, 27, 1, 30), BERLIN, utc(2027, 3, 27, 1, 30)),  # the day before: 02:30 in winter
        (utc(2027, 3, 27, 17, 30), BERLIN, utc(2027, 3, 28, 1)),  # 02:30 is skipped: the end of the gap, 03:00
        (utc(2027, 10, 30, 17, 30), BERLIN, utc(2027, 10, 31, 0, 30)),  # 02:30 comes twice: its first passing
    ],
)
def test_a_clock_change_in_the_new_zone(due: datetime, new: ZoneInfo, found: datetime) -> None:  # P6
    """From Tokyo, which has no clock changes."""
    old = TOKYO if due.hour == 17 else BERLIN
    parameters = {"cron": "30 2 * * *"}
    assert wall(due, old).endswith("02:30")
    assert move(parameters, due, old, new) == found
    assert next_fire(parameters, found, new) - found > timedelta(hours=20)


def test_a_clock_change_in_the_old_zone() -> None:  # P6: 24 October is summer time in Berlin, the 31st is not
    due = next_fire({"cron": "0 9 * * 0"}, utc(2027, 10, 30, 12), BERLIN)
    assert due == utc(2027, 10, 31, 8)
    assert move({"cron": "0 9 * * 0"}, due, BERLIN, TOKYO) == utc(2027, 10, 31, 0)


# -- intervals, absolute time, a zone of its own ---------------------------------------------------------------------------


def test_an_interval_of_fixed_length_does_not_care() -> None:  # TRG-15, DESIGN 5.4
    due = next_fire({"interval": "1d12h"}, utc(2027, 5, 3, 8), BERLIN, START)
    assert move({"interval": "1d12h"}, due, BERLIN, TOKYO) == due


@pytest.mark.parametrize(("old", "new"), [(NEW_YORK, BERLIN), (BERLIN, NEW_YORK), (BERLIN, TOKYO), (TOKYO, LONDON)])
@pytest.mark.parametrize(
    "parameters", [{"interval": "7d", "at": "09:00"}, {"interval": "1mo"}, {"interval": "1mo", "at": "23:30"}]
)
def test_an_interval_keeps_the_number_of_its_mark(parameters: dict[str, Any], old: ZoneInfo, new: ZoneInfo) -> None:
    """From an activation that lies on another day in the other zone, where the marks are other days as well."""
    for anchor in (utc(2027, 3, 1, 4, 30), utc(2027, 3, 31, 13), utc(2027, 2, 28, 23, 10)):
        marks = [numbered(parameters, zone, anchor) for zone in (old, new)]
        for number, due in enumerate(marks[0]):
            assert moved(parameters, due, due, old, new, anchor) == marks[1][number]


def numbered(parameters: dict[str, Any], zone: ZoneInfo, anchor: datetime) -> list[datetime]:
    found = [anchor]
    for _ in range(14):
        found.append(next_fire(parameters, found[-1], zone, anchor))
    return found[1:]


def test_absolute_time_goes_on_from_the_present() -> None:
    hourly, now = {"cron": "15 * * * *"}, utc(2027, 5, 3, 8)
    due = next_fire(hourly, now, BERLIN)
    assert move(hourly, due, BERLIN, KOLKATA, now) == utc(2027, 5, 3, 8, 45)  # 14:15 there


def test_absolute_time_that_was_missed_stays_due() -> None:  # TRG-18
    hourly, due = {"cron": "15 * * * *"}, utc(2027, 5, 3, 8, 15)
    assert move(hourly, due, BERLIN, KOLKATA, due + timedelta(hours=3)) == due


def test_a_schedule_with_a_zone_of_its_own_stays() -> None:
    own = {**DAILY, "timeZone": "America/New_York"}
    due = next_fire(own, utc(2027, 5, 3, 8), BERLIN)
    assert move(own, due, BERLIN, TOKYO) == due


# -- any zones, any moment -------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(ZONES),
    MOMENTS,
    st.integers(0, 40),
)
def test_no_local_day_fires_twice_and_none_is_lost(old: str, new: str, change: datetime, before: int) -> None:
    """A daily schedule that is watched all the time, with a change of zone in between: each local day once, in order; days are
    passed over only where the new zone is ahead by more than what was still to come."""
    was, will = ZoneInfo(old), ZoneInfo(new)
    fired = []
    due = next_fire(DAILY, change - timedelta(hours=before), was)
    while due <= change:
        fired.append(local_time(due, was)[:10])
        due = next_fire(DAILY, due, was)
    due = moved(DAILY, due, change, was, will, START)
    now = change
    for _ in range(4):
        now = max(due, now)
        fired.append(local_time(due, will)[:10])
        due = next_fire(DAILY, now, will)
    days = [datetime.fromisoformat(day) for day in fired]
    steps = [(later - day).days for day, later in pairwise(days)]
    assert all(step >= 1 for step in steps)
    assert all(step <= 2 for step in steps)
    assert sum(step > 1 for step in steps) <= 1
