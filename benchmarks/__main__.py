"""`make bench`: W1 to W6 and W8 of PERFORMANCE.md, contenders in turn on one PostgreSQL; prints tables, writes JSON.

    python -m benchmarks [--rounds 5] [--runs 10000] [--storm 100000] [--tiny] [W1 W2 ...]
    make bench W=W1,W2

Each measurement counts its own rows afterwards; a wrong count is an error, not a figure.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path

from benchmarks import report
from benchmarks.stage import TINY, Result, Sizes, say

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W8")


def main() -> None:
    """Measure what was asked for."""
    names, sizes, path = _options()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # ended early: what was started ends as well
    with tempfile.TemporaryDirectory(prefix="onward-bench-") as folder, bench_database(folder) as dsn:
        results = {}
        for name in names:
            say(f"{name}:")
            results[name] = measure(name, dsn, sizes)
            report.show(results[name])
    _summary(results)
    print(f"\nwritten to {report.write(results, {'workloads': names, **asdict(sizes)}, path)}")


def _options() -> tuple[list[str], Sizes, Path | None]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help=f"of {' '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that all of it works")
    for field in fields(Sizes):
        if field.type in ("int", "float"):
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=int if field.type == "int" else float)
    parser.add_argument(
        "--growth", type=lambda text: tuple(map(int, text.split(","))), help="parked runs of W8: 0,1000000"
    )
    parser.add_argument(
        "--json", type=Path, help="where to write the figures (default: benchmarks/results/<time>.json)"
    )
    options = vars(parser.parse_args())
    path = options.pop("json")
    given = options.pop("workloads") or list(WORKLOADS)
    names = [name for text in given for name in text.upper().split(",") if name]
    unknown = sorted(set(names) - set(WORKLOADS))
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}")
    sizes = TINY if options.pop("tiny") else Sizes()
    return names, replace(sizes, **{name: value for name, value in options.items() if value is not None}), path


@contextmanager
def bench_database(folder: str) -> Iterator[str]:
    """A database of its own on the configured server, with the server's own settings; dropped at the end. `folder` is the data
    folder of the processes measured."""
    from benchmarks.database import database

    with database() as dsn:
        os.environ["ONWARD_DATA"] = folder
        import django

        from config.folder import make_keys

        make_keys(Path(folder))
        django.setup()
        yield dsn


def measure(name: str, dsn: str, sizes: Sizes) -> Result:
    """One workload."""
    result: Result = importlib.import_module(f"benchmarks.{name.lower()}").run(dsn, sizes)
    return result


def _summary(results: dict[str, Result]) -> None:
    print(f"\nGoals of PERFORMANCE.md on {os.cpu_count()} cores, {platform.machine()}")
    for result in results.values():
        report.show_goals(result.goals)


if __name__ == "__main__":
    main()
