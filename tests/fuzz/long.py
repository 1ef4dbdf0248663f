"""The long forms of the fuzz tests, by the same code: `python -m tests.fuzz.long rest --times 30 --seed 7`."""

from __future__ import annotations

import argparse
import os
import random
import sys

import pytest

#: Per part: its file, the tests without planted faults, and what a `--times` of one stands for (the short form's numbers).
PARTS = {
    "readers": ("test_readers.py", {"EXAMPLES": 250}),
    "rest": ("test_rest.py", {"REQUESTS": 5, "CHAINS": 4}),
    "services": ("test_living.py", {"HISTORIES": 5}),
}


def main() -> int:
    """Answers pytest's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.long")
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--times", type=int, default=20, help="how many times the short form")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    file, numbers = PARTS[options.part]
    os.environ |= {f"FUZZ_{name}": str(number * options.times) for name, number in numbers.items()}
    os.environ["FUZZ_SEED"] = str(options.seed)
    print(f"start value {options.seed}", flush=True)
    return int(
        pytest.main(
            [f"tests/fuzz/{file}", "-q", "-s", "-p", "no:cacheprovider", "--show-capture=no", "-k", "not Planted"]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
