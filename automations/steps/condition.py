"""Condition: two outcomes, exactly one is followed (STP-02, STP-20, CND-25)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from automations.engine.kinds import Config, ControlStep, Expression
from automations.engine.moves import Go, Move
from automations.engine.walk import Walk


class ConditionConfig(Config):
    """`if` is an expression of the one language."""

    if_: Expression = Field(alias="if", title="If", min_length=1, json_schema_extra={"x-widget": "condition"})


class Condition(ControlStep):
    """Judges its expression on the data of this moment (CND-24)."""

    key = "condition"
    label = "Condition"
    help = "Goes one way when the condition holds and the other way when it does not."
    icon = "split"
    depth = 0
    Config = ConditionConfig

    def ports(self, config: Any) -> tuple[str, ...]:
        return ("true", "false")

    def summary(self, config: ConditionConfig) -> str:
        return f"If {config.if_}"

    def sample(self) -> ConditionConfig:
        return ConditionConfig.model_validate({"if": 'customer.plan == "pro"'})

    def enter(self, config: ConditionConfig, walk: Walk) -> Move:
        scope = walk.scope()
        result = scope.test(config.if_)
        return Go("true" if result else "false", {"result": result, "values": scope.values_read(config.if_)})

    def resume(self, config: ConditionConfig, walk: Walk, answer: Any) -> Move:
        return self.enter(config, walk)


step = Condition()
