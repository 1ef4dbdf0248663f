"""Forcing an order on two connections: start the second, and go on only when the server says that it waits for a lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

from tests.worker.racing import Racer

_WAITING = """
select count(distinct pid) from pg_locks where not granted and pid <> pg_backend_pid() and pid in
    (select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend')
"""


def until_blocked(
    racer: Racer, timeout: float = 60, unless: Callable[[], bool] = lambda: False, sides: int = 1
) -> bool:
    """True as soon as another connection of this database waits for a lock, or `sides` of them; False when the racer ended without
    waiting, or when `unless` holds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            # Within a transaction the first look at the activity would be kept, and a connection made later never be seen.
            cursor.execute("select pg_stat_clear_snapshot()")
            cursor.execute(_WAITING)
            if cursor.fetchone()[0] >= sides:
                return True
        if not racer.alive or unless():
            return False
        time.sleep(0.002)  # polling the server's own table, which has no other way to be told
    raise AssertionError("the other side neither ended nor waited")


@contextmanager
def quick_deadlocks() -> Iterator[None]:
    """Connections that are made meanwhile look for deadlocks after 50 ms of waiting instead of a second, where the role may say so:
    tests that bring them about need not wait."""
    with connection.cursor() as cursor:
        cursor.execute("select current_database(), rolsuper from pg_roles where rolname = current_user")
        database, superuser = cursor.fetchone()
        if superuser:
            cursor.execute(f"alter database \"{database}\" set deadlock_timeout = '50ms'")
    try:
        yield
    finally:
        if superuser:
            with connection.cursor() as cursor:
                cursor.execute(f'alter database "{database}" reset deadlock_timeout')
