"""What a check is, and the registry that all apps contribute to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One rule. `sql` answers `workspace_id` (null for what belongs to none) and `found`, a text that names what breaks it; no row
    is health. It may use `%(lag)s`, `%(outside)s`, `%(steps)s` and `%(unreadable)s` (see `run.parameters`), and has no other per
    cent sign.

    `at_rest` rules hold only when load has stopped, workers live and the allowance has passed. The ids are those of INVARIANTS
    where one maps; `F` are references without a foreign key, `L` the log, `A` automations, `D` the database, `K` accounts.
    """

    id: str
    title: str
    sql: str
    at_rest: bool = False


_registered: dict[str, Check] = {}


def register(checks: Iterable[Check]) -> None:
    """Add checks; the same one again changes nothing. Raises ValueError when an id stands for two rules."""
    for check in checks:
        if _registered.setdefault(check.id, check) != check:
            raise ValueError(f"two checks are called {check.id}")


def registered() -> list[Check]:
    """All of them, by family and number."""
    return sorted(_registered.values(), key=lambda check: _place(check.id))


def _place(id: str) -> tuple[str, int, str]:
    family, rest = id[0], id[1:]
    number = "".join(letter for letter in rest if letter.isdigit())
    return family, int(number or 0), rest
