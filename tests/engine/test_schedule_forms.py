"""The forms of schedules in detail: cron fields, calendars in words, intervals, against plain searches (TRG-15 to 17, P6)."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automations.engine.schedules import calendar, cron, interval, next_fire, walltime

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = st.dates(date(2015, 1, 1), date(2037, 12, 31))
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Africa/Cairo",
    "Pacific/Apia",
]


def at(day: date, hour: int = 12) -> datetime:
    """Noon of a day, UTC."""
    return datetime.combine(day, time(hour), UTC)


# -- cron fields ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0 9 * * 1", "2026-11-20T12:00", "2026-11-23T09:00"),
        ("0 9 * * mon", "2026-11-20T12:00", "2026-11-23T09:00"),
        ("0 9 * * 1-5", "2026-11-20T12:00", "2026-11-23T09:00"),
        ("30 8,17 * * *", "2026-11-20T12:00", "2026-11-20T17:30"),
        ("0 0 1 1 *", "2026-11-20T12:00", "2027-01-01T00:00"),
        ("0 0 29 2 *", "2026-11-20T12:00", "2028-02-29T00:00"),
        ("0 12 L * *", "2026-11-20T12:00", "2026-11-30T12:00"),
        ("0 9 * * mon#1", "2026-11-20T12:00", "2026-12-07T09:00"),
        ("*/20 9 * * *", "2026-11-20T09:10", "2026-11-20T09:20"),
        ("@daily", "2026-11-20T12:00", "2026-11-21T00:00"),
        ("@monthly", "2026-11-20T12:00", "2026-12-01T00:00"),
        ("@weekly", "2026-11-20T12:00", "2026-11-22T00:00"),
        ("@yearly", "2026-11-20T12:00", "2027-01-01T00:00"),
        ("@hourly", "2026-11-20T12:00", "2026-11-20T13:00"),
        ("0 9 * JAN *", "2026-11-20T12:00", "2027-01-01T09:00"),
    ],
)
def test_the_next_time_of_a_cron_expression(text, after, expected):  # TRG-16
    start = datetime.fromisoformat(after).replace(tzinfo=BERLIN)
    assert next_fire({"cron": text}, start, BERLIN) == datetime.fromisoformat(expected).replace(tzinfo=BERLIN)


def test_a_moment_that_fires_is_not_its_own_next():
    nine = datetime(2026, 11, 23, 9, tzinfo=BERLIN)
    assert next_fire({"cron": "0 9 * * 1"}, nine, BERLIN) == datetime(2026, 11, 30, 9, tzinfo=BERLIN)
    assert next_fire({"cron": "0 9 * * 1"}, nine - timedelta(microseconds=1), BERLIN) == nine
    assert next_fire({"cron": "0 9 * * 1"}, nine + timedelta(microseconds=1), BERLIN) > nine


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("0 9 * * *", True),
        ("0 9-17 * * *", True),
        ("0 8,9 * * *", True),
        ("0 * * * *", False),
        ("0 */2 * * *", False),
        ("@hourly", False),
    ],
)
def test_which_expressions_belong_to_the_wall_clock(text, fixed):  # DESIGN 5.4
    assert cron.checked(text)[1] == fixed


@settings(max_examples=150, deadline=None)
@given(
    day=DAYS,
    minute=st.integers(0, 59),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
    zone=st.sampled_from(ZONES),
)
def test_fixed_hours_agree_with_a_search_through_the_days(day, minute, hours, zone):  # P6
    place = ZoneInfo(zone)
    after = at(day)
    text = f"{minute} {','.join(str(hour) for hour in sorted(hours))} * * *"
    first = walltime.naive(after, place).date() - timedelta(days=1)
    walls = [
        datetime.combine(first + timedelta(days=number), time(hour, minute)) for number in range(5) for hour in hours
    ]
    expected = min(moment for wall in walls if (moment := walltime.instant(wall, place)) > after)
    assert next_fire({"cron": text}, after, place) == expected


# -- calendars -----------------------------------------------------------------------------------------------------------


def days_of(day: date, months: int) -> list[date]:
    """The days of the month, quarter or year around a day."""
    start = date(day.year, (day.month - 1) // months * months + 1, 1)
    count = sum(monthrange(start.year, start.month + step)[1] for step in range(months))
    return [start + timedelta(days=number) for number in range(count)]


FITTING = {
    "day": lambda day: True,
    "business day": lambda day: day.weekday() < 5,
    "weekday": lambda day: day.weekday() < 5,
    "monday": lambda day: day.weekday() == 0,
    "saturday": lambda day: day.weekday() == 5,
}
PLACES = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}
MONTHS = {"month": 1, "quarter": 3, "year": 12}


@settings(max_examples=200, deadline=None)
@given(
    day=DAYS,
    ordinal=st.sampled_from(sorted(PLACES)),
    kind=st.sampled_from(sorted(FITTING)),
    period=st.sampled_from(sorted(MONTHS)),
)
def test_ordinals_agree_with_a_list_of_the_periods_days(day, ordinal, kind, period):  # TRG-17
    found = next_fire({"calendar": f"{ordinal} {kind} of {period}"}, at(day), "UTC")
    fitting = [other for other in days_of(found.date(), MONTHS[period]) if FITTING[kind](other)]
    assert found == datetime.combine(fitting[PLACES[ordinal]], time(9), UTC)
    assert found > at(day)


@settings(max_examples=200, deadline=None)
@given(day=DAYS, number=st.integers(1, 31))
def test_numbered_days_are_clipped_to_the_month(day, number):
    found = next_fire({"calendar": f"day {number} of month"}, at(day), "UTC")
    assert found.day == min(number, monthrange(found.year, found.month)[1])
    assert timedelta() < found - at(day) <= timedelta(days=32)


@settings(max_examples=100, deadline=None)
@given(day=DAYS, number=st.integers(1, 366), period=st.sampled_from(["quarter", "year"]))
def test_numbered_days_of_longer_periods(day, number, period):
    number = min(number, calendar.LONGEST[period])
    found = next_fire({"calendar": f"day {number} of {period}"}, at(day), "UTC").date()
    days = days_of(found, MONTHS[period])
    assert found == days[min(number, len(days)) - 1]


@pytest.mark.parametrize(
    "text",
    [
        "first day of month",
        "First Day of the Month",
        "  first   day  of each month ",
        "first day of every month",
        "LAST FRIDAY OF QUARTER",
        "third business day of month",
        "last weekday of year",
        "day 15 of the month",
        "day 1 of quarter",
    ],
)
def test_words_in_many_spellings(text):
    assert calendar.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "first",
        "first of month",
        "zeroth day of month",
        "first day of week",
        "day 0 of month",
        "day 32 of month",
        "day 93 of quarter",
        "day 367 of year",
        "day -1 of month",
        "monday",
        "every monday",
        "first day of month and year",
    ],
)
def test_words_that_nobody_could_follow(text):
    with pytest.raises(ValueError, match="Write for example"):
        calendar.parse(text)


def test_a_fifth_weekday_waits_for_a_month_that_has_one():
    after = datetime(2026, 11, 1, tzinfo=UTC)
    found = [after]
    for _ in range(3):
        found.append(next_fire({"calendar": "fifth monday of month"}, found[-1], "UTC"))
    assert [moment.date() for moment in found[1:]] == [date(2026, 11, 30), date(2027, 3, 29), date(2027, 5, 31)]


# -- intervals -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(anchor=DAYS, minutes=st.integers(1, 100_000), passed=st.integers(0, 10_000_000))
def test_marks_of_a_fixed_interval_lie_on_its_grid(anchor, minutes, passed):  # TRG-15
    start = at(anchor)
    after = start + timedelta(minutes=passed)
    found = next_fire({"interval": f"{minutes}m"}, after, "UTC", start)
    assert (found - start) % timedelta(minutes=minutes) == timedelta()
    assert timedelta() < found - after <= timedelta(minutes=minutes)


@settings(max_examples=100, deadline=None)
@given(anchor=DAYS, months=st.integers(1, 24), passed=st.integers(0, 4_000))
def test_marks_of_months_keep_the_day_of_the_anchor(anchor, months, passed):
    start = at(anchor)
    after = start + timedelta(days=passed)
    found = next_fire({"interval": f"{months}mo"}, after, "UTC", start)
    distance = (found.year - start.year) * 12 + found.month - start.month
    assert distance % months == 0
    assert found.day == min(start.day, monthrange(found.year, found.month)[1])
    assert found > after


@settings(max_examples=100, deadline=None)
@given(
    anchor=DAYS,
    days=st.integers(1, 60),
    hour=st.integers(0, 23),
    passed=st.integers(0, 500),
    zone=st.sampled_from(ZONES),
)
def test_days_bound_to_a_time_keep_that_time(anchor, days, hour, passed, zone):
    place = ZoneInfo(zone)
    start = at(anchor)
    after = start + timedelta(days=passed)
    found = next_fire({"interval": f"{days}d", "at": f"{hour:02}:30"}, after, place, start)
    wall = walltime.naive(found, place)
    assert found > after
    assert (wall.hour, wall.minute) == (hour, 30) or not walltime.exists(wall.replace(hour=hour, minute=30), place)


@pytest.mark.parametrize(
    ("text", "days"), [("1d", True), ("2w", True), ("1mo", True), ("1mo3d", True), ("36h", False), ("1d12h", False)]
)
def test_which_intervals_can_be_bound_to_a_time(text, days):
    assert interval.whole_days(interval.parse(text)) == days


@pytest.mark.parametrize("text", ["", "0s", "1s", "59s", "-1d", "soon", "1x", "0mo"])
def test_intervals_that_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        interval.parse(text)


# -- clock changes that are not an hour at two -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "text", "expected"),
    [
        ("Australia/Lord_Howe", "2026-10-03", "15 2 * * *", ["02:30", "02:15"]),  # half an hour is missing
        ("America/Sao_Paulo", "2018-11-03", "0 0 * * *", ["01:00", "00:00"]),  # midnight itself is missing
        ("Africa/Cairo", "2026-04-23", "30 0 * * *", ["01:00", "00:30"]),
        ("Europe/Berlin", "2026-03-28", "0 2,3 * * *", ["03:00", "02:00"]),  # two of one day fall together
    ],
)
def test_a_missing_time_moves_to_the_end_of_the_gap(zone, day, text, expected):  # P6
    place = ZoneInfo(zone)
    moment = datetime.combine(date.fromisoformat(day), time(12), place)
    found = []
    for _ in expected:
        moment = next_fire({"cron": text}, moment, place)
        found.append(moment.astimezone(place).strftime("%H:%M"))
    assert found == expected


@pytest.mark.parametrize("zone", ZONES)
def test_every_hour_stays_every_hour_for_three_years(zone):  # P6, RELIABILITY 14
    place = ZoneInfo(zone)
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    shifts = {timedelta(hours=1)} | ({timedelta(minutes=30), timedelta(minutes=90)} if "Lord_Howe" in zone else set())
    for _ in range(3 * 365):
        following = next_fire({"cron": "0 * * * *"}, moment, place)
        assert following - moment in shifts or following - moment <= timedelta(hours=1)
        moment = following + timedelta(hours=22, minutes=30)
