"""What can go wrong with an expression: errors when it is read, warnings and a spent budget when it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass


class ExpressionError(Exception):
    """The source cannot be accepted, or a rendered text may not stand where it is put.

    `message` is one sentence for people; `line` and `column` count from 1; `code` is `bad_expression`, or when it is evaluated
    `budget_exceeded`, `too_deep` or `header_injection`.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1, code: str = "bad_expression") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.code = code

    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: {self.message}"


class BudgetExceeded(ExpressionError):
    """The evaluation used up its steps or made too much text (INVARIANTS P4)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="budget_exceeded")

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class EvaluationWarning:
    """Something that a person should see in the step log. `code`: `missing_value`, `unlike_types`, `division_by_zero`,
    `number_too_large`, `out_of_range`."""

    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """As the step log stores it (CONTRACTS 9)."""
        return {"code": self.code, "message": self.message}
