"""Due dates are days where the workspace is, whatever the clocks there do (BIL-04)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.records import due_date
from billing.services.dates import default_due, due_time, zone_of
from tests.billing.helpers import make_buyer, make_invoice
from tests.factories import make_workspace

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Kiritimati",
    "Pacific/Niue",
    "Australia/Lord_Howe",
]
days = st.dates(min_value=date(1950, 1, 1), max_value=date(2100, 1, 1))


@given(days, st.sampled_from(ZONES))
def test_a_day_comes_back_as_the_same_day(day: date, zone: str) -> None:
    assert due_date(due_time(day, zone), zone) == day


@given(days, st.sampled_from(ZONES))
def test_a_day_is_not_over_before_its_last_moment(day: date, zone: str) -> None:
    due = due_time(day, zone)
    assert due is not None
    assert due.astimezone(ZoneInfo(zone)).date() == day
    assert (due.astimezone(UTC) + timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() > day


@pytest.mark.parametrize(
    ("day", "zone", "expected"),
    [
        (
            date(2026, 3, 29),
            "Europe/Berlin",
            datetime(2026, 3, 29, 21, 59, 59, 999999, tzinfo=UTC),
        ),  # clocks go forward
        (date(2026, 10, 25), "Europe/Berlin", datetime(2026, 10, 25, 22, 59, 59, 999999, tzinfo=UTC)),  # and back
        (date(2026, 12, 31), "UTC", datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        (date(2026, 12, 31), "Pacific/Kiritimati", datetime(2026, 12, 31, 9, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_known_days(day: date, zone: str, expected: datetime) -> None:
    assert due_time(day, zone) == expected


def test_a_time_is_taken_as_it_is() -> None:
    moment = datetime(2026, 12, 31, 12, tzinfo=UTC)
    assert due_time(moment, "Asia/Kolkata") is moment


def test_a_time_without_zone_is_the_workspaces() -> None:
    naive = datetime(2026, 12, 31, 12)  # noqa: DTZ001  # on purpose
    assert due_time(naive, "Europe/Berlin") == datetime(2026, 12, 31, 11, tzinfo=UTC)


def test_nothing_is_due_at_no_time() -> None:
    assert due_time(None, "UTC") is None
    assert due_date(None, "UTC") is None


@pytest.mark.django_db
def test_the_zone_is_read_from_the_workspace() -> None:
    assert zone_of(make_workspace(time_zone="Asia/Tokyo").pk) == "Asia/Tokyo"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("days_until", "expected"), [(None, date(2026, 12, 20)), (0, date(2026, 11, 20)), (14, date(2026, 12, 4))]
)
def test_the_default_due_date_is_counted_in_days_of_the_workspace(days_until: int | None, expected: date) -> None:
    workspace = make_workspace(time_zone="America/New_York")
    if days_until is not None:
        workspace.defaults = {"billing": {"daysUntilDue": days_until}}
        workspace.save()
    invoice = make_invoice(make_buyer(workspace), collection_method="send_invoice", status="draft")
    early = datetime(2026, 11, 21, 3, tzinfo=UTC)  # still the 20th in New York
    assert due_date(default_due(invoice, early), "America/New_York") == expected


@pytest.mark.django_db
def test_an_invoice_that_is_charged_needs_no_due_date() -> None:
    invoice = make_invoice(make_buyer(), status="draft")
    assert default_due(invoice, datetime(2026, 11, 21, tzinfo=UTC)) is None
