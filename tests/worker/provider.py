"""A provider of our own with an action that calls it: it keeps a ledger by key, as a payment provider does, and can be told what
to say. Registered only while a test uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from automations.engine.kinds import Envelope, OutsideAction
from automations.engine.outcomes import Done, Failed, Outcome, Unknown
from automations.engine.registry import registry


class Provider(OutsideAction):
    """`answers` are used up one per call, then it succeeds. `ledger` counts acts by key, as seen from outside."""

    key = "test_charge"
    label = "Charge at the test's provider"
    money = True

    def __init__(self) -> None:
        self.answers: list[Outcome | Exception] = []
        self.calls: list[tuple[str, bytes]] = []
        self.ledger: dict[str, Outcome] = {}
        self.looks = 0
        self.settled: list[Outcome] = []
        self.before_answer: Callable[[], None] | None = None
        self.knows = True  # whether `find` can tell

    def prepare(self, config: Any, scope: Any) -> Envelope:
        return Envelope(kind="charge", body={}, money=True)

    def render(self, envelope: Envelope, key: str) -> bytes:
        return f"charge {key}".encode()

    def perform(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        self.calls.append((key, body))
        if self.before_answer:
            self.before_answer()
        answer = self.answers.pop(0) if self.answers else Done({"result": "paid", "reference": "ch_1"})
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, (Failed, Unknown)):
            self.ledger.setdefault(key, answer)
        return answer

    def find(self, envelope: Envelope, key: str) -> Outcome | None:
        self.looks += 1
        return self.ledger.get(key) if self.knows else None


class SettlingProvider(Provider):
    """The same with consequences on our own rows."""

    key = "test_settling"

    def settle(self, envelope: Envelope, outcome: Outcome, at: datetime) -> Outcome:
        self.settled.append(outcome)
        return outcome


@pytest.fixture
def provider() -> Iterator[Provider]:
    yield from _registered(Provider())


@pytest.fixture
def settling() -> Iterator[SettlingProvider]:
    yield from _registered(SettlingProvider())


def _registered(action: Any) -> Iterator[Any]:
    registry.actions[action.key] = action
    yield action
    del registry.actions[action.key]


def charge(**fields: Any) -> Envelope:
    """An envelope for the provider."""
    return Envelope(kind="charge", body={}, money=True, subject="129.00 EUR", **fields)
