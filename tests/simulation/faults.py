"""Points at which a process can die, numbered as they are passed: around every commit that wrote and every call outside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from tests.simulation.baton import Actor, Baton, Death, current
from tests.simulation.clock import BEGIN, SET

#: death: the process ends. cut: its connection breaks at a commit, and the process lives on. back: the server's clock is set back by a
#: minute, and all go on; all-back: the server stands on the same host, so Python's clock is set back with it.
Kind = Literal["death", "cut", "back", "all-back"]
_CHANGES = re.compile(r"\s*(insert|update|delete|with\s+\w+\s+as\s+\(\s*(delete|insert|update))", re.IGNORECASE)
_THREAD = re.compile(r"(?<=\bs)\d{6,}(?=_x\d)")  # the thread's number, in the names of savepoints
_WROTE = "select pg_current_xact_id_if_assigned() is not null"
_FEW = 0.4  # how likely others take a turn around a commit or a call
_HEARD = 0.25  # how likely those who idle look after a commit; they look in any case before time passes
_commit = BaseDatabaseWrapper._commit
_rollback = BaseDatabaseWrapper._rollback


@dataclass(frozen=True)
class Fault:
    """What happens at which point; point None: nothing."""

    point: int | None = None
    kind: Kind = "death"


class Points:
    """Counts the points, and strikes at one of them. `struck` is the actor whose process has to be buried."""

    def __init__(self, baton: Baton, fault: Fault) -> None:
        self.baton, self.fault = baton, fault
        self.passed: list[str] = []
        self.struck: Actor | None = None
        self.cuts = self.backs = 0

    def at(self, actor: Actor, name: str) -> bool:
        """A point is reached. Raises `Death`, or answers whether the connection is to break here."""
        self.baton.rejoin(actor)
        self.baton.live(actor)
        number = len(self.passed)
        self.passed.append(f"{actor.name}: {name}")
        self.baton.note(f"[{number}] {name}")
        if number == self.fault.point:
            if self.fault.kind in ("back", "all-back"):
                self._set_back()
            elif self.fault.kind == "cut" and "commit" in name:
                self.cuts += 1
                return True
            else:
                self.struck = actor
                actor.doomed = True
                raise Death(name)
        if name.startswith("after commit") and self.baton.chance.random() < _HEARD:
            self.baton.ring()
        self.baton.maybe(actor, _FEW)
        return False

    def _set_back(self) -> None:
        """At once for statements of transactions that are under way; those that begin later are told as ever."""
        self.baton.note("the clock is set back")
        self.backs += 1
        clock = self.baton.clock
        clock.back(here=self.fault.kind == "all-back")
        raw: Any = connection.connection
        if raw is not None and raw.info.transaction_status in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
            idle = raw.info.transaction_status == TransactionStatus.IDLE
            raw.execute(SET.format(clock.shown))
            if idle:
                raw.commit()  # Django switches back to single statements only after its commit

    def call(self, name: str, act: Callable[[Actor], Any]) -> Any:
        """A call outside, with the points around it. What it raises comes after the act."""
        actor = current()
        assert actor is not None
        self.at(actor, f"before {name}")
        try:
            return act(actor)
        finally:
            self.at(actor, f"after {name}")

    # --- the database

    def around(self, execute: Callable[..., Any], text: Any, given: Any, many: bool, context: dict[str, Any]) -> Any:
        """Every statement. One that stands alone and writes is its own commit."""
        wrapper = context["connection"]
        actor, raw = current(), wrapper.connection
        assert actor is not None
        if raw.closed:  # a statement that the connection keeps finds out only when it is sent
            return execute(text, given, many, context)
        actor.pid = raw.info.backend_pid
        begins = raw.info.transaction_status == TransactionStatus.IDLE
        alone = begins and wrapper.get_autocommit()
        commits = alone and _CHANGES.match(str(text)) is not None
        if commits:
            self._break_if(self.at(actor, f"before commit of {_short(text)}"), wrapper)
        else:
            self.baton.maybe(actor)
        if begins and not alone:
            raw.execute(BEGIN.format(self.baton.clock.tick()))
        self.baton.note(_short(text))
        try:
            answer = execute(text, given, many, context)
        finally:
            self.baton.rejoin(actor)
        if commits:
            self._break_if(self.at(actor, f"after commit of {_short(text)}"), wrapper)
        return answer

    def commit(self, wrapper: BaseDatabaseWrapper) -> Any:
        """In place of Django's own."""
        actor = current()
        if actor is None:
            return _commit(wrapper)
        try:
            return self._commit(wrapper, actor)
        except Death:
            _rollback(wrapper)  # nobody else does: Django expects errors of the database here
            raise

    def _commit(self, wrapper: BaseDatabaseWrapper, actor: Actor) -> Any:
        self.baton.rejoin(actor)
        self.baton.live(actor)
        raw: Any = wrapper.connection
        if raw is None or raw.info.transaction_status != TransactionStatus.INTRANS:
            return _commit(wrapper)
        if not raw.execute(_WROTE).fetchone()[0]:
            answer = _commit(wrapper)
            self.baton.maybe(actor)
            return answer
        self._break_if(self.at(actor, "before commit"), wrapper)
        answer = _commit(wrapper)
        self._break_if(self.at(actor, "after commit"), wrapper)
        return answer

    def rollback(self, wrapper: BaseDatabaseWrapper) -> Any:
        """In place of Django's own. Whoever died does not notice it."""
        actor = current()
        answer = _rollback(wrapper)
        if actor is not None and not actor.doomed:
            self.baton.note("rollback")
            self.baton.maybe(actor)
        return answer

    def _break_if(self, breaks: bool, wrapper: Any) -> None:
        if breaks:
            self.baton.note("the connection breaks")
            wrapper.connection.rollback()  # what the server does at once when the connection is gone
            wrapper.connection.close()
            raise OperationalError("server closed the connection unexpectedly")

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand around all commits of all threads that are actors."""
        wrapper: Any = BaseDatabaseWrapper
        wrapper._commit = lambda this: self.commit(this)
        wrapper._rollback = lambda this: self.rollback(this)
        self.baton.around = self.around
        try:
            yield
        finally:
            wrapper._commit, wrapper._rollback = _commit, _rollback


def _short(text: Any) -> str:
    return _THREAD.sub("", " ".join(str(text).split())[:90])
