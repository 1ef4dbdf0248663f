"""What an operator should look at first: bounded queries over the newest rows, so that the first page costs the same always."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet

from accounts.adminsite.look import lasting
from accounts.clock import real_now
from accounts.models import Installation, Provenance, Task
from automations.models import Delivery, Run, Worker

LOOKED_AT = 2000  # newest rows of each table; no index serves these questions alone
SHOWN = 5
SILENCE = timedelta(seconds=30)  # as /readyz


@dataclass(frozen=True, slots=True)
class Attention:
    """The newest of each kind, and the state of the machinery."""

    failed: list[Run]
    unsettled: list[Delivery]
    tasks: list[Task]
    workers: int
    clock: str
    held: str

    @property
    def nothing(self) -> bool:
        """Whether nobody has to do anything."""
        return not (self.failed or self.unsettled or self.tasks)


def look() -> Attention:
    """Six queries."""
    runs = _newest(Run, status="FAILED").select_related("automation", "customer", "workspace").defer("state", "answer")
    deliveries = _newest(Delivery, state__in=["UNKNOWN", "REVIEW"]).select_related("workspace")
    tasks = _newest(Task, state="open").select_related("customer", "workspace")
    beats = Worker.objects.filter(beat_at__gt=real_now() - SILENCE).values_list("pk")[:100]
    offset = Installation.objects.values_list("clock_offset", flat=True).first() or timedelta()
    way = "behind" if offset < timedelta() else "ahead"
    clock = f"{lasting(abs(offset))} {way}" if abs(offset) >= timedelta(seconds=1) else ""
    held = Provenance.objects.exclude(held_at=None).values_list("held_why", flat=True).first() or ""
    return Attention(list(runs), list(deliveries), list(tasks), len(beats), clock, held)


def _newest(model: Any, **wanted: Any) -> QuerySet[Any]:
    """The newest of those among the newest rows of the table."""
    newest = model.objects.order_by("-pk").values("pk")[:LOOKED_AT]
    return model.objects.filter(pk__in=newest, **wanted).order_by("-pk")[:SHOWN]
