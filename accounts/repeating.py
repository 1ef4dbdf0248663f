"""Transactions that the database broke off for another's sake, made again (DESIGN 5.2, lock order).

A deadlock or a serialisation failure says nothing about the request: the same transaction succeeds a moment later, and nothing of
it was written. So a service that is *one* transaction repeats itself. Inside a transaction of its caller it cannot; there it is the
caller's to repeat (`api/idempotency.py`, the worker's batches).
"""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
TRIES = 3
CONTENDED = frozenset({"40001", "40P01"})  # serialisation failure, deadlock
#: How often each was met by this process, the worker's included; `/metrics` and the race tests read it.
counted: Counter[str] = Counter()


def is_contended(error: BaseException) -> bool:
    """Whether the transaction was broken off because of another one, so that it may succeed when it is made again."""
    return isinstance(error, OperationalError) and _state(error) in CONTENDED


def _state(error: BaseException) -> str:
    return str(getattr(error.__cause__, "sqlstate", None) or "")


def repeat(work: Callable[[], T]) -> T:
    """Do `work`, which owns its transaction; when it was broken off for another's sake, again, each time a little later. The last
    try's error is the caller's."""
    for attempt in range(1, TRIES):
        try:
            return work()
        except OperationalError as error:
            if not is_contended(error):
                raise
            counted[_state(error)] += 1
            log.warning("repeating after %s", _state(error))
            time.sleep(0.02 * attempt)
    return work()


def repeated(service: Callable[P, T]) -> Callable[P, T]:
    """A service whose whole work is one transaction: it repeats itself, unless its caller has a transaction."""

    @functools.wraps(service)
    def once_or_again(*args: P.args, **kwargs: P.kwargs) -> T:
        if connection.in_atomic_block:
            return service(*args, **kwargs)
        return repeat(lambda: service(*args, **kwargs))

    return once_or_again
