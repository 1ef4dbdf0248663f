"""Problems of a definition as values: validation returns all of them and raises none (DESIGN 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, in the shape of CONTRACTS 4.

    `path` is the key path in the text that was written (`steps[0].then[0].template`), `pointer` the JSON pointer into the
    graph form (`/nodes/1/config/template`), `line` the 1-based line of the YAML or JSON text where one is known.
    """

    code: str
    message: str
    severity: Severity = "error"
    step: str | None = None
    path: str = ""
    pointer: str = ""
    line: int | None = None
    help: str = ""

    def as_json(self) -> dict[str, Any]:
        """The problem as the API shows it."""
        return {
            "code": self.code,
            "severity": self.severity,
            "step": self.step,
            "path": self.path,
            "pointer": self.pointer,
            "line": self.line,
            "message": self.message,
            "help": self.help,
        }


@dataclass
class DefinitionError(Exception):
    """The text has no shape that could be stored: `code` is `malformed`, `too_deep`, `duplicate_key`, `alias_refused`,
    `too_large` or `invalid_definition`, and `problems` says where, all at once."""

    code: str
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        return "; ".join(problem.message for problem in self.problems) or self.code
