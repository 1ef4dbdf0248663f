"""Times are read from the database as psycopg and Django read them, only quicker."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DataError, connection
from hypothesis import given
from hypothesis import strategies as st

from accounts.timestamps import _utc

pytestmark = pytest.mark.django_db


def read(text: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", [text])
        return cursor.fetchone()[0]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:39:30Z",
        "2026-11-21T10:39:30.12Z",
        "2026-11-21T10:39:30.123456+05:30",
        "0001-01-02T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ],
)
def test_a_time_reads_as_the_moment_it_names(text: str) -> None:
    found = read(text)
    assert found == datetime.fromisoformat(text)
    assert found.utcoffset().total_seconds() == 0


@pytest.mark.parametrize("text", ["infinity", "-infinity", "0044-03-15 12:00:00 BC"])
def test_a_time_outside_of_the_calendar_is_refused_as_before(text: str) -> None:
    with pytest.raises(DataError):
        read(text)


def test_a_text_of_another_zone_is_left_to_the_slower_reader() -> None:
    assert _utc(b"2026-11-21 16:09:30+05:30", UTC) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_what_is_read(at: datetime) -> None:
    assert _utc(at.isoformat(" ").removesuffix(":00").encode(), UTC) == at
