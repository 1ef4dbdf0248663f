"""The long form, started by `python -m tests.simulation`; not collected with the other tests."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import get_args

import pytest

from tests.simulation.baton import Stuck
from tests.simulation.faults import Fault, Kind
from tests.simulation.judge import faults_of
from tests.simulation.simulation import Simulation, Stage

pytestmark = pytest.mark.django_db(transaction=True)


def number(name: str, default: int) -> int:
    """An option of the command."""
    return int(os.environ.get(f"SIMULATION_{name}") or default)


def walk(stage: Stage, seed: int, fault: Fault) -> tuple[Simulation, list[str]]:
    """One simulation and what is wrong with it."""
    simulation = Simulation(stage, seed, fault)
    try:
        with simulation.walked():
            return simulation, faults_of(simulation)
    except Stuck as stuck:
        return simulation, [f"stuck: {stuck}"]


def faults(passed: list[str], seed: int) -> Iterator[Fault]:
    """A fault for each point; a connection can break only at a commit."""
    asked = os.environ.get("SIMULATION_KINDS", "death,cut").split(",")
    kinds: list[Kind] = [kind for kind in get_args(Kind) if kind in asked]
    every = number("EVERY", 1)
    for point in range((seed + number("PART", 0)) % every, len(passed), every):
        for kind in kinds:
            if kind != "cut" or "commit" in passed[point]:
                yield Fault(point, kind)


def test_every_point_of_every_start_value(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    counts: Counter[str] = Counter()
    broken = []
    began = time.monotonic()
    first = number("FIRST", 1)
    seeds = [number("SEED", 0)] if "SIMULATION_SEED" in os.environ else range(first, first + number("SEEDS", 20))
    try:
        for seed in seeds:
            for text in _of_one(stage, seed, counts):
                broken.append(text)
                with capsys.disabled():
                    print(text, flush=True)
            with capsys.disabled():
                print(f"start value {seed}: {dict(counts)}, {time.monotonic() - began:.0f} s", flush=True)
    finally:
        stage.close()
    assert not broken


def _of_one(stage: Stage, seed: int, counts: Counter[str]) -> Iterator[str]:
    """What is wrong at this start value, point by point."""
    alone = "SIMULATION_SEED" in os.environ
    simulation, wrong = walk(stage, seed, Fault())
    counts["walks"] += 1
    counts["points"] += len(simulation.points.passed)
    yield from (f"start value {seed}: {text}" for text in wrong)
    if alone:
        point = os.environ.get("SIMULATION_POINT")
        if point is not None:
            asked = os.environ.get("SIMULATION_KINDS")
            kind: Kind = next((kind for kind in get_args(Kind) if kind == asked), "death")
            simulation, wrong = walk(stage, seed, Fault(int(point), kind))
            yield from (f"start value {seed}, point {point}: {text}" for text in wrong)
        yield (
            "\n".join([*simulation.trace, f"digest {simulation.digest}"])
            if wrong or point is not None
            else simulation.digest
        )
        return
    for fault in faults(simulation.points.passed, seed):
        simulation, wrong = walk(stage, seed, fault)
        counts["walks"] += 1
        counts[fault.kind] += 1
        counts["lock waits"] += simulation.baton.waits
        yield from (f"--seed {seed} --point {fault.point} --kinds {fault.kind}: {text}" for text in wrong)
