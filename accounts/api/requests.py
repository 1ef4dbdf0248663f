"""The request as our views see it: the framework's, with who asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from rest_framework.request import Request as FrameworkRequest

from accounts.actor import Actor

PER_SECOND = 500.0
BURST = 500.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What the caller's bucket says after this request."""

    allowed: bool
    tokens: float

    @property
    def headers(self) -> dict[str, str]:
        """`RateLimit-*`: the size of the bucket, what is left, seconds until it is full again."""
        left = max(int(self.tokens), 0)
        reset = ceil((BURST - self.tokens) / PER_SECOND)
        return {"RateLimit-Limit": str(int(BURST)), "RateLimit-Remaining": str(left), "RateLimit-Reset": str(reset)}


class Reading(NamedTuple):
    """A select that goes along in the round trip that admits the key. It finds the workspace as `asking.workspace_id`, answers one row at
    most, and its first column is never null."""

    statement: str
    parameters: Mapping[str, Any]


class Request(FrameworkRequest):
    """`actor` is set by authentication and present wherever the permission class has let the request through; `rate` is the
    caller's bucket, None until a token was taken; `alongside` is the row of the view's reading (`ApiView.ahead`), None where there is
    none."""

    actor: Actor
    rate: Rate | None = None
    alongside: Sequence[Any] | None = None
