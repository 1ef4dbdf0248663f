"""Durations (DEF-16, STP-12, C-22): reading, writing, and the moment that lies one after another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.engine.durations import MAX_MONTHS, MAX_SECONDS, Duration, DurationError, parse_duration

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
UTC_ZONE = ZoneInfo("UTC")
HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize(
    ("text", "months", "seconds"),
    [
        ("3d", 0, 72 * HOUR),
        ("5m", 0, 5 * 60),
        ("2h", 0, 2 * HOUR),
        ("1w", 0, 7 * DAY),
        ("1mo", 1, 0),
        ("30s", 0, 30),
        ("1d12h", 0, 36 * HOUR),
        ("1mo2d3h4m", 1, 2 * DAY + 3 * HOUR + 4 * 60),
        ("4m1mo", 1, 240),
        ("12mo", 12, 0),
        ("1mo1m", 1, 60),
        ("2w3d", 0, 17 * DAY),
        ("90m", 0, 90 * 60),
        ("0d", 0, 0),
        ("0s", 0, 0),
        ("007d", 0, 7 * DAY),
        (" 3d ", 0, 3 * DAY),
        ("1d 12h", 0, 36 * HOUR),
        ("3 d", 0, 3 * DAY),
    ],
)
def test_units_in_any_combination(text: str, months: int, seconds: int) -> None:
    # DEF-16
    assert parse_duration(text) == Duration(months, seconds)
    assert parse_duration(text, signed=True) == Duration(months, seconds)


@pytest.mark.parametrize(
    "text",
    [
        "3x",
        "",
        "  ",
        "3",
        "d",
        "1.5d",
        "1,5d",
        "3 days",
        "3days",
        "3D",
        "3M",
        "1mon",
        "d3",
        "3d!",
        "3d,2h",
        "3d;",
        "٣d",
        "1e3d",
        "--3d",
        "1d-2h",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    # DEF-16
    for signed in (False, True):
        with pytest.raises(DurationError) as caught:
            parse_duration(text, signed)
        assert str(caught.value).endswith(".") or str(caught.value).endswith(").")


def test_an_error_shows_the_text_and_how_to_write_one() -> None:
    with pytest.raises(DurationError, match=r"“3x” is no duration\. Write it like 3d, 1d12h or 1mo"):
        parse_duration("3x")
    with pytest.raises(DurationError, match="A duration is missing"):
        parse_duration("")
    with pytest.raises(DurationError, match=r"“x{39}…”"):
        parse_duration("x" * 5_000)


def test_a_unit_stands_once() -> None:
    with pytest.raises(DurationError, match="names the unit d twice"):
        parse_duration("1d2h3d")


@pytest.mark.parametrize("text", ["-3d", "+3d"])
def test_a_sign_is_refused_where_none_belongs(text: str) -> None:
    # CONTRACTS 4: a sign only in `offset`
    with pytest.raises(DurationError, match="may not have a sign"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-3d", Duration(0, -3 * DAY)), ("+3d", Duration(0, 3 * DAY)), ("-1mo12h", Duration(-1, -12 * HOUR))],
)
def test_a_sign_counts_for_the_whole(text: str, expected: Duration) -> None:
    assert parse_duration(text, signed=True) == expected


@pytest.mark.parametrize("text", ["1201mo", "9999999999d", "99999999999d", "36601d", "9" * 5_000 + "d"])
def test_more_than_a_hundred_years_are_refused(text: str) -> None:
    with pytest.raises(DurationError):
        parse_duration(text)


def test_a_hundred_years_are_allowed() -> None:
    assert parse_duration("1200mo").months == MAX_MONTHS
    assert parse_duration("36600d").seconds == MAX_SECONDS


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (Duration(0, 0), "0s"),
        (Duration(0, 36 * HOUR), "1d12h"),
        (Duration(0, 7 * DAY), "7d"),
        (Duration(1, 183_840), "1mo2d3h4m"),
        (Duration(14, 0), "14mo"),
        (Duration(0, 61), "1m1s"),
        (Duration(0, -3 * DAY), "-3d"),
        (Duration(-1, -HOUR), "-1mo1h"),
    ],
)
def test_the_canonical_text(duration: Duration, text: str) -> None:
    assert str(duration) == text


durations = st.builds(
    lambda months, seconds, sign: Duration(months * sign, seconds * sign),
    st.integers(0, MAX_MONTHS),
    st.integers(0, MAX_SECONDS),
    st.sampled_from([1, -1]),
)


@given(durations)
def test_reading_what_was_written_gives_the_same(duration: Duration) -> None:
    assert parse_duration(str(duration), signed=True) == duration
    assert str(parse_duration(str(duration), signed=True)) == str(duration)


@given(
    st.permutations(["mo", "w", "d", "h", "m", "s"]),
    st.lists(st.integers(0, 99), min_size=6, max_size=6),
    st.integers(1, 6),
)
def test_the_order_of_units_does_not_matter(units: list[str], amounts: list[int], count: int) -> None:
    parts = [f"{amount}{unit}" for amount, unit in zip(amounts, units, strict=True)][:count]
    assert parse_duration("".join(parts)) == parse_duration(" ".join(reversed(parts)))


@given(st.text(alphabet="0123456789mowdhs +-x.", max_size=12))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    try:
        duration = parse_duration(text, signed=True)
    except DurationError:
        return
    assert parse_duration(str(duration), signed=True) == duration


def test_zero_and_negative_are_told() -> None:
    assert parse_duration("0d").is_zero
    assert not parse_duration("1s").is_zero
    assert not parse_duration("1mo").is_zero
    assert parse_duration("-1mo", signed=True).is_negative
    assert parse_duration("-1s", signed=True).is_negative
    assert not parse_duration("0s").is_negative
    assert -parse_duration("1mo3d") == parse_duration("-1mo3d", signed=True)


def test_two_directions_in_one_duration_are_refused() -> None:
    with pytest.raises(DurationError, match="one sign"):
        Duration(1, -1)
    with pytest.raises(DurationError, match="one sign"):
        Duration(-1, 1)


def test_from_the_fields_of_a_form() -> None:
    # STP-12
    assert Duration.from_fields({"months": 1, "days": 2, "hours": 3, "minutes": 4}) == parse_duration("1mo2d3h4m")
    assert Duration.of(weeks=1, seconds=5) == parse_duration("1w5s")
    assert Duration.from_fields({}).is_zero
    assert Duration.from_fields({"months": 0, "days": 0, "hours": 0, "minutes": 0}).is_zero


@pytest.mark.parametrize(
    "fields",
    [{"days": -1}, {"days": 1.5}, {"days": "1"}, {"days": True}, {"days": None}, {"years": 1}, {"days": 10**12}],
)
def test_fields_that_are_no_whole_numbers_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DurationError):
        Duration.from_fields(fields)


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize("zone", [UTC_ZONE, BERLIN, NEW_YORK])
def test_the_example_of_the_source(zone: ZoneInfo) -> None:
    # STP-12
    found = parse_duration("1mo2d3h4m").after(at("2025-01-15 10:00", zone), zone)
    assert found == at("2025-02-17 13:04", zone)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("start", "text", "end"),
    [
        ("2025-01-31 10:00", "1mo", "2025-02-28 10:00"),  # clipped to the month's last day
        ("2024-01-31 10:00", "1mo", "2024-02-29 10:00"),
        ("2025-01-31 10:00", "2mo", "2025-03-31 10:00"),  # counted from the anchor's own day
        ("2025-01-31 10:00", "13mo", "2026-02-28 10:00"),
        ("2024-02-29 10:00", "12mo", "2025-02-28 10:00"),
        ("2024-02-29 10:00", "48mo", "2028-02-29 10:00"),
        ("2025-12-15 10:00", "1mo", "2026-01-15 10:00"),
        ("2025-03-31 10:00", "-1mo", "2025-02-28 10:00"),
        ("2025-01-15 10:00", "-1mo", "2024-12-15 10:00"),
        ("2025-01-15 10:00", "-1mo2d", "2024-12-13 10:00"),
        ("2025-03-15 10:00", "1mo", "2025-04-15 10:00"),  # wall time is kept across the clock change
        ("2025-10-15 10:00", "1mo", "2025-11-15 10:00"),
        ("2025-03-29 10:00", "1d", "2025-03-30 11:00"),  # a day is 24 hours
        ("2025-10-25 10:00", "1d", "2025-10-26 09:00"),
        ("2025-03-29 10:00", "1w", "2025-04-05 11:00"),
        ("2025-02-28 02:30", "1mo", "2025-03-28 02:30"),
        ("2025-02-28 00:30", "1mo1d", "2025-03-29 00:30"),
        ("2024-02-29 23:30", "1mo", "2024-03-29 23:30"),
    ],
)
def test_months_follow_the_calendar_and_the_rest_the_clock(start: str, text: str, end: str) -> None:
    # C-22
    assert parse_duration(text, signed=True).after(at(start), BERLIN) == at(end)


def test_a_wall_time_that_a_clock_change_skips_moves_forward() -> None:
    # In Berlin the 30th of March 2025 has no 02:30.
    found = parse_duration("1mo").after(at("2025-01-30 02:30"), BERLIN).astimezone(BERLIN)
    assert found == at("2025-02-28 02:30")
    found = parse_duration("2mo").after(at("2025-01-30 02:30"), BERLIN).astimezone(BERLIN)
    assert found.strftime("%d %H:%M") == "30 03:30"


def test_a_wall_time_that_a_clock_change_doubles_is_the_first_of_the_two() -> None:
    found = parse_duration("1mo").after(at("2025-09-26 02:30"), BERLIN)
    assert found == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)


def test_the_day_of_a_month_is_the_one_in_the_zone() -> None:
    # 23:30 UTC on the 31st of January is the 1st of February in Berlin.
    start = datetime(2025, 1, 31, 23, 30, tzinfo=UTC)
    assert parse_duration("1mo").after(start, BERLIN) == datetime(2025, 2, 28, 23, 30, tzinfo=UTC)
    assert parse_duration("1mo").after(start, UTC_ZONE) == datetime(2025, 2, 28, 23, 30, tzinfo=UTC)
    assert parse_duration("2mo").after(start, BERLIN) == datetime(2025, 3, 31, 22, 30, tzinfo=UTC)
    assert parse_duration("2mo").after(start, UTC_ZONE) == datetime(2025, 3, 31, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ("9998-06-01 00:00", "24mo"),
        ("9999-12-31 00:00", "2d"),
        ("0001-01-02 00:00", "-3d"),
        ("0001-02-01 00:00", "-2mo"),
    ],
)
def test_beyond_the_calendar_is_an_overflow(start: str, text: str) -> None:
    with pytest.raises(OverflowError):
        parse_duration(text, signed=True).after(at(start, UTC_ZONE), UTC_ZONE)


moments = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone
zones = st.sampled_from([UTC_ZONE, BERLIN, NEW_YORK, ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")])


@given(moments, st.integers(0, 10**8), zones)
def test_without_months_only_the_seconds_count(start: datetime, seconds: int, zone: ZoneInfo) -> None:
    assert Duration(0, seconds).after(start, zone) == start + timedelta(seconds=seconds)
    assert Duration(0, -seconds).after(start, zone) == start - timedelta(seconds=seconds)


@given(moments, st.integers(-60, 60), zones)
def test_months_keep_the_day_or_clip_it_and_keep_the_wall_time(start: datetime, months: int, zone: ZoneInfo) -> None:
    before, after = start.astimezone(zone), Duration(months).after(start, zone).astimezone(zone)
    # Only a clock change may move the wall time, and by no more than its own hour.
    shift = abs(timedelta(hours=after.hour - before.hour, minutes=after.minute - before.minute))
    assert min(shift, timedelta(days=1) - shift) <= timedelta(hours=1)
    if after.day not in (before.day, before.day + 1):
        assert (after + timedelta(days=1)).month != after.month


@given(moments, durations.filter(lambda one: not one.is_negative), zones)
def test_a_duration_never_points_backwards(start: datetime, duration: Duration, zone: ZoneInfo) -> None:
    assert duration.after(start, zone) >= start - timedelta(hours=1)
    if duration.months == 0:
        assert duration.after(start, zone) >= start
