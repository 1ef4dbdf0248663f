"""`python -m tests.chaos.races --rounds 400`: the long form of the races, by the same code, one after the other.

Prints for each race the rounds, the orders that were seen, and what should be zero; then the same with a protection taken away.
"""

from __future__ import annotations

import argparse
import os
import random
import sys

import pytest

HERE = "tests/chaos/races/test_races.py"
OTHERS = ["tests/chaos/test_consent_races.py", "tests/chaos/test_merge_races.py"]


def main() -> int:
    """Answers pytest's exit code."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    os.environ |= {"RACES_ROUNDS": str(options.rounds), "RACES_BARE": str(options.bare), "RACES_SEED": str(seed)}
    if options.only:
        os.environ["RACES_ONLY"] = options.only
    files = [HERE] if options.only or not options.all else [HERE, *OTHERS]
    code = int(pytest.main([*files, "-q", "-p", "no:cacheprovider"]))
    from tests.chaos.races import asked
    from tests.chaos.races.every import RACES

    titles = {kind.name: kind.title for kind in RACES}
    print(f"\nstart value: {seed} (--seed {seed} repeats it)\n")
    print(asked.table([item for item in asked.told if not item.without], titles), "\n")
    print(asked.bare_table([item for item in asked.told if item.without], titles))
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.races")
    parser.add_argument("--rounds", type=int, default=400, help="of each race")
    parser.add_argument("--bare", type=int, default=20, help="of each race without a protection")
    parser.add_argument("--seed", type=int, help="start value of chance, as a former run printed it")
    parser.add_argument("--only", help="one race by its name")
    parser.add_argument("--all", action="store_true", help="also the races of merging, erasing and foreign addresses")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
