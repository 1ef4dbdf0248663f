"""Time as a trigger: by interval, cron or calendar, for nobody in particular or for each record of a query (TRG-02, 15 to 18)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from automations.engine.kinds import Config, DurationText, Expression, Trigger
from automations.engine.schedules import check


class QueryConfig(Config):
    """One run for each record of the query for which `where` holds."""

    query: Literal["customers", "subscriptions", "invoices"] = Field(title="Records")
    where: Expression | None = Field(None, title="Only if", json_schema_extra={"x-widget": "condition"})


class ScheduleParameters(Config):
    """Exactly one of `interval`, `cron` and `calendar`."""

    interval: DurationText | None = Field(None, title="Every")
    cron: str | None = Field(None, title="Cron expression", description="Five fields, for example 0 9 * * 1")
    calendar: str | None = Field(None, title="Day", description="For example first day of month")
    at: str | None = Field(None, title="At", description="Local time, 09:00 unless given")
    time_zone: str | None = Field(None, alias="timeZone", title="Time zone", json_schema_extra={"x-widget": "timeZone"})
    for_each: QueryConfig | None = Field(None, alias="forEach", title="For each")

    @model_validator(mode="before")
    @classmethod
    def _can_be_followed(cls, data: Any) -> Any:
        if isinstance(data, dict) and (problems := check(data)):
            raise ValueError(problems[0])
        return data


class Schedule(Trigger):
    """Fires at its times in the workspace's zone; a missed one fires once (TRG-18)."""

    key = "schedule"
    group = "Schedule"
    label = "On a schedule"
    hint = "Every 24 hours, Mondays at nine, or the first day of each month."
    type = "schedule"
    Parameters = ScheduleParameters
    subject = "none"
    provides = frozenset()
    sample = {"firedAt": "2026-11-23T08:00:00.000Z", "localTime": "2026-11-23T09:00"}


trigger = Schedule()
