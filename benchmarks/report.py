"""Tables for people and JSON for machines: medians, ranges, paired ratios, and each goal of PERFORMANCE.md with what was found."""

from __future__ import annotations

import json
import os
import platform
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.stage import Column, Goal, Result, Row

FOLDER = Path(__file__).parent / "results"


def show(result: Result) -> None:
    """One workload."""
    print(f"\n{result.title}")
    widths = [max(17, len(column.heading) + 2) for column in result.columns]
    print(
        " " * 18 + "".join(f"{column.heading:>{width}}" for column, width in zip(result.columns, widths, strict=True))
    )
    for name, rows in result.rows.items():
        cells = [f"{_cell(column, rows):>{width}}" for column, width in zip(result.columns, widths, strict=True)]
        print(f"  {name:16}" + "".join(cells))
    for note in result.notes:
        print(f"  {note}")
    show_goals(result.goals)


def show_goals(goals: list[Goal]) -> None:
    """Median (range) of each, and whether it is reached."""
    for goal in goals:
        if not goal.values:
            print(f"  {goal.what}: not measured")
            continue
        sign = ">=" if goal.at_least else "<="
        median, low, high = middle(goal.values)
        found = f"{number(median)}{goal.unit} ({number(low)}-{number(high)})"
        print(
            f"  {goal.what}: {found}; must {sign} {number(goal.must)}{goal.unit}, aim {sign} {number(goal.aim)}{goal.unit}: {verdict(goal)}"
        )


def verdict(goal: Goal) -> str:
    """By the median."""
    if not goal.values:
        return "not measured"
    median = statistics.median(goal.values)

    def reaches(limit: float) -> bool:
        return median >= limit if goal.at_least else median <= limit

    return "aim reached" if reaches(goal.aim) else "must reached" if reaches(goal.must) else "MISSED"


def middle(values: list[float]) -> tuple[float, float, float]:
    """Median, least, most."""
    return statistics.median(values), min(values), max(values)


def number(value: float) -> str:
    """With three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(column: Column, rows: list[Row]) -> str:
    values = [column.of(row) for row in rows]
    if not values:
        return "-"
    median, low, high = middle(values)
    digits = column.digits
    text = f"{median:,.{digits}f}"
    return f"{text} ({low:,.{digits}f}-{high:,.{digits}f})" if column.heading == "seconds" else text


def as_json(results: dict[str, Result], settings: dict[str, Any]) -> str:
    """Every row of every round, and the goals."""
    return json.dumps(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
            "settings": settings,
            "workloads": {
                name: {
                    "title": result.title,
                    "rows": result.rows,
                    "goals": [{**vars(goal), "verdict": verdict(goal)} for goal in result.goals],
                    "notes": result.notes,
                }
                for name, result in results.items()
            },
        },
        indent=1,
    )


def write(results: dict[str, Result], settings: dict[str, Any], path: Path | None = None) -> Path:
    """A file of its own for each run of the benchmarks, unless one is named."""
    if path is None:
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    path.write_text(as_json(results, settings))
    return path
