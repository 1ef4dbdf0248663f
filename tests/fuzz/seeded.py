"""Hypothesis from a start value that is printed, accepted and the same everywhere."""

from __future__ import annotations

import os
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import get_state_machine_test

#: Every `make test` walks the same way; the long forms take another one each time, and print it.
SEED: Final = int(os.environ.get("FUZZ_SEED", "20261121"))


def number(name: str, usual: int) -> int:
    """How many of something: the short form's unless `FUZZ_<name>` says otherwise."""
    return int(os.environ.get(f"FUZZ_{name}", usual))


def rules(examples: int, shrink: bool = False, **more: Any) -> settings:
    """No deadline, no memory of former runs: a run is its start value."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
        **more,
    )


def run_machine(machine: Any, start: int, examples: int, steps: int, shrink: bool = False) -> None:
    """Run a state machine: so many examples of at most so many steps."""
    test = get_state_machine_test(machine, settings=rules(examples, shrink, stateful_step_count=steps), _min_steps=2)
    hypothesis.seed(start)(test)()
