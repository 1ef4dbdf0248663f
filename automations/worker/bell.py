"""The bell: tells sleeping workers that something became due. It carries no truth; a lost ring costs a second (DESIGN 5.4)."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import connection, transaction

CHANNEL = "onward"
_QUIET = 0.05  # seconds between two rings of one process; the workers look again after as long
_last = 0.0


def ring() -> None:
    """Ring once the transaction at hand has committed (at once outside of one), unless wake-ups are switched off."""
    if not getattr(settings, "ONWARD_WAKE", True):
        return
    if not connection.in_atomic_block:
        _notify()
    elif not any(entry[1] is _notify for entry in connection.run_on_commit):
        transaction.on_commit(_notify)


def _notify() -> None:
    global _last
    now = time.monotonic()
    if now - _last >= _QUIET:
        _last = now
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
