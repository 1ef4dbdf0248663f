"""Stop: ends the run, also from inside a loop (STP-08, C-33)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from automations.engine.kinds import Config, ControlStep
from automations.engine.moves import End, Move
from automations.engine.walk import Walk


class StopConfig(Config):
    """`reason` is shown with the run; its `endReason` is `stopped`."""

    reason: str = Field("", title="Reason", max_length=200)


class Stop(ControlStep):
    """Ends the run as COMPLETED with the reason `stopped`."""

    key = "stop"
    label = "Stop"
    help = "Ends the run here."
    icon = "stop"
    Config = StopConfig

    def ports(self, config: Any) -> tuple[str, ...]:
        return ()

    def summary(self, config: StopConfig) -> str:
        return config.reason or "Stop"

    def enter(self, config: StopConfig, walk: Walk) -> Move:
        return End("stopped", {"reason": config.reason} if config.reason else {})

    def resume(self, config: StopConfig, walk: Walk, answer: Any) -> Move:
        return self.enter(config, walk)


step = Stop()
