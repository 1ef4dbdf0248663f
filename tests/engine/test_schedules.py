"""When schedules fire: by interval, cron and calendar, over zones and clock changes (TRG-15 to 17, P6)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automations.engine.schedules import check, local_time, next_fire, problems
from automations.engine.schedules.walltime import exists, instant, passings

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "SystemV/")))
FROM, TO = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (2015, 2038))
MOMENTS = st.datetimes(FROM, TO, timezones=st.just(UTC))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def fires(parameters, after, count, zone=BERLIN, anchor=None):
    """The next few fire times."""
    found = []
    for _ in range(count):
        after = next_fire(parameters, after, zone, anchor)
        found.append(after)
    return found


def walls(parameters, after, count, zone=BERLIN, anchor=None):
    """The same as wall times."""
    return [moment.astimezone(zone).strftime("%m-%d %H:%M") for moment in fires(parameters, after, count, zone, anchor)]


# -- interval ------------------------------------------------------------------------------------------------------------


def test_an_interval_counts_from_its_activation():  # TRG-15
    start = utc(2026, 11, 20, 10, 7)
    assert fires({"interval": "24h"}, start, 2, anchor=start) == [
        start + timedelta(hours=24),
        start + timedelta(hours=48),
    ]


def test_a_late_look_finds_the_next_mark_and_not_the_missed_ones():  # TRG-18
    start = utc(2026, 11, 20, 10)
    assert next_fire({"interval": "24h"}, start + timedelta(days=3, hours=5), BERLIN, start) == start + timedelta(
        days=4
    )


def test_days_are_fixed_lengths_across_a_clock_change():  # DESIGN 5.4
    start = utc(2026, 3, 28, 12)
    assert fires({"interval": "1d"}, start, 2, anchor=start)[1] - start == timedelta(days=2)


def test_months_count_from_the_anchor_and_do_not_drift():  # STACK 3
    start = datetime(2026, 1, 31, 9, tzinfo=BERLIN)
    assert walls({"interval": "1mo"}, start, 4, anchor=start) == [
        "02-28 09:00",
        "03-31 09:00",
        "04-30 09:00",
        "05-31 09:00",
    ]


def test_an_interval_of_days_can_be_bound_to_a_time_of_day():
    start = datetime(2026, 3, 27, 15, tzinfo=BERLIN)
    found = walls({"interval": "1d", "at": "08:00"}, start, 3, anchor=start)
    assert found == ["03-28 08:00", "03-29 08:00", "03-30 08:00"]  # also across the clock change of the 29th


@settings(max_examples=150, deadline=None)
@given(
    anchor=MOMENTS,
    after=MOMENTS,
    text=st.sampled_from(["1m", "90m", "24h", "7d", "1mo", "3mo", "1mo12h"]),
    zone=st.sampled_from(ZONES),
)
def test_the_next_mark_is_later_than_now_and_than_the_anchor(anchor, after, text, zone):  # P6
    found = next_fire({"interval": text}, after, zone, anchor)
    assert found > after
    assert found > anchor
    assert next_fire({"interval": text}, found - timedelta(microseconds=1), zone, anchor) == found


# -- cron ----------------------------------------------------------------------------------------------------------------


def test_mondays_at_nine_stay_at_nine_across_a_clock_change():  # TRG-16
    found = walls({"cron": "0 9 * * 1"}, utc(2026, 10, 18), 3)
    assert found == ["10-19 09:00", "10-26 09:00", "11-02 09:00"]
    assert [moment.utcoffset() for moment in fires({"cron": "0 9 * * 1"}, utc(2026, 10, 18), 3)] == [timedelta()] * 3


def test_a_missing_hour_moves_forward():  # P6
    assert walls({"cron": "30 2 * * *"}, utc(2026, 3, 27, 12), 3) == ["03-28 02:30", "03-29 03:00", "03-30 02:30"]


def test_a_doubled_hour_fires_once_by_the_wall_clock():  # P6
    assert walls({"cron": "30 2 * * *"}, utc(2026, 10, 24, 12), 3) == ["10-25 02:30", "10-26 02:30", "10-27 02:30"]


def test_a_doubled_hour_fires_twice_in_absolute_time():  # DESIGN 5.4
    found = fires({"cron": "*/30 * * * *"}, utc(2026, 10, 24, 23, 45), 6)
    assert [later - earlier for earlier, later in itertools.pairwise(found)] == [timedelta(minutes=30)] * 5


def test_a_missing_hour_is_no_pause_in_absolute_time():
    found = fires({"cron": "0 * * * *"}, utc(2026, 3, 28, 23, 30), 5)
    assert [later - earlier for earlier, later in itertools.pairwise(found)] == [timedelta(hours=1)] * 4


@settings(max_examples=300, deadline=None)
@given(after=MOMENTS, zone=st.sampled_from(ZONES), hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_daily_time_fires_once_per_local_day(after, zone, hour, minute):  # P6
    place = ZoneInfo(zone)
    found = fires({"cron": f"{minute} {hour} * * *"}, after, 4, place)
    assert all(later > earlier for earlier, later in zip([after, *found], found, strict=False))
    for moment in found:
        wall = moment.astimezone(place)
        wanted = wall.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None, fold=0)
        kept = wall.replace(tzinfo=None, fold=0) == wanted and wall.fold == 0
        assert kept or not exists(wanted, place) or not exists(wanted - timedelta(days=1), place)


@settings(max_examples=200, deadline=None)
@given(after=MOMENTS, zone=st.sampled_from(ZONES), step=st.sampled_from([5, 10, 15, 30]))
def test_in_absolute_time_every_moment_whose_wall_time_matches_is_found(
    after, zone, step
):  # P6, against a plain search
    place = ZoneInfo(zone)
    found = next_fire({"cron": f"*/{step} * * * *"}, after, place)
    moment = after.replace(second=0, microsecond=0)
    while True:
        moment += timedelta(minutes=1)
        if moment > after and moment.astimezone(place).minute % step == 0 and moment.astimezone(place).second == 0:
            break
        if moment > found:
            break
    assert found == moment


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), year=st.integers(2024, 2027))
def test_around_each_clock_change_of_a_zone_nothing_is_lost_or_doubled(zone, year):  # P6, RELIABILITY 14
    place = ZoneInfo(zone)
    for change in changes(place, year):
        daily = fires({"cron": "30 2 * * *"}, change - timedelta(days=2), 5, place)
        dates = [moment.astimezone(place).date() for moment in daily]
        assert len(set(dates)) == 5
        hourly = fires({"cron": "0 */1 * * *"}, change - timedelta(hours=3), 6, place)
        assert len(set(hourly)) == 6


def changes(zone, year):
    """The moments, to the hour, at which a zone's clocks change in a year."""
    start = utc(year, 1, 1)
    days = [start + timedelta(days=number) for number in range(367)]
    for before, after in itertools.pairwise(days):
        if before.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            hours = [before + timedelta(hours=number) for number in range(25)]
            yield next(
                later
                for earlier, later in itertools.pairwise(hours)
                if earlier.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset()
            )


