"""Storms as tests start them: the command of the long form, in a process of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass

import pytest

from tests.chaos.fleet import ROOT


@dataclass(frozen=True)
class Outcome:
    """What a storm came to: its exit code, its table by row, and what it complained of."""

    code: int
    rows: dict[str, str]
    complaint: str

    def number(self, name: str) -> float:
        """A figure of the table; 0 for a row that is not there."""
        return float(self.rows.get(name, "0"))


def seed() -> int:
    """`CHAOS_SEED`, else by chance."""
    return int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 32))


def storm(capsys: pytest.CaptureFixture[str], **options: object) -> Outcome:
    """Let one storm rage; its start value is printed."""
    number = seed()
    with capsys.disabled():
        print(f"\nCHAOS_SEED={number}", flush=True)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in (options | {"seed": number}).items()]
    command = [sys.executable, "-m", "tests.chaos.long", *words]
    variables = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    return Outcome(done.returncode, {row[0]: row[1] for row in rows if len(row) == 2}, done.stderr[-6000:])
