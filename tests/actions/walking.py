"""One outside step in a definition of its own, walked by the real worker, so that a test sees the delivery it queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.clock import evaluation_now
from accounts.models import Workspace
from automations.models import Delivery, Event, EventContent, Run
from automations.worker.advance import advance_batch
from tests.factories import make_workspace
from tests.worker.deliveries import World


def definition(type_: str, config: Mapping[str, Any], fallback: bool = False, **settings: Any) -> dict[str, Any]:
    """`act`, and where wanted a stop on its error output."""
    nodes: list[dict[str, Any]] = [{"id": "act", "type": type_, "config": dict(config)}]
    edges = [{"from": "trigger", "port": "next", "to": "act"}]
    if fallback:
        nodes.append({"id": "stopped", "type": "stop", "config": {"reason": "fallback"}})
        edges.append({"from": "act", "port": "error", "to": "stopped"})
    return {
        "version": 1,
        "name": "One step",
        "trigger": {"type": "manual"},
        "settings": settings,
        "nodes": nodes,
        "edges": edges,
    }


class Walked(World):
    """A run of that definition, walked once. `trigger` is the payload of its event."""

    def __init__(
        self,
        type_: str,
        config: Mapping[str, Any],
        *,
        workspace: Workspace | None = None,
        trigger: Mapping[str, Any] | None = None,
        fallback: bool = False,
        customer: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(workspace or make_workspace(), definition(type_, config, fallback, **settings))
        for name, value in (customer or {}).items():
            setattr(self.customer, name, value)
        self.customer.save()
        self.started: Run = self.run(parked_on=None, due_at=evaluation_now(), step="act", seq=0, entered_at=None)
        EventContent.objects.create(
            event_id=self.started.event_id,
            recorded_at=Event.objects.values_list("recorded_at", flat=True).get(pk=self.started.event_id),
            workspace_id=self.workspace.pk,
            payload=dict(trigger or {}),
            snapshot={},
        )

    def walk(self) -> Run:
        """Advance until nothing is due."""
        while advance_batch():
            pass
        self.started.refresh_from_db()
        return self.started

    def queued(self) -> list[Delivery]:
        """Its deliveries."""
        return list(Delivery.objects.filter(run=self.started).order_by("effect"))
