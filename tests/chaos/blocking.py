"""Forcing an order on two connections: start the second, and go on only when the server says that it waits for a lock."""

from __future__ import annotations

import time

from django.db import connection

from tests.worker.racing import Racer


def until_blocked(racer: Racer, timeout: float = 10) -> bool:
    """True as soon as another connection of this database waits for a lock; False when the racer ended without waiting."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            # Within a transaction the first look at the activity would be kept, and a connection made later never be seen.
            cursor.execute("select pg_stat_clear_snapshot()")
            cursor.execute(
                "select count(*) from pg_locks where not granted and pid <> pg_backend_pid() and pid in"
                " (select pid from pg_stat_activity where datname = current_database())"
            )
            if cursor.fetchone()[0]:
                return True
        if not racer.alive:
            return False
        time.sleep(0.002)  # polling the server's own table, which has no other way to be told
    raise AssertionError("the other side neither ended nor waited")
