"""Helpers of the routing tests: automations as YAML, events recorded, batches routed, what the event then says."""

from __future__ import annotations

from typing import Any

from automations.models import Automation, Evaluation, Run
from automations.worker.route import route_batch
from tests.worker.living import happen, live

DELAY = "steps: [{id: d, type: delay, duration: 5d}]"


def route_all(walking: bool = False) -> int:
    """Route until nothing is recorded that was not routed; answers how many events. The new runs wait to be claimed, unless `walking`."""
    count = 0
    while found := route_batch(walking):
        count += found
    return count


def occur(customer: Any, name: str = "sign", payload: dict[str, Any] | None = None, **parts: Any) -> int:
    """Record an event and route it; answers its id."""
    id = happen(customer, name, payload, **parts)
    route_all()
    return id


def on(workspace: Any, trigger: str, rest: str = "", steps: str = DELAY) -> Automation:
    """An ACTIVE automation with this trigger (the inside of a YAML mapping) and further lines."""
    return live(workspace, f"trigger: {{{trigger}}}\n{rest}\n{steps}\n")


def runs(automation: Automation) -> list[Run]:
    """Its runs, oldest first."""
    return list(Run.objects.filter(automation=automation).order_by("pk"))


def decisions(event: int) -> dict[str, tuple[str, str | None]]:
    """What the evaluation row of an event says, by automation: outcome and gate. Nothing when there is no row."""
    row = Evaluation.objects.filter(event_id=event).first()
    found = row.decisions if row else []
    return {item["automation"]: (item["outcome"], item["gate"]) for item in found if "automation" in item}


def gate(event: int, automation: Automation) -> str | None:
    """The gate at which an event stopped before an automation."""
    return decisions(event).get(automation.public_id, ("", None))[1]
