"""`python -m tests.simulation --seeds 20 --from 1`: every point of every start value, or one of them with its trace."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

KINDS = ("death", "cut", "back", "all-back")


def main() -> int:
    """Answers pytest's exit code; 0 when every rule held in every simulation."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=20, help="how many start values")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first of them")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th point of each")
    parser.add_argument(
        "--part", type=int, default=0, help="which of them, so that --every 3 with parts 0, 1 and 2 are all"
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {', '.join(KINDS)}: see `faults.Kind`")
    parser.add_argument("--seed", type=int, help="repeat one start value and write its trace")
    parser.add_argument("--point", type=int, help="with a fault at this point of it")
    options = vars(parser.parse_args())
    os.environ |= {f"SIMULATION_{name.upper()}": str(value) for name, value in options.items() if value is not None}
    # Sets of words in the same order in every process: they decide in which order some statements are made.
    os.environ["PYTHONHASHSEED"] = "0"
    if sys.flags.hash_randomization:
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    return int(pytest.main([str(Path(__file__).with_name("sweep.py")), "-q", "-p", "no:cacheprovider"]))


if __name__ == "__main__":
    sys.exit(main())
