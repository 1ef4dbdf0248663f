"""What a service's refusal is to a run: a permanent failure with the same words."""

from __future__ import annotations

from accounts.errors import Refusal
from automations.engine.outcomes import Failed


def refused(refusal: Refusal) -> Failed:
    """The step failed; repeating it would be refused again (ERR-10)."""
    return Failed(refusal.code, refusal.message, temporary=False, details=refusal.details)
