"""Evaluation time and real time, both by the database (DESIGN 5.4, CONTRACTS "The clock").

Delays, schedules, windows and `now` use evaluation time: database time plus one stored offset. Leases, consent, audit
and idempotency use real time. Inside statements use the SQL function `onward_now()`, or `OnwardNow()` in queries."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection, models, transaction
from django.utils.dateparse import parse_datetime

from accounts.errors import Refusal
from accounts.models import Installation

_STEP = re.compile(r"([+-])(?=\d)(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_unfinished: list[Callable[[], bool]] = []


class OnwardNow(models.Func):
    """Evaluation time in a query."""

    function = "onward_now"
    template = "%(function)s()"
    output_field = models.DateTimeField()


def evaluation_now() -> datetime:
    """Now by the evaluation clock, one query."""
    return _ask("select onward_now()")


def real_now() -> datetime:
    """Now by the database, one query; inside a transaction it goes on running."""
    return _ask("select statement_timestamp()")


def refuse_backwards_while(unfinished: Callable[[], bool]) -> None:
    """Upper apps say here whether anything is under way that a clock going back would harm (an unfinished run)."""
    if unfinished not in _unfinished:
        _unfinished.append(unfinished)


def refuse_unless_movable() -> None:
    """Raises Refusal `clock_refused` without `ONWARD_ALLOW_CLOCK`."""
    if not getattr(settings, "ONWARD_ALLOW_CLOCK", False):
        raise Refusal(
            "clock_refused",
            "The clock of this installation is real; set ONWARD_ALLOW_CLOCK=1 to move it. Beside `make up` it may be moved: a second"
            " terminal needs the same ONWARD_DATA.",
        )


@transaction.atomic
def set_clock(text: str | None) -> datetime:
    """Set evaluation time once and in one jump, to an ISO time or by a step such as `+3d`, `+2h30m`; None or `real`
    takes the offset away. Answers the new evaluation time. Refused without `ONWARD_ALLOW_CLOCK`, and when it would go
    back while an unfinished run exists."""
    refuse_unless_movable()
    installation = Installation.objects.select_for_update().get()
    real, current = real_now(), evaluation_now()
    offset = _offset(text, real, current)
    if real + offset < current - timedelta(seconds=1) and any(unfinished() for unfinished in _unfinished):
        raise Refusal(
            "wrong_state",
            "The clock cannot go back while a run is unfinished; let the runs end or cancel them first.",
            {"now": current.isoformat()},
        )
    installation.clock_offset = offset
    installation.save(update_fields=["clock_offset"])
    return evaluation_now()


def _offset(text: str | None, real: datetime, current: datetime) -> timedelta:
    if text is None or text == "real":
        return timedelta()
    try:
        step = _step(text)
        return (current + step if step is not None else _moment(text)) - real
    except (OverflowError, ValueError):
        raise _unreadable(text) from None


def _step(text: str) -> timedelta | None:
    match = _STEP.fullmatch(text)
    if match is None:
        return None
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:])
    step = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -step if match[1] == "-" else step


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _unreadable(text: str) -> Refusal:
    return Refusal(
        "invalid", f"“{text[:60]}” is no time: write 2026-11-20T09:00:00Z, +3d, +2h or real.", {"text": text[:60]}
    )


def _ask(sql: str) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
