"""What can become of an effect (CONTRACTS 6). Values only; nobody raises them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """The effect took place; `output` is what later steps read as `steps.<id>.*`."""

    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not take place. A `temporary` failure may be repeated, any other may not (ERR-10)."""

    code: str
    message: str
    temporary: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell whether the provider acted; never repeated under a fresh key (DESIGN 5.3)."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The object has changed since the step decided, so the act was refused, visibly (DESIGN 5.3)."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Consent forbids it. A result, not an error (C-45)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A plan or quota forbids it (`plan`, `quota`). A result, not an error (C-45)."""

    reason: str


Outcome = Done | Failed | Unknown | Refused | Suppressed | Skipped