# -- calendar ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("first day of month", ["02-01 09:00", "03-01 09:00"]),
        ("day 15 of month", ["02-15 09:00", "03-15 09:00"]),
        ("day 31 of month", ["01-31 09:00", "02-28 09:00"]),
        ("last day of month", ["01-31 09:00", "02-28 09:00"]),
        ("last friday of quarter", ["03-27 09:00", "06-26 09:00"]),
        ("third business day of month", ["02-04 09:00", "03-04 09:00"]),
        ("First Monday of the Month", ["02-02 09:00", "03-02 09:00"]),
        ("fifth monday of month", ["03-30 09:00", "06-29 09:00"]),
        ("first day of year", ["01-01 09:00", "01-01 09:00"]),
        ("day 100 of year", ["04-10 09:00", "04-10 09:00"]),
    ],
)
def test_calendars_in_words(text, expected):  # TRG-17
    assert walls({"calendar": text}, datetime(2026, 1, 30, 12, tzinfo=BERLIN), 2) == expected


def test_a_calendar_has_a_time_of_its_own_and_a_zone_of_its_own():  # CONTRACTS 4
    parameters = {"calendar": "first day of month", "at": "07:30", "timeZone": "America/New_York"}
    assert next_fire(parameters, utc(2026, 1, 30), BERLIN) == utc(2026, 2, 1, 12, 30)


