"""Errors of the database that mean "try again": serialisation failure, deadlock, shutdown (DESIGN 5.2, lock order)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from django.db import Error, InterfaceError, OperationalError, connection

from accounts.repeating import counted
from automations.worker import schema

log = logging.getLogger(__name__)
T = TypeVar("T")
#: 40001 serialisation failure, 40P01 deadlock, 57P01 admin shutdown, 57P02 crash, 57P03 starting up, 08xxx connection.
TRANSIENT = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "08006", "08003", "08001"})


def sqlstate(error: BaseException) -> str | None:
    """The five-character code of a database error, None without one."""
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None)


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is made again."""
    if not isinstance(error, (Error, psycopg.Error)):
        return False
    code = sqlstate(error)
    return code in TRANSIENT or (code is None and isinstance(error, _SURROUNDINGS))


def is_too_long(error: BaseException) -> bool:
    """Whether the server broke a statement off because it took longer than a session's may (`config.database`): less may do."""
    return sqlstate(error) == "57014"


def is_surroundings(error: BaseException) -> bool:
    """Whether the server or the way to it is at fault (away, full, out of time or memory, read-only, its tables those of another
    release), never the rows at hand: nothing may be failed for it, it is waited out."""
    code = sqlstate(error) if isinstance(error, (Error, psycopg.Error)) else None
    return is_transient(error) or isinstance(error, _SURROUNDINGS) or code == "25006" or _is_of_another_release()


def _is_of_another_release() -> bool:
    """Asked only about an error that would be held against a row. In a transaction that failed the caller outside it asks."""
    if connection.needs_rollback or schema.is_ours():
        return False
    log.error(
        "The tables are those of another release: nothing is failed for it. Start this worker from the release that migrated them."
    )
    return True


_SURROUNDINGS = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


def retrying(work: Callable[[], T], tries: int = 5) -> T:
    """Run `work`, which owns its transaction, again after a transient error, each time a little later."""
    for attempt in range(tries):
        try:
            return work()
        except (Error, psycopg.Error) as error:
            if not is_transient(error) or attempt == tries - 1:
                raise
            counted[sqlstate(error) or "connection"] += 1
            log.warning("retrying after %s", sqlstate(error) or error)
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            time.sleep(0.02 * 2**attempt)
    raise AssertionError("unreachable")
