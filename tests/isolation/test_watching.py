"""What judges a soak finds each kind of growth that is planted, and nothing where all is level (RELIABILITY 62)."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil
import pytest
from django.db import connection

from tests.isolation.watching import MIB, PASSING, TABLES, Sample, complaints, memory_of, tables_of

LOOKS = 30
Change = Callable[[Sample, int], None]


def looks(change: Change | None = None) -> list[Sample]:
    """A level soak: 1,000 bytes a run, warm after a few looks."""
    found = []
    for n in range(LOOKS):
        memory = {
            "worker:1": (80 if n < 5 else 120) * MIB,
            f"worker:{100 + n}": 900 * MIB,
        }  # the second is killed at once
        tables = {"automations_run": (10 * MIB + n * 1_000_000, 500, 1000 * n), PASSING[0]: (2 * MIB, 100, 5)}
        sample = Sample(n * 30.0, memory, tables, 1000 * n)
        if change:
            change(sample, n)
        found.append(sample)
    return found


def memory_leaks(sample: Sample, n: int) -> None:
    sample.memory["worker:1"] += n * 5 * MIB


def a_queue_grows(sample: Sample, n: int) -> None:
    sample.tables[PASSING[0]] = (2 * MIB + n * MIB, 100, 5)


def nobody_vacuums(sample: Sample, n: int) -> None:
    sample.tables["automations_run"] = (10 * MIB + n * 1_000_000, 100_000 * n, 1000 * n)


def runs_become_larger(sample: Sample, n: int) -> None:
    sample.tables["automations_run"] = (10 * MIB + n * n * n * 10_000, 500, 1000 * n)


def the_doctor_finds_something(sample: Sample, n: int) -> None:
    sample.findings = ["R1 (exec_1)"] if n == 3 else []


def test_what_is_level_is_not_complained_of() -> None:
    assert complaints(looks()) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (memory_leaks, "worker:1 grew"),
        (a_queue_grows, f"{PASSING[0]}, whose rows come and go"),
        (nobody_vacuums, "automations_run has"),
        (runs_become_larger, "A run took"),
        (the_doctor_finds_something, "The doctor found R1"),
    ],
)
def test_each_planted_growth_is_found(change: Change, word: str) -> None:
    found = complaints(looks(change))
    assert len(found) == 1
    assert found[0].startswith(word)


def test_too_few_looks_judge_nothing() -> None:
    assert complaints(looks()[:4]) == ["There are too few samples to judge by."]


def test_a_look_is_taken_of_real_processes_and_tables(db: None) -> None:
    here = psutil.Process(os.getpid())
    memory = memory_of({"soak": [here]})
    assert list(memory) == [f"soak:{here.pid}"]
    assert memory[f"soak:{here.pid}"] > MIB
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        tables = tables_of(cursor.fetchall())
    assert "automations_run" in tables
    assert "MiB" in Sample(1.0, memory, tables, 0).line()


def test_the_passing_tables_exist(db: None) -> None:
    assert set(PASSING) <= set(connection.introspection.table_names())
