"""A compiled piece of an expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from automations.engine.expressions.paths import Code
from automations.engine.values import MISSING


class _Variable:
    """Stands for the constant of a part that has none."""


_VARIABLE: Final = _Variable()


@dataclass(frozen=True, slots=True)
class Part:
    """`code` gives its value; `label` names it in warnings; `constant` is its value when that never changes; `path` is the path
    that it reads, if it is one, `local` the slot of the loop variable that this begins with."""

    code: Code
    label: str
    constant: Any = _VARIABLE
    path: tuple[str, ...] | None = None
    local: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether its value is known when it is compiled."""
        return self.constant is not _VARIABLE


NOTHING: Final = Part(lambda env: MISSING, "nothing")
