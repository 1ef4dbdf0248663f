"""The short form: the same start value gives the same trace, a death is survived, and what is spoiled is found (P3, P10).

The start value is printed; `SIMULATION_SEED` gives it. `python -m tests.simulation` is the long form.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from accounts.clock import evaluation_now, real_now
from tests.simulation.baton import Stuck
from tests.simulation.clock import BACK
from tests.simulation.faults import Fault, Kind
from tests.simulation.judge import faults_of
from tests.simulation.simulation import Simulation, Stage
from tests.simulation.spoiled import NOTE, SPOILS

pytestmark = pytest.mark.django_db(transaction=True)
#: Start values to be tried in turn for each; a kind: with this fault right after a commit that should not have stood alone.
FOUND: dict[str, tuple[list[int], Kind | None]] = {
    "no_fence": ([5, 1, 10], None),
    "no_second_look": ([17, 26, 27, 37], None),
    "marked_before": ([10, 20], "death"),
    "no_unique_keys": ([24, 29, 30], None),
    "key_of_the_try": ([1, 11, 5], None),
    "rendered_again": ([10, 1], None),
    "settled_without_its_run": ([10, 5], "death"),
    "fired_anew": ([1, 2], "back"),
}


@pytest.fixture
def stage() -> Iterator[Stage]:
    found = Stage()
    yield found
    found.close()


@pytest.fixture
def seed(capsys: pytest.CaptureFixture[str]) -> int:
    chosen = int(os.environ.get("SIMULATION_SEED", "7"))  # always the same way; the long form walks twenty
    with capsys.disabled():
        print(f"\nSIMULATION_SEED={chosen}", flush=True)
    return chosen


def test_the_same_start_value_gives_the_same_trace_and_a_death_is_survived(stage: Stage, seed: int) -> None:  # P10, P3
    walks = []
    for _ in range(2):
        simulation = Simulation(stage, seed)
        with simulation.walked():
            assert faults_of(simulation) == []
        walks.append(simulation)
    first, second = walks
    assert first.trace == second.trace
    assert first.digest == second.digest
    assert len(first.points.passed) > 40
    assert {name.partition(": ")[2].split(" of ")[0] for name in first.points.passed} >= {
        "before commit",
        "after commit",
    }
    point = random.Random(seed).randrange(len(first.points.passed))
    died = Simulation(stage, seed, Fault(point))
    with died.walked():
        assert faults_of(died) == [], (seed, point)
    assert died.deaths == 1
    assert died.points.passed[: point + 1] == first.points.passed[: point + 1]


def test_a_fault_strikes_at_its_point_and_the_trace_is_the_same_up_to_there(stage: Stage) -> None:
    whole = Simulation(stage, 10)
    with whole.walked():
        assert faults_of(whole) == []
    point = next(number for number, name in enumerate(whole.points.passed) if name.endswith("advance: before commit"))
    cut = Simulation(stage, 10, Fault(point, "cut"))
    with cut.walked():
        assert faults_of(cut) == []
    assert (cut.points.cuts, cut.deaths) == (1, 0)
    same = next(number for number, (a, b) in enumerate(zip(whole.trace, cut.trace, strict=False)) if a != b)
    assert f"[{point}] before commit" in cut.trace[same - 1]
    assert "the connection breaks" in cut.trace[same]


def test_a_clock_that_is_set_back_doubles_nothing_and_loses_nothing(stage: Stage) -> None:  # RELIABILITY 13
    """While the call of a run is under way that began less than a minute before."""
    whole = Simulation(stage, 1)
    with whole.walked():
        assert faults_of(whole) == []
    point = max(number for number, name in enumerate(whole.points.passed) if name.endswith("before call"))
    kinds: dict[Kind, float] = {"back": BACK, "all-back": 0.0}
    for kind, apart in kinds.items():
        back = Simulation(stage, 1, Fault(point, kind))
        with back.walked():
            assert faults_of(back) == []
        assert (back.points.backs, back.points.passed[: point + 1]) == (1, whole.points.passed[: point + 1])
        assert (back.clock.now - back.clock.there).total_seconds() == apart


def test_time_moves_for_python_and_the_server_when_it_is_told_to(stage: Stage) -> None:
    simulation = Simulation(stage, 10)
    with simulation.walked():
        assert real_now() == evaluation_now() == simulation.clock.now
        simulation.clock.jump(3600)
        assert real_now() == simulation.clock.now - timedelta(hours=1)
        simulation.clock.tell()
        assert real_now() == evaluation_now() == simulation.clock.now


@pytest.mark.parametrize("name", FOUND)
def test_a_protection_that_is_taken_away_is_missed(stage: Stage, name: str) -> None:
    seeds, kind = FOUND[name]
    for seed in seeds:
        simulation, wrong = spoiled(stage, seed, name)
        for point in deadly(simulation.trace) if kind and not wrong else ():
            if not wrong:
                wrong = spoiled(stage, seed, name, Fault(point, kind or "death"))[1]
        if wrong:
            return
    pytest.fail(f"nobody noticed {name}")


def spoiled(stage: Stage, seed: int, name: str, fault: Fault | None = None) -> tuple[Simulation, list[str]]:
    """A walk without this protection, and what the judge says of it."""
    simulation = Simulation(stage, seed, fault, SPOILS[name])
    try:
        with simulation.walked():
            return simulation, faults_of(simulation)
    except Stuck as stuck:
        return simulation, [str(stuck)]


def deadly(trace: list[str]) -> list[int]:
    """The points behind the commits of which the trace says that they should not stand alone."""
    noted: set[str] = set()
    found = []
    for line in trace:
        actor, text = line[12:23].strip(), line[24:]
        if text == NOTE:
            noted.add(actor)
        elif text.endswith("after commit") and actor in noted:
            noted.discard(actor)
            found.append(int(text[1:].partition("]")[0]))
    return found
