"""Where billing meets the lower apps when Django starts: sweeps, default settings, what `accounts` announces (DESIGN 5.5),
and what the doctor checks."""

from __future__ import annotations

from accounts.announcements import listen
from automations.doctor import checks, references
from automations.services import defaults, sweeps
from billing import doctor, exports
from billing.defaults import EXCLUSIVE, apply_default
from billing.listeners import on_announcements
from billing.services.endings import next_turn, sweep_subscriptions
from billing.services.overdue import next_overdue, sweep_overdue


def connect() -> None:
    """Register everything; calling it again changes nothing."""
    sweeps.register("billing.overdue", sweep_overdue, next_overdue)
    sweeps.register("billing.subscriptions", sweep_subscriptions, next_turn)
    for trigger in EXCLUSIVE:
        defaults.register(trigger, apply_default)
    listen(on_announcements)
    exports.connect()
    checks.register(doctor.CHECKS)
    references.add_references(doctor.REFERENCES)
