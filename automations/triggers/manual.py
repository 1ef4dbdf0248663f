"""Started by hand, through the API or by another automation (TRG-03, C-26)."""

from __future__ import annotations

from automations.engine.kinds import Trigger


class Manual(Trigger):
    """The caller says what the run is about and gives its trigger data."""

    key = "manual"
    group = "Manual"
    label = "By hand or through the API"
    hint = "Starts when POST /automations/<id>/trigger is called."
    type = "manual"
    subject = "none"
    provides = frozenset({"customer", "subscription", "invoice"})
    sample = {"reason": "asked for by the customer"}


trigger = Manual()
