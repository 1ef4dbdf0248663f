"""Sessions end after twelve hours without use and after seven days in any case (RELIABILITY 5)."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse

from accounts.api.keys import carries_key

TOTAL_SECONDS = 7 * 24 * 3600
RENEW_SECONDS = 300  # a session is written at most this often because of mere use


class SessionLimitsMiddleware:
    """Notes when a session began and was last used; signs out the one that is too old."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Check before the view, so that it sees the person only while the session holds."""
        if not carries_key(request) and request.user.is_authenticated:
            now = int(time.time())
            began = request.session.setdefault("began", now)
            if now - began > TOTAL_SECONDS:
                logout(request)
            elif now - request.session.get("seen", 0) > RENEW_SECONDS:
                request.session["seen"] = now
        return self.get_response(request)
