"""`python -m tests.chaos.long --runs 10000 --kills 200 --freezes 50`: the long form of `test_kills`, by the same code."""

from __future__ import annotations

import argparse
import os
import sys

import pytest


def main() -> int:
    """Answers pytest's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.long")
    for name, default in (("runs", 10_000), ("kills", 200), ("freezes", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, help="start value of chance, as a former run printed it")
    options = vars(parser.parse_args())
    os.environ |= {f"CHAOS_{name.upper()}": str(value) for name, value in options.items() if value is not None}
    return int(pytest.main(["tests/chaos/test_kills.py", "-q", "-p", "no:cacheprovider"]))


if __name__ == "__main__":
    sys.exit(main())
