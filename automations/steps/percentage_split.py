"""Percentage split: a deterministic A/B split that an outsider can compute, kept per customer (STP-21 to 23, C-20)."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import Field

from automations.engine.kinds import Config, ControlStep
from automations.engine.moves import Ask, Go, KeepBranch, Move
from automations.engine.walk import Walk


class SplitConfig(Config):
    """`percent` of the customers take A."""

    percent: int = Field(ge=0, le=100, title="Percent to A")


def bucket(run_id: str, step_id: str) -> int:
    """SHA-256 over the UTF-8 text of the run's public id followed by the step's id, one big-endian number, mod 100 (STP-22)."""
    return int.from_bytes(hashlib.sha256(f"{run_id}{step_id}".encode()).digest(), "big") % 100


class PercentageSplit(ControlStep):
    """The first passage computes the branch; later runs of the customer keep it."""

    key = "percentage_split"
    label = "Percentage split"
    help = "Sends a share of the customers one way and the rest the other way; a customer always takes the same way."
    icon = "percent"
    depth = 0
    Config = SplitConfig

    def ports(self, config: Any) -> tuple[str, ...]:
        return ("a", "b")

    def summary(self, config: SplitConfig) -> str:
        return f"{config.percent} % A, {100 - config.percent} % B"

    def sample(self) -> SplitConfig:
        return SplitConfig(percent=50)

    def enter(self, config: SplitConfig, walk: Walk) -> Move:
        number = bucket(walk.run.public_id, walk.run.step or "")
        branch = "a" if number < config.percent else "b"
        if "customer" not in walk.subjects():
            return Go(branch, _output(number, config.percent, branch, kept=False))
        return Ask(KeepBranch(walk.run.step or "", branch))

    def resume(self, config: SplitConfig, walk: Walk, answer: Any) -> Move:
        branch, kept = answer
        return Go(branch, _output(bucket(walk.run.public_id, walk.run.step or ""), config.percent, branch, kept))


def _output(number: int, percent: int, branch: str, kept: bool) -> dict[str, Any]:
    return {"bucket": number, "threshold": percent, "branch": branch, "kept": kept}


step = PercentageSplit()
