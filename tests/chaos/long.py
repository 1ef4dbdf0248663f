"""`python -m tests.chaos.long --runs 10000 --kills 200 --freezes 50 --restarts 20 --cuts 500 --seed N`: a storm, and its table.

It starts a PostgreSQL of its own, of which nothing stays. Exit 0: nothing lost, nothing doubled, the doctor silent. `--without NAME`
takes a protection away (`without.py`); then exit 1 is what is wanted.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import traceback
from typing import Any

from tests.chaos.fleet import environment
from tests.chaos.nemesis import Plan
from tests.chaos.server import Server, own_server

NUMBERS = {"runs": 10_000, "kills": 200, "freezes": 50, "restarts": 20, "cuts": 500, "leavers": 10}
#: A server that answers before a transaction is safe: `--without durable`.
HASTY = (("synchronous_commit", "off"), ("wal_writer_delay", "10s"))


def main(arguments: list[str] | None = None) -> int:
    """Answers the exit code."""
    options = _read(arguments)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"CHAOS_SEED={seed}", flush=True)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # leave nothing running, also when somebody has no more patience
    os.environ["CHAOS_WITHOUT"] = options.without
    settings = HASTY if options.without == "durable" else ()
    with own_server("storm", options.as_users_run_it, settings) as server:
        return _storm(server, options, seed)


def _read(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.long")
    for name, default in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, help="start value of chance, as a former run printed it")
    parser.add_argument("--hang", type=float, default=0.0, help="share of unheard answers that are waited for in vain")
    parser.add_argument("--pause", type=float, default=0.25, help="seconds between two strokes, on average")
    parser.add_argument("--patience", type=float, help="seconds that the drain may take")
    parser.add_argument("--clocks", default="120,-120", help="seconds by which further hosts are off")
    parser.add_argument("--without", default="", help="take this protection away")
    parser.add_argument("--as-users-run-it", action="store_true", help="PostgreSQL waits for the disk")
    return parser.parse_args(arguments)


def _storm(server: Server, options: argparse.Namespace, seed: int) -> int:
    import django

    os.environ |= environment(server.url)
    django.setup()
    from tests.chaos.storm import Storm

    numbers = {name: getattr(options, name) for name in NUMBERS}
    clocks = tuple(int(text) for text in options.clocks.split(",") if text)
    patience = options.patience or 120 + options.runs / 10
    plan = Plan(**numbers, seed=seed, clocks=clocks, hang=options.hang, pause=options.pause, patience=patience)
    storm, wrong = Storm(plan), ""
    try:
        storm.rage(server)
    except AssertionError:
        wrong = traceback.format_exc(limit=-3)
    print(table({**storm.figures, "verdict": "broken" if wrong else "whole"}), flush=True)
    if wrong:
        print(wrong, file=sys.stderr, flush=True)
    return 1 if wrong else 0


def table(figures: dict[str, Any]) -> str:
    """One line for each figure, a group's members under it."""
    lines = ["| What | Figure |", "| --- | --- |"]
    for name, value in figures.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        lines += [f"| {name}{', ' if part else ''}{part} | {number} |" for part, number in parts]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
