"""Branch: any number of cases, the first true one is followed, else the default (STP-06)."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from automations.engine.kinds import Config, ControlStep, Expression
from automations.engine.moves import Go, Move
from automations.engine.walk import Walk

RESERVED = {"next", "default", "error", "each", "timeout"}


class Case(Config):
    """One case: its id is the name of its port."""

    id: str = Field(title="Name", min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_-]+$")
    if_: Expression = Field(alias="if", title="If", min_length=1, json_schema_extra={"x-widget": "condition"})
    label: str = Field("", title="Label")


class BranchConfig(Config):
    """At least one case, each with an id of its own."""

    cases: list[Case] = Field(title="Cases", min_length=1, max_length=50)

    @field_validator("cases")
    @classmethod
    def _distinct(cls, cases: list[Case]) -> list[Case]:
        ids = [case.id for case in cases]
        if len(set(ids)) < len(ids) or RESERVED & set(ids):
            raise ValueError(f"every case needs an id of its own, other than {', '.join(sorted(RESERVED))}")
        return cases


class Branch(ControlStep):
    """Judges the cases in order."""

    key = "branch"
    label = "Branch"
    help = "Follows the first case that holds, or the default."
    icon = "branch"
    depth = 0
    Config = BranchConfig

    def ports(self, config: BranchConfig) -> tuple[str, ...]:
        return (*(case.id for case in config.cases), "default")

    def summary(self, config: BranchConfig) -> str:
        return f"{len(config.cases)} cases and a default"

    def sample(self) -> BranchConfig:
        return BranchConfig.model_validate({"cases": [{"id": "large", "if": "customer.metadata.seats > 50"}]})

    def enter(self, config: BranchConfig, walk: Walk) -> Move:
        scope = walk.scope()
        chosen = next((case for case in config.cases if scope.test(case.if_)), None)
        read: dict[str, Any] = {}
        for case in config.cases:
            read |= scope.values_read(case.if_)
        return Go(chosen.id if chosen else "default", {"branch": chosen.id if chosen else "default", "values": read})

    def resume(self, config: BranchConfig, walk: Walk, answer: Any) -> Move:
        return self.enter(config, walk)


step = Branch()
