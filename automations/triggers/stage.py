"""Entering a stage of a funnel (TRG-41, TRG-42, C-30). Legacy: the subscription triggers say the same more exactly."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from automations.engine.kinds import Config, EventFacts, Trigger
from automations.roots.customer import CustomerFields
from automations.triggers.customer import ANA


class StageParameters(Config):
    """Without a stage: any stage of the funnels of the automation's scope, or of all funnels when it is global."""

    stage: str | None = Field(None, title="Stage", json_schema_extra={"x-widget": "stage"})


class StageData(Config):
    """The stage that was entered, and the customer."""

    stage: str = Field(title="Stage")
    funnel: str = Field(title="Funnel")
    bucket: str | None = Field(None, title="Bucket")
    customer: CustomerFields = Field(title="Customer")


class StageEnter(Trigger):
    """Fires whenever a customer enters a stage."""

    key = "stage_enter"
    group = "Funnel"
    label = "Enters a stage"
    hint = "Legacy. For trials and paid plans the subscription triggers are more exact."
    legacy = True
    Parameters = StageParameters
    listens = ("stage_enter",)
    sample = {"stage": "TRIAL", "funnel": "default", "bucket": None, "customer": ANA}
    Data = StageData

    def applies(self, event: EventFacts, parameters: Any) -> bool:
        """`TRIAL` or `funnel/TRIAL`, in any case."""
        if not parameters.stage:
            return True
        funnel, _, stage = parameters.stage.rpartition("/")
        entered = str(event.trigger.get("stage", "")).casefold()
        return entered == stage.casefold() and (not funnel or _is_funnel(event, funnel))

    def within(self, event: EventFacts, scope: tuple[str, ...]) -> bool:
        """The scope says whose funnel is looked at; it is no further test of the stage (C-06)."""
        return not scope or any(_is_funnel(event, place.partition("/")[0]) for place in scope)


def _is_funnel(event: EventFacts, slug: str) -> bool:
    return str(event.trigger.get("funnel", "")).casefold() == slug.casefold()


trigger = StageEnter()
