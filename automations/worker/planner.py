"""Planner switches for one statement: where statistics are missing, or older than what they describe, the planner would read whole
tables for what a key finds (PERFORMANCE, anchors 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def switch(cursor: Any, names: Sequence[str], value: str) -> None:
    """Planner switches for the statements of this transaction that follow, in one round trip."""
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name in names)
    cursor.execute(f"SELECT {calls}")


def without(cursor: Any, names: Sequence[str], statement: str, parameters: Sequence[Any]) -> None:
    """Execute one statement with these planner switches off, for it alone, in one round trip. The cursor stands on its result."""
    off, on = ("; ".join(f"SET LOCAL {name} = {value}" for name in names) for value in ("off", "on"))
    cursor.execute(f"{off}; {statement}; {on}", parameters)
    for _ in names:
        cursor.nextset()
