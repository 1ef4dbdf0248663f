"""What an expression may name (`Names`) and what it reads while it is evaluated (`Environment`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from automations.engine.expressions.budget import MAX_SIZE, MAX_STEPS, Budget
from automations.engine.expressions.errors import EvaluationWarning

MAX_WARNINGS: Final = 50


@dataclass(frozen=True, slots=True)
class Names:
    """The names known where an expression stands.

    `roots`: first segments of paths (`customer`, `invoice`, the `as` name of a loop); `trigger` and `now` always belong to them.
    `aliases`: bare names and the paths they mean, `("country", ("customer", "country"))` or `("profile", ("customer",))` (C-09).
    """

    roots: frozenset[str] = frozenset()
    aliases: tuple[tuple[str, tuple[str, ...]], ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)  # it is a key of caches that are asked for each step

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.roots, self.aliases)))

    def __hash__(self) -> int:
        return self._hash


class Environment:
    """The data of one moment. Nothing else is read: no clock, no database, no attribute of any object.

    `data` maps roots to plain data; `now`, `time_zone` and `locale` serve the date and number filters. Without a `budget` every
    evaluation has a full one; a given budget is shared by all evaluations. `warnings` collects what the step log shows.
    """

    __slots__ = ("_own", "budget", "data", "locale", "locals", "now", "time_zone", "warnings")

    def __init__(
        self,
        data: Mapping[str, Any],
        now: datetime,
        time_zone: ZoneInfo | str = "UTC",
        locale: str = "en",
        budget: Budget | None = None,
    ) -> None:
        self.data = data
        self.now = now if now.tzinfo is not None else now.replace(tzinfo=UTC)
        self.time_zone: ZoneInfo = ZoneInfo(time_zone) if isinstance(time_zone, str) else time_zone
        self.locale = locale
        self._own = budget is None
        self.budget = budget or Budget()
        self.warnings: list[EvaluationWarning] = []
        self.locals: dict[str, Any] = {}

    def start(self, cost: int) -> None:
        """Begin one evaluation that has `cost` nodes."""
        budget = self.budget
        if self._own:
            budget.steps, budget.size = MAX_STEPS, MAX_SIZE
        budget.spend(cost)

    def warn(self, code: str, message: str) -> None:
        """Keep a warning, once, and no more than fit a log row."""
        warning = EvaluationWarning(code, message)
        if len(self.warnings) < MAX_WARNINGS and warning not in self.warnings:
            self.warnings.append(warning)
