"""What a long trial looks at again and again: memory of processes, sizes of tables, dead rows; and whether it stays level."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import psutil

MIB = 1 << 20
_TABLES = """
SELECT c.relname, pg_total_relation_size(c.oid), s.n_dead_tup, s.n_live_tup FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE pg_total_relation_size(c.oid) > 65536
"""
# Rows that come and go: however much passes through, these tables do not grow.
PASSING = (
    "automations_unrouted",
    "automations_secondlook",
    "automations_worker",
    "automations_tallydelta",
    "django_q_ormq",
    "accounts_provenance",
    "accounts_installation",
    "accounts_ratebucket",
)


@dataclass(slots=True)
class Sample:
    """One look. Sizes in bytes."""

    at: float  # seconds since the start
    memory: dict[str, int]  # "role:pid" -> resident bytes
    tables: dict[str, tuple[int, int, int]]  # name -> size, dead rows, living rows
    runs: int  # ended so far
    findings: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For whoever watches."""
        roles: defaultdict[str, list[int]] = defaultdict(list)
        for name, size in self.memory.items():
            roles[name.partition(":")[0]].append(size)
        memory = ", ".join(f"{role} {max(sizes) // MIB}" for role, sizes in sorted(roles.items()))
        dead = sum(rows for _, rows, _ in self.tables.values())
        size = sum(size for size, _, _ in self.tables.values())
        return (
            f"{self.at:7.0f} s  {self.runs:8} runs  MiB: {memory}  tables {size / MIB:.1f} MiB"
            f" ({size // max(1, self.runs)} B a run)  dead rows {dead}  doctor: {', '.join(self.findings) or 'silent'}"
        )


def memory_of(roles: Mapping[str, Sequence[psutil.Process]]) -> dict[str, int]:
    """Resident bytes of each process that lives."""
    found = {}
    for role, processes in roles.items():
        for process in processes:
            try:
                found[f"{role}:{process.pid}"] = int(process.memory_info().rss)
            except psutil.NoSuchProcess:  # it was killed between the list and the look
                continue
    return found


def tables_of(rows: Sequence[Sequence[object]]) -> dict[str, tuple[int, int, int]]:
    """What `TABLES` answered."""
    return {str(name): (int(str(size)), int(str(dead)), int(str(live))) for name, size, dead, live in rows}


TABLES = _TABLES


def complaints(samples: Sequence[Sample], growth: float = 1.25) -> list[str]:
    """What is not level, each in a sentence. The first third is warming up; the second is held against the last. `growth`: how many
    times as much the last third may have."""
    third = len(samples) // 3
    if third < 2:
        return ["There are too few samples to judge by."]
    middle, last = samples[third : 2 * third], samples[2 * third :]
    found = [f"The doctor found {name} at {one.at:.0f} s." for one in samples for name in one.findings]
    found += _memory(middle, last, growth)
    found += _passing(middle, last, growth)
    found += _dead(last)
    return found + _per_run(middle, last, growth)


def _memory(middle: Sequence[Sample], last: Sequence[Sample], growth: float) -> list[str]:
    """Of processes that lived through both."""
    found = []
    for name in sorted(set(middle[0].memory) & set(last[-1].memory)):
        before = median(one.memory[name] for one in middle if name in one.memory)
        after = median(one.memory[name] for one in last if name in one.memory)
        if after > before * growth and after - before > 16 * MIB:
            found.append(f"{name} grew from {before / MIB:.0f} to {after / MIB:.0f} MiB.")
    return found


def _passing(middle: Sequence[Sample], last: Sequence[Sample], growth: float) -> list[str]:
    found = []
    for table in PASSING:
        before, after = (max(one.tables.get(table, (0, 0, 0))[0] for one in part) for part in (middle, last))
        if after > before * growth and after - before > 4 * MIB:
            found.append(f"{table}, whose rows come and go, grew from {before} to {after} bytes.")
    return found


def _dead(last: Sequence[Sample]) -> list[str]:
    """A table that is never cleaned: more dead rows than living ones in every look of the last third."""
    found = []
    for table in sorted(last[-1].tables):
        looks = [one.tables.get(table, (0, 0, 0)) for one in last]
        if all(dead > 20_000 and dead > live for _, dead, live in looks):
            found.append(f"{table} has {looks[-1][1]} dead rows beside {looks[-1][2]} living ones.")
    return found


def _per_run(middle: Sequence[Sample], last: Sequence[Sample], growth: float) -> list[str]:
    """What one more run costs stays what it was."""
    costs = []
    for part in (middle, last):
        runs = part[-1].runs - part[0].runs
        sizes = [sum(size for size, _, _ in one.tables.values()) for one in (part[0], part[-1])]
        costs.append((sizes[1] - sizes[0]) / runs if runs else 0.0)
    if costs[0] > 0 and costs[1] > costs[0] * growth * 2:
        return [f"A run took {costs[0]:.0f} bytes, and takes {costs[1]:.0f} now."]
    return []
