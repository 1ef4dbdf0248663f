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
    lines = [
        "| Race | Rounds | Orders seen | Exceptions | Deadlocks | Lost | Doubled | Late |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for item in figures:
        seen = ", ".join(f"{order.replace('_', ' ')} {count}" for order, count in sorted(item.seen.items()))
        counts = (len(item.exceptions) + len(item.findings), item.deadlocks, item.lost, item.doubled, item.late)
        lines.append(f"| {titles[item.name]} | {item.rounds} | {seen} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def bare_table(figures: Sequence[Figures], titles: dict[str, str]) -> str:
    """The rounds with a protection taken away."""
    lines = [
        "| Race | Without | Rounds | Exceptions | Deadlocks | Lost | Doubled | Late |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for item in figures:
        counts = (len(item.exceptions) + len(item.findings), item.deadlocks, item.lost, item.doubled, item.late)
        lines.append(f"| {titles[item.name]} | {item.without} | {item.rounds} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)
