"""Where a run can stand and where it may go from there: the one transition table (DESIGN 5).

A *standing* joins status and `parked_on`: `due` (RUNNING, parked on nothing), the five things a run can be parked on, and the
three ends. The table is asked by the walk and the services, mirrored by a check constraint and rendered in the docs.
"""

from __future__ import annotations

RUNNING = "RUNNING"
WAITING = "WAITING_FOR_EVENT"
COMPLETED = "COMPLETED"
CANCELLED = "CANCELLED"
FAILED = "FAILED"

UNFINISHED = frozenset({RUNNING, WAITING})
ENDED = frozenset({COMPLETED, CANCELLED, FAILED})
PARKED_ON = ("timer", "event", "delivery", "approval", "hold")

_ENDS = frozenset({COMPLETED, CANCELLED, FAILED})
#: from -> to. `due` to `due`: a step per pass, or out of fuel.
TRANSITIONS: dict[str, frozenset[str]] = {
    "due": frozenset({"due", "timer", "event", "delivery", "approval", "hold"}) | _ENDS,
    "timer": frozenset({"due", "hold"}) | _ENDS,
    "event": frozenset({"due", "hold"}) | _ENDS,
    "delivery": frozenset({"due", "hold"}) | _ENDS,
    "approval": frozenset({"due", "hold"}) | _ENDS,
    "hold": frozenset({"due", "timer", "event", "delivery", "approval"}) | _ENDS,
    COMPLETED: frozenset(),
    CANCELLED: frozenset(),
    FAILED: frozenset(),
}


class IllegalTransition(RuntimeError):
    """A run was asked to go where the table has no way."""


def standing(status: str, parked_on: str | None) -> str:
    """The row of the table that a run stands in."""
    return status if status in ENDED else parked_on or "due"


def status_when(place: str) -> str:
    """The stored status of a standing: only a wait for an event has a status of its own (RUN-07, RUN-08)."""
    if place in ENDED:
        return place
    return WAITING if place == "event" else RUNNING


def check_transition(origin: str, target: str) -> None:
    """Raise `IllegalTransition` unless the table allows it."""
    if target not in TRANSITIONS[origin]:
        raise IllegalTransition(f"A run cannot go from “{origin}” to “{target}”.")
