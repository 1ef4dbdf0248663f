"""Where billing meets the lower apps when Django starts: sweeps, default settings, and what `accounts` announces (DESIGN 5.5)."""

from __future__ import annotations

from accounts.announcements import listen
from automations.services import defaults, sweeps
from billing.defaults import EXCLUSIVE, apply_default
from billing.listeners import on_announcements
from billing.services.overdue import next_overdue, sweep_overdue


def connect() -> None:
    """Register everything; calling it again changes nothing."""
    sweeps.register("billing.overdue", sweep_overdue, next_overdue)
    for trigger in EXCLUSIVE:
        defaults.register(trigger, apply_default)
    listen(on_announcements)
