"""Events of accounts that end runs whatever their exits say (C-15)."""

from __future__ import annotations

from automations.engine.plan import Plan

UNSUBSCRIBED = "customer.unsubscribed"
ERASED = "customer.erased"
REASONS = {UNSUBSCRIBED: "unsubscribed", ERASED: "profile_deleted"}


def ends_by(name: str, plan: Plan) -> str | None:
    """Why an event of this name ends a run of that plan; None when it does not. A transactional run goes on without mail."""
    if name == UNSUBSCRIBED and plan.transactional:
        return None
    return REASONS.get(name)
