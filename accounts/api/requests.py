"""The request as our views see it: the framework's, with who asks."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

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


class Request(FrameworkRequest):
    """`actor` is set by authentication and present wherever the permission class has let the request through; `rate` is the
    caller's bucket, None until a token was taken."""

    actor: Actor
    rate: Rate | None = None
