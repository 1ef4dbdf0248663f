"""Any event of one's own: one entry of the catalogue for all names (TRG-52)."""

from __future__ import annotations

from automations.engine.kinds import Trigger
from automations.triggers.customer import ANA


class Custom(Trigger):
    """The name is written in the definition (`event: demo_booked`); the fields are learned from what comes."""

    key = "custom"
    group = "Custom"
    label = "An event of your own"
    hint = "Any name that is posted to /events, for instance demo_booked or purchase."
    sample = {"seats": 12, "plan": "team", "customer": ANA}


trigger = Custom()
