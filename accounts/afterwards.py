"""Long work that follows a change and is not part of it: it comes after the commit, in transactions of its own.

With an `Idempotency-Key` the whole request is one transaction, so that the change and its stored answer stand or fall together
(CONTRACTS 1). What the change brings with it for thousands of rows must not be in there: its locks would keep routers and workers
waiting. A service hands such work to `afterwards`; there it waits for the commit, anywhere else it is done at once.

The process may die before it is done, so the change leaves a mark by which others finish the work (`Automation.sweep`), and the
work can be done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)
Work = Callable[[], object]
_kept: ContextVar[list[Work] | None] = ContextVar("afterwards", default=None)


def afterwards(work: Work) -> None:
    """Do it when the change at hand has been committed: now, or at the end of the request whose transaction is open."""
    kept = _kept.get()
    if kept is None:
        do(work)
    else:
        kept.append(work)


@contextmanager
def keeping() -> Iterator[list[Work]]:
    """Within it `afterwards` only notes the work, in this list; whoever opened the transaction does it after the commit."""
    kept: list[Work] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def do(work: Work) -> None:
    """The change is committed, so an error here is not the caller's: it is logged, and others finish the work by its mark."""
    try:
        work()
    except Exception:  # whatever a row, a constraint or the server raised; the request itself has succeeded
        log.exception("what follows a change was left to the workers")
