"""What becomes true by time alone, such as an invoice that is overdue (CRN-12). Upper apps register their sweeps here when they start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

#: Does up to `limit` things in transactions of its own and answers how many it did; 0: nothing is due.
Sweep = Callable[[int], int]

#: When the sweep next has something to do, by the evaluation clock; None: nothing is foreseen (`work --through`).
NextDue = Callable[[], datetime | None]

_sweeps: dict[str, Sweep] = {}
_next: dict[str, NextDue] = {}


def register(name: str, sweep: Sweep, next_due: NextDue | None = None) -> None:
    """Add a sweep under a name, once however often it is called."""
    _sweeps[name] = sweep
    if next_due is not None:
        _next[name] = next_due


def next_due() -> datetime | None:
    """The next moment at which some sweep has something to do."""
    moments = [moment for ask in _next.values() if (moment := ask()) is not None]
    return min(moments) if moments else None


def run_sweeps(limit: int = 500) -> int:
    """Every sweep once, each bounded by `limit`. Answers how many things were done; call it again until that is 0."""
    return sum(sweep(limit) for sweep in _sweeps.values())