@settings(max_examples=150, deadline=None)
@given(
    after=MOMENTS,
    zone=st.sampled_from(ZONES),
    ordinal=st.sampled_from(["first", "second", "third", "fourth", "last"]),
    kind=st.sampled_from(["day", "business day", "monday", "sunday"]),
    period=st.sampled_from(["month", "quarter", "year"]),
)
def test_every_calendar_has_a_next_time_that_follows_its_words(after, zone, ordinal, kind, period):  # P6
    place = ZoneInfo(zone)
    first, second = fires({"calendar": f"{ordinal} {kind} of {period}"}, after, 2, place)
    assert after < first < second
    day = first.astimezone(place)
    weekdays = {"monday": {0}, "sunday": {6}, "business day": {0, 1, 2, 3, 4}, "day": set(range(7))}
    assert day.weekday() in weekdays[kind]
    assert second - first < timedelta(days=400)


# -- wall times ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(wall=st.datetimes(FROM, TO), zone=st.sampled_from(ZONES))
@example(wall=FROM.replace(2024, 11, 3, 1, 30, fold=1), zone="America/New_York")  # the first passing, whatever its fold
def test_the_moment_of_a_wall_time_shows_it_or_is_the_end_of_its_gap(wall, zone):
    place, wall = ZoneInfo(zone), wall.replace(microsecond=0)
    moment = instant(wall, place)
    if passings(wall, place):
        assert moment == passings(wall, place)[0]
        assert moment.astimezone(place).replace(tzinfo=None, fold=0) == wall
    else:
        before = moment - timedelta(seconds=1)
        assert before.astimezone(place).utcoffset() != moment.astimezone(place).utcoffset()
        assert before.astimezone(place).replace(tzinfo=None) < wall < moment.astimezone(place).replace(tzinfo=None)


def test_the_key_of_a_fire_time_tells_the_passings_of_a_doubled_hour_apart():  # CONTRACTS 7
    first = utc(2026, 10, 25, 0, 30)
    assert local_time(first, BERLIN) == "2026-10-25T02:30"
    assert local_time(first + timedelta(hours=1), BERLIN) == "2026-10-25T02:30+0100"


# -- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "missing_config"),
        ({"interval": "1d", "cron": "0 9 * * 1"}, "bad_config"),
        ({"cron": "0 0 31 2 *"}, "impossible_schedule"),
        ({"cron": "* * * * * *"}, "bad_cron"),
        ({"cron": "0 9 * * 1 2026 0"}, "bad_cron"),
        ({"cron": "R 9 * * *"}, "bad_cron"),
        ({"cron": "0 R(8-10) * * *"}, "bad_cron"),
        ({"cron": "H H * * *"}, "bad_cron"),
        ({"cron": "@reboot"}, "bad_cron"),
        ({"cron": "61 * * * *"}, "bad_cron"),
        ({"cron": "nine o'clock on monday"}, "bad_cron"),
        ({"cron": "0 9 * * 1", "at": "10:00"}, "bad_cron"),
        ({"cron": 9}, "bad_config"),
        ({"interval": "0s"}, "bad_duration"),
        ({"interval": "59s"}, "bad_duration"),
        ({"interval": "soon"}, "bad_duration"),
        ({"interval": "90m", "at": "09:00"}, "bad_duration"),
        ({"calendar": "when the moon is full"}, "bad_config"),
        ({"calendar": "day 32 of month"}, "bad_config"),
        ({"calendar": "first day of month", "at": "25:00"}, "bad_config"),
        ({"calendar": "first day of month", "timeZone": "Mars/Olympus"}, "bad_config"),
    ],
)
def test_what_nobody_could_follow_is_refused_with_a_sentence(parameters, code):
    [(found, sentence)] = problems(parameters)
    assert found == code
    assert sentence.endswith(".")
    assert check(parameters) == [sentence]


@pytest.mark.parametrize(
    "text", ["0 9 * * 1", "@daily", "*/15 * * * *", "0 0 L * *", "0 9 * * mon-fri", "0 0 29 2 *", "0 9 * mar thu"]
)
def test_what_can_be_followed_is_accepted(text):
    assert check({"cron": text}) == []
