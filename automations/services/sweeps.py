"""What becomes true by time alone, such as an invoice that is overdue (CRN-12). Upper apps register their sweeps here when they start."""

from __future__ import annotations

from collections.abc import Callable

#: Does up to `limit` things in transactions of its own and answers how many it did; 0: nothing is due.
Sweep = Callable[[int], int]

_sweeps: dict[str, Sweep] = {}


def register(name: str, sweep: Sweep) -> None:
    """Add a sweep under a name, once however often it is called."""
    _sweeps[name] = sweep


def run_sweeps(limit: int = 500) -> int:
    """Every sweep once, each bounded by `limit`. Answers how many things were done; call it again until that is 0."""
    return sum(sweep(limit) for sweep in _sweeps.values())
