"""500 requests a second for each key or person, counted in PostgreSQL, the same for all processes (CONTRACTS 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rest_framework.request import Request as FrameworkRequest
from rest_framework.throttling import BaseThrottle

from accounts.api.authentication import take_token
from accounts.api.requests import PER_SECOND, Rate, Request

if TYPE_CHECKING:  # importing it here would be circular: the framework reads its settings while loading
    from rest_framework.views import APIView


class KeyThrottle(BaseThrottle):
    """A key's token was taken together with its check; a browser's is taken here."""

    rate: Rate | None = None

    def allow_request(self, request: FrameworkRequest, view: APIView) -> bool:
        """Leaves the bucket in `request.rate` for the answer's headers."""
        actor = getattr(request, "actor", None)
        if actor is None:
            return True
        self.rate = getattr(request, "rate", None)
        if self.rate is None:
            self.rate = take_token(f"usr_{actor.user_id}")
            cast(Request, request).rate = self.rate
        return self.rate.allowed

    def wait(self) -> float:
        """Seconds until there is a token again."""
        return (1 - (self.rate.tokens if self.rate else 0)) / PER_SECOND
