"""`python -m tests.chaos.bites`: small storms, each with one protection taken away, that must be found broken (RELIABILITY 0.4).

Exit 0: each was found within a few tries. The processes are the same as in a storm; only `without.py` differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.chaos.fleet import ROOT

SMALL = (
    "--runs=100",
    "--kills=6",
    "--freezes=1",
    "--restarts=2",
    "--cuts=5",
    "--leavers=1",
    "--clocks=",
    "--pause=0.1",
)
#: What finds it best where the small storm does not: a server that loses what it had not written must be killed often.
MORE = {
    "durable": ("--restarts=8", "--pause=0.3"),
    "one_transaction": ("--runs=400", "--kills=40"),
    "database_time": ("--clocks=120,-120",),
}
TRIES = 3


def main() -> int:
    """Answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.bites")
    parser.add_argument("names", nargs="*", default=["steady_keys", "known_events", "durable", "one_transaction"])
    missed = [name for name in parser.parse_args().names if not found(name)]
    return 1 if missed else 0


def found(name: str) -> bool:
    """Whether one of a few storms without this protection is found broken; each of them is told."""
    for attempt in range(1, TRIES + 1):
        command = [sys.executable, "-m", "tests.chaos.long", *SMALL, *MORE.get(name, ()), f"--without={name}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        complaint = (done.stderr.strip().splitlines() or [""])[-1][:160]
        seed = done.stdout.partition("\n")[0]
        print(
            f"without {name}, storm {attempt} ({seed}): {'found: ' + complaint if done.returncode else 'whole'}",
            flush=True,
        )
        if done.returncode == 1 and "AssertionError" in done.stderr:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
