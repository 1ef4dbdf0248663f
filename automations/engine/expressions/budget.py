"""The counter that ends every evaluation (INVARIANTS P4): steps of work, and characters made."""

from __future__ import annotations

from typing import Final

from automations.engine.expressions.errors import BudgetExceeded

MAX_STEPS: Final = 50_000
MAX_SIZE: Final = 1_000_000
#: Characters that one step of work reads or makes.
CHARACTERS_PER_STEP: Final = 64


class Budget:
    """What is left to spend. An evaluation pays for its nodes before it starts, and for lists and texts as it meets them."""

    __slots__ = ("size", "steps")

    def __init__(self, steps: int = MAX_STEPS, size: int = MAX_SIZE) -> None:
        self.steps = steps
        self.size = size

    def spend(self, steps: int) -> None:
        """Pay for work. Raises `BudgetExceeded`."""
        self.steps -= steps
        if self.steps < 0:
            raise BudgetExceeded("This takes too many steps to work out; make it simpler or the list shorter.")

    def read(self, characters: int) -> None:
        """Pay for looking through that much text."""
        if characters > CHARACTERS_PER_STEP:
            self.spend(characters // CHARACTERS_PER_STEP)

    def make(self, characters: int) -> None:
        """Pay for text before it is made. Raises `BudgetExceeded`."""
        self.size -= characters
        if self.size < 0:
            raise BudgetExceeded("This makes too much text; make it shorter.")
        self.read(characters)
