"""Everything at once, for a short time: processes killed and frozen, the database restarted, its line cut, versions published,
customers leaving, events doubled and out of order; nothing is lost and nothing done twice (RELIABILITY 1 to 6, 12, 20, 22, 23, 27, 29).

The start value of chance is printed; `CHAOS_SEED` gives it. `python -m tests.chaos.long` is the long form.
"""

from __future__ import annotations

import pytest

from tests.chaos.storming import storm


def test_nothing_is_lost_or_doubled_in_a_storm(capsys: pytest.CaptureFixture[str]) -> None:
    found = storm(capsys, runs=150, kills=8, freezes=2, restarts=2, cuts=15, leavers=2, clocks=120, pause=0.15)
    assert found.code == 0, (found.rows, found.complaint)
    assert found.number("lost") == found.number("doubled inside") == found.number("doctor") == 0
    assert found.number("done, restarts fast") == found.number("done, restarts immediate") == 1
    assert found.number("done, cut commits") == 15
    assert found.number("done, frozen") == 2
    assert found.number("done, killed work") + found.number("done, killed work whole") >= 5
    assert found.number("versions walked") >= 2
    assert found.number("walked at once") >= 1
    assert found.number("said again") > 0


def test_the_same_start_value_gives_the_same_strokes() -> None:
    import random

    from tests.chaos.nemesis import Plan, schedule

    plan = Plan(kills=40, freezes=5, restarts=4, cuts=60)
    assert schedule(plan, random.Random(7)) == schedule(plan, random.Random(7)) != schedule(plan, random.Random(8))
