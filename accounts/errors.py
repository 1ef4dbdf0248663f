"""Errors for people: one sentence saying what, where and how to mend (CONTRACTS 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUS: dict[str, int] = {
    "malformed": 400,
    "too_deep": 400,
    "duplicate_key": 400,
    "alias_refused": 400,
    "unauthenticated": 401,
    "key_expired": 401,
    "key_revoked": 401,
    "scope_missing": 403,
    "role_missing": 403,
    "plan_limit": 403,
    "clock_refused": 403,
    "csrf_failed": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "idempotency_conflict": 409,
    "idempotency_in_progress": 409,
    "event_conflict": 409,
    "customer_conflict": 409,
    "draft_conflict": 409,
    "conflict": 409,
    "wrong_state": 409,
    "choice_required": 409,
    "has_runs": 409,
    "trigger_not_manual": 409,
    "not_entered": 409,
    "version_inactive": 409,
    "too_large": 413,
    "media_type": 415,
    "invalid": 422,
    "invalid_definition": 422,
    "unknown_key": 422,
    "unknown_event": 422,
    "unknown_reference": 422,
    "limit_exceeded": 422,
    "rate_limited": 429,
    "server_error": 500,
    "unavailable": 503,
}
"""The one table from code to HTTP status."""


class Refusal(Exception):
    """A service says no; nothing was written. Pages, commands and REST show `message` as it is; `details` is plain JSON
    data."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        if code not in STATUS:
            raise ValueError(f"No HTTP status is set for the error code {code!r}; add it to accounts.errors.STATUS.")
        self.code = code
        self.message = message
        self.details: dict[str, Any] = dict(details or {})

    @property
    def status(self) -> int:
        """HTTP status of the code."""
        return STATUS[self.code]

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, Any]:
        """The body of the REST answer."""
        return {"code": self.code, "message": self.message, "details": self.details}


def invalid(field: str, message: str) -> Refusal:
    """One field of a request is not acceptable: `invalid` with `details.fields` (CONTRACTS 1)."""
    return Refusal("invalid", f"{field}: {message}", {"fields": {field: [message]}})


def not_found(what: str, name: object) -> Refusal:
    """Unknown and foreign objects look alike (DESIGN 3)."""
    return Refusal("not_found", f"There is no {what} “{name}” in this workspace.", {"id": str(name)})
