"""Two sides at one moment, each order forced: 0 exceptions, 0 deadlocks, nothing lost, doubled or late; and with a protection taken
away each of the races fails (RELIABILITY 16 to 24; INVARIANTS E2, E3, W1, W2, C1 to C3).

Here each order comes once or twice; `python -m tests.chaos.races --rounds 400` runs the long form.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.races import asked
from tests.chaos.races.every import RACES
from tests.chaos.races.race import Guard, Race, run

pytestmark = pytest.mark.django_db(transaction=True)
ONLY = os.environ.get("RACES_ONLY")
CHOSEN = [kind for kind in RACES if ONLY in (None, kind.name)]


GUARDS = [pytest.param(kind, guard, id=f"{kind.name}: {guard.name}") for kind in CHOSEN for guard in kind.guards]


@pytest.mark.parametrize("kind", CHOSEN, ids=lambda kind: kind.name)
def test_nothing_is_lost_doubled_or_late(kind: type[Race]) -> None:
    figures = run(kind, asked.rounds(len(kind.orders)), asked.seed())
    asked.told.append(figures)
    assert figures.harm == 0, figures
    assert figures.forced, figures
    assert set(figures.seen) == set(kind.orders)


@pytest.mark.parametrize(("kind", "guard"), GUARDS)
def test_without_its_protection_it_fails(kind: type[Race], guard: Guard) -> None:
    figures = run(kind, asked.bare_rounds(2 * len(guard.orders)), asked.seed(), guard)
    asked.told.append(figures)
    assert figures.harm >= figures.rounds // 2, figures
