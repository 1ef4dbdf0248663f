"""What the command asks of the tests, and what they tell it."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

from tests.chaos.races.race import Figures

#: Of every race that was run in this process, in its order.
told: list[Figures] = []


def rounds(short: int) -> int:
    """How many rounds: few in `make test`, as many as were asked for by `python -m tests.chaos.races`."""
    return int(os.environ.get("RACES_ROUNDS", short))


def bare_rounds(short: int) -> int:
    """How many without a protection."""
    return int(os.environ.get("RACES_BARE", short))


def seed() -> int:
    """The start value of chance: the one asked for, or one of its own in each process."""
    return int(os.environ.get("RACES_SEED") or _OWN)


_OWN = random.SystemRandom().randrange(1_000_000)


def table(figures: Sequence[Figures], titles: dict[str, str]) -> str:
    """The rounds with all protections in place, as Markdown for the documentation."""
    return _table("Orders seen", [(titles[item.name], _orders(item), item) for item in figures])


def bare_table(figures: Sequence[Figures], titles: dict[str, str]) -> str:
    """The rounds with a protection taken away."""
    return _table("Without", [(titles[item.name], item.without, item) for item in figures])


def _orders(item: Figures) -> str:
    return ", ".join(f"{order.replace('_', ' ')} {count}" for order, count in sorted(item.seen.items()))


def _table(second: str, rows: Sequence[tuple[str, str, Figures]]) -> str:
    """`Findings` are the doctor's, which looks once at the end; all others are counted by rounds."""
    lines = [
        f"| Race | {second} | Rounds | Exceptions | Deadlocks | Lost | Doubled | Late | Findings |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for title, text, item in rows:
        harm = (len(item.exceptions), item.deadlocks, item.lost, item.doubled, item.late, len(item.findings))
        lines.append(f"| {title} | {text} | {item.rounds} | {' | '.join(map(str, harm))} |")
    return "\n".join(lines)
