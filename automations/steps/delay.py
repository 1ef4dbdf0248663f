"""Delay: wait for a duration, until a moment, or for a time before or after a date of the run's object (STP-03, STP-12, C-21)."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from pydantic import Field, model_validator

from automations.engine.durations import parse_duration
from automations.engine.kinds import Config, ControlStep, DurationText, TemplateText
from automations.engine.moves import Go, Move, Park
from automations.engine.values import iso
from automations.engine.walk import Walk

ANCHORS = {"due_date": ("invoice", "dueDate"), "period_end": ("subscription", "currentPeriodEnd")}
DEFAULT_TIME = time(9)  # a date anchor means 09:00 in the workspace's zone unless `at` says otherwise (DESIGN 5.4)


class DelayConfig(Config):
    """Exactly one of `duration`, `until`, `anchor`."""

    duration: DurationText | None = Field(None, title="Wait for", json_schema_extra={"x-widget": "duration"})
    until: TemplateText | None = Field(
        None, title="Wait until", description="A time of day, an ISO time or an expression."
    )
    anchor: str | None = Field(None, title="Relative to", json_schema_extra={"enum": [None, *ANCHORS]})
    offset: str | None = Field(None, title="Before or after it", description="A signed duration, for example -3d.")
    at: str | None = Field(None, title="At", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")

    @model_validator(mode="after")
    def _one_of(self) -> DelayConfig:
        given = [name for name in ("duration", "until", "anchor") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a delay needs exactly one of duration, until and anchor")
        if self.anchor is not None and self.anchor not in ANCHORS:
            raise ValueError(f"anchor is one of {', '.join(ANCHORS)}")
        if self.duration is not None and parse_duration(self.duration).is_zero:
            raise ValueError("a delay of zero waits for nothing; give it a length or remove the step")
        if self.offset is not None:
            parse_duration(self.offset, signed=True)
        return self


class Delay(ControlStep):
    """Parks the run on a timer; a moment already past lets it go on at once."""

    key = "delay"
    label = "Delay"
    help = "Waits for a duration, until a moment, or for a time before or after a due date or period end."
    icon = "clock"
    Config = DelayConfig

    def summary(self, config: DelayConfig) -> str:
        if config.duration:
            return f"Wait {config.duration}"
        if config.until:
            return f"Wait until {config.until}"
        return f"Wait for {config.offset or 'the day of'} {(config.anchor or '').replace('_', ' ')}"

    def sample(self) -> DelayConfig:
        return DelayConfig(duration="3d")

    def enter(self, config: DelayConfig, walk: Walk) -> Move:
        due = due_time(config, walk)
        if due is None:
            return Go(output={"until": None, "outcome": "no_date"})
        if due > walk.now:
            return Park("timer", due)
        # A time before an anchor that has already passed is not made up for (C-21); other moments simply are over.
        return Go(output={"until": iso(due), "outcome": "past"}, skip=config.anchor is not None)

    def resume(self, config: DelayConfig, walk: Walk, answer: Any) -> Move:
        return Go(output={"until": iso(walk.run.due_at) if walk.run.due_at else None, "outcome": "waited"})


def due_time(config: DelayConfig, walk: Walk) -> datetime | None:
    """When the delay is over; None when the object has no such date."""
    if config.duration is not None:
        return parse_duration(config.duration).after(walk.now, walk.zone)
    if config.until is not None:
        return _moment(walk.scope().value(config.until), walk, config.at)
    root, field = ANCHORS[config.anchor or ""]
    base = _moment(walk.scope().read((root, field)), walk, config.at)
    if base is None or config.offset is None:
        return base
    return parse_duration(config.offset, signed=True).after(base, walk.zone)


def _moment(value: Any, walk: Walk, at: str | None) -> datetime | None:
    """A time of day (the next such one), a date (at `at`, else 09:00), or a time."""
    if isinstance(value, str):
        value = _parse(value.strip(), walk)
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=walk.zone)
        return _at(value.astimezone(walk.zone).date(), at, walk) if at else value
    if isinstance(value, date):
        return _at(value, at, walk)
    if isinstance(value, time):
        today = walk.now.astimezone(walk.zone).date()
        moment = _local(today, value, walk)
        return moment if moment > walk.now else _local(today + timedelta(days=1), value, walk)
    return None


def _at(day: date, at: str | None, walk: Walk) -> datetime:
    return _local(day, time.fromisoformat(at) if at else DEFAULT_TIME, walk)


def _local(day: date, clock: time, walk: Walk) -> datetime:
    return datetime.combine(day, clock, tzinfo=walk.zone)


def _parse(text: str, walk: Walk) -> Any:
    written = _written(text)
    return written if written is not None or "{" in text else walk.scope().expression(text)


@lru_cache(maxsize=1024)
def _written(text: str) -> time | date | datetime | None:
    """The time or date that a text says by itself."""
    for read in (time.fromisoformat, date.fromisoformat, datetime.fromisoformat):
        try:
            return read(text)
        except ValueError:
            continue
    return None


step = Delay()
