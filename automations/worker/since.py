"""From which event on a wait counts (DESIGN 5.2, parking loses no wake; C-37).

A run that acts on an event acts at the moment of that event, however late a worker comes to it and however many events are routed
together. So a wait that it reaches without a rest counts what was routed after that event: the payment in the same request as its order,
or the answer that a receiver sends before it has answered our call. A delay, an approval or a pass between is a rest; then it counts
what is routed after the claim that ends it.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from automations.engine.states import UNFINISHED
from automations.engine.walk import Walk

_NUMBERS = "SELECT event_id, number FROM automations_routed WHERE event_id = ANY(%s) AND number IS NOT NULL"


def settle_since(walks: Sequence[Walk]) -> None:
    """Set `wait_since` of these walked runs, before their rows are written; their events have got their numbers, but for those that
    were routed before there were any."""
    acting = []
    for walk in walks:
        if _acts_on(walk):
            acting.append(walk.run)
        else:
            walk.run.wait_since = None
    begun = {run.begun_by for run in acting if run.begun_by is not None}
    numbers = _numbers(begun) if begun else {}
    for run in acting:
        if run.begun_by in numbers:
            run.wait_since = numbers[run.begun_by] + 1


def _acts_on(walk: Walk) -> bool:
    """Whether the run stands at a wait, or in the midst of what it does: at an act outside that it waits for, or out of fuel."""
    run = walk.run
    if run.parked_on is None:
        return run.status in UNFINISHED and run.due_at is not None and run.due_at <= walk.now
    return run.parked_on in ("event", "delivery")


def _numbers(events: set[int]) -> dict[int | None, int]:
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERS, [sorted(events)])
        return dict(cursor.fetchall())
