"""Workers die and freeze while 500 runs walk: nothing is lost, nothing is done twice (RELIABILITY 1, 10 to 14; INVARIANTS).

The start value of chance is printed; `CHAOS_SEED` gives it. `python -m tests.chaos.long` is the long form.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.storm import Plan, Storm

pytestmark = pytest.mark.django_db(transaction=True)


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


def test_nothing_is_lost_or_doubled_while_workers_are_killed(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = _number("CHAOS_RUNS", 500)
    seed = _number("CHAOS_SEED", random.randrange(1 << 32))
    with capsys.disabled():
        print(f"\nCHAOS_SEED={seed}", flush=True)
    plan = Plan(
        runs=runs, kills=_number("CHAOS_KILLS", 30), freezes=_number("CHAOS_FREEZES", 2), seed=seed,
        patience=60 + runs / 20,
    )  # fmt: skip
    storm = Storm(plan)
    try:
        storm.rage(database_url)
    finally:
        with capsys.disabled():
            print(storm.figures, flush=True)
