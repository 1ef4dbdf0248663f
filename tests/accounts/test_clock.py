"""The evaluation clock (DESIGN 5.4, CONTRACTS "The clock")."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from accounts import clock
from accounts.clock import OnwardNow, _step, evaluation_now, real_now, refuse_backwards_while, set_clock
from accounts.errors import Refusal
from accounts.models import Installation

pytestmark = pytest.mark.usefixtures("real_clock")
NEAR = timedelta(seconds=5)


@pytest.fixture
def unfinished() -> Iterator[list[bool]]:
    """Whether a run is unfinished, as an upper app would answer."""
    answer = [False]

    def ask() -> bool:
        return answer[0]

    refuse_backwards_while(ask)
    yield answer
    clock._unfinished.remove(ask)


def test_without_offset_both_clocks_agree() -> None:
    assert abs(evaluation_now() - real_now()) < NEAR
    assert evaluation_now().tzinfo is not None


def test_a_step_moves_evaluation_time_only() -> None:
    answer = set_clock("+12d")
    assert abs(answer - real_now() - timedelta(days=12)) < NEAR
    assert abs(evaluation_now() - real_now() - timedelta(days=12)) < NEAR
    assert abs(real_now() - datetime.now(UTC)) < timedelta(minutes=5)


def test_steps_add_up() -> None:
    set_clock("+3d")
    set_clock("+2h")
    assert abs(evaluation_now() - real_now() - timedelta(days=3, hours=2)) < NEAR


@pytest.mark.parametrize(
    "text", ["2030-06-01T12:00:00Z", "2030-06-01T14:00:00+02:00", "2030-06-01T12:00:00", "2030-06-01 12:00"]
)
def test_a_moment_is_set_exactly(text: str) -> None:
    set_clock(text)
    assert abs(evaluation_now() - datetime(2030, 6, 1, 12, tzinfo=UTC)) < NEAR


def test_real_takes_the_offset_away() -> None:
    for text in ("real", None):
        set_clock("+5d")
        set_clock(text)
        assert Installation.objects.get().clock_offset == timedelta()


def test_sql_and_queries_see_the_same_time() -> None:
    set_clock("+30d")
    with connection.cursor() as cursor:
        cursor.execute("select onward_now() - statement_timestamp()")
        assert cursor.fetchone()[0] == Installation.objects.get().clock_offset
    told = Installation.objects.annotate(at=OnwardNow()).values_list("at", flat=True).get()
    assert abs(told - evaluation_now()) < NEAR


def test_time_goes_on_inside_a_transaction() -> None:
    # DESIGN 5.4: statement time, not the transaction's
    with transaction.atomic():
        first, second = real_now(), real_now()
        assert second > first
        assert evaluation_now() > second - NEAR


def test_the_function_is_stable_for_the_planner() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select provolatile from pg_proc where proname = 'onward_now'")
        assert cursor.fetchone() == ("s",)


@pytest.mark.parametrize("allowed", [False, None])
def test_moving_is_refused_unless_allowed(settings: object, allowed: bool | None) -> None:
    # CONTRACTS: without ONWARD_ALLOW_CLOCK refused
    settings.ONWARD_ALLOW_CLOCK = allowed
    for text in ("+1d", "real"):
        with pytest.raises(Refusal) as refused:
            set_clock(text)
        assert refused.value.code == "clock_refused"
    assert Installation.objects.get().clock_offset == timedelta()


def test_going_back_is_refused_while_a_run_is_unfinished(unfinished: list[bool]) -> None:
    # CONTRACTS: earlier than the present is refused while an unfinished run exists
    set_clock("+10d")
    unfinished[0] = True
    for text in ("-1h", "real", "2001-01-01T00:00:00Z"):
        with pytest.raises(Refusal) as refused:
            set_clock(text)
        assert refused.value.code == "wrong_state"
    assert abs(evaluation_now() - real_now() - timedelta(days=10)) < NEAR
    set_clock("+1h")
    unfinished[0] = False
    set_clock("real")
    assert abs(evaluation_now() - real_now()) < NEAR


@pytest.mark.parametrize("text", ["", "tomorrow", "+", "-", "+3", "3d", "+3x", "2026-13-01", "+999999w", "ñ"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        set_clock(text)
    assert refused.value.code == "invalid"


PARTS = st.integers(0, 999)


@given(PARTS, PARTS, PARTS, PARTS, PARTS, st.sampled_from("+-"))
def test_a_step_reads_as_written(weeks: int, days: int, hours: int, minutes: int, seconds: int, sign: str) -> None:
    step = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    text = f"{sign}{weeks}w{days}d{hours}h{minutes}m{seconds}s"
    assert _step(text) == (step if sign == "+" else -step)


def test_there_is_one_installation() -> None:
    # CONTRACTS 3
    row = Installation.objects.get()
    assert len(row.instance) == 12
    assert row.instance.isalnum()
    with pytest.raises(IntegrityError), transaction.atomic():
        Installation.objects.create(id=2, instance="second")
