"""Wait until: pauses until a named event of the same object, or a time-out (STP-13 to 19, C-18, C-19, C-37)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from automations.engine.durations import parse_duration
from automations.engine.kinds import Config, ControlStep, DurationText, Expression
from automations.engine.moves import Go, Move, Park, WaitFor
from automations.engine.outcomes import Failed
from automations.engine.subjects import correlation
from automations.engine.walk import TimerDue, Walk

MAIL_FACTS = {"email_opened": "opened", "email_clicked": "clicked"}


class WaitConfig(Config):
    """`emails` widens `email_opened` and `email_clicked` from the run's latest e-mail to any e-mail to the customer."""

    event: str = Field(title="Event", min_length=1, max_length=100, json_schema_extra={"x-widget": "event"})
    filter: Expression | None = Field(None, title="Only if", json_schema_extra={"x-widget": "condition"})
    timeout: DurationText | None = Field(None, title="Time-out", json_schema_extra={"x-widget": "duration"})
    branch_on_timeout: bool = Field(False, alias="branchOnTimeout", title="Branch on time-out")
    emails: Literal["latest", "any"] = Field("latest", title="E-mails that count")

    @field_validator("event")
    @classmethod
    def _spelling(cls, event: str) -> str:
        return {"email_open": "email_opened", "email_click": "email_clicked"}.get(event, event)

    @field_validator("timeout")
    @classmethod
    def _not_zero(cls, timeout: str | None) -> str | None:
        if timeout is not None and parse_duration(timeout).is_zero:
            raise ValueError("a time-out of zero waits for nothing")
        return timeout


class WaitBroken(RuntimeError):
    """An event came for the wait, and whether it is the one waited for could not be judged."""


class WaitUntil(ControlStep):
    """Parks the run on an event; `wait.outcome` is `event` or `timeout` either way."""

    key = "wait_until"
    label = "Wait until"
    help = "Waits for an event of this customer or object, or for the time-out. What has come before the run rested last is over."
    icon = "hourglass"
    Config = WaitConfig

    def ports(self, config: WaitConfig) -> tuple[str, ...]:
        return ("next", "timeout") if config.branch_on_timeout else ("next",)

    def summary(self, config: WaitConfig) -> str:
        return f"Wait until {config.event}" + (f", at most {config.timeout}" if config.timeout else "")

    def sample(self) -> WaitConfig:
        return WaitConfig(event="demo_booked", timeout="7d")

    def enter(self, config: WaitConfig, walk: Walk) -> Move:
        if self._already(config, walk):
            return _over(walk, "event", None)
        due = parse_duration(config.timeout).after(walk.now, walk.zone) if config.timeout else None
        key = correlation(config.event, walk.subjects(), walk.plan.registry)
        return Park("event", due, WaitFor(config.event, key))

    def resume(self, config: WaitConfig, walk: Walk, answer: Any) -> Move:
        if answer is TimerDue:
            return _over(walk, "timeout", None)
        if isinstance(answer, Failed):  # the walk logs it as the step's own error and ends the run (ERR-11)
            raise WaitBroken(answer.message)
        return _over(walk, "event", answer.get("event") if isinstance(answer, dict) else None)

    def _already(self, config: WaitConfig, walk: Walk) -> bool:
        """An open or click of the run's latest e-mail counts although it came before the wait (RUN-22)."""
        fact = MAIL_FACTS.get(config.event)
        if fact is None or config.filter is not None:
            return False
        return bool(walk.scope().read(("mail", fact)))


def _over(walk: Walk, outcome: str, event: int | None) -> Go:
    facts = {"outcome": outcome, "event": f"evt_{event}" if event else None}
    walk.run.state["wait"] = facts
    return Go("next" if outcome == "event" else "timeout", facts)


step = WaitUntil()
