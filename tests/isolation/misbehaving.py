"""An action that harms the process which walks it, for installations that a test starts (DESIGN 5.2, poison; RELIABILITY 9, 26)."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from django.apps import AppConfig

from automations.engine.kinds import Config, LocalAction, Request
from automations.engine.outcomes import Done, Outcome
from automations.engine.registry import registry
from automations.engine.scope import Scope


class MisbehaveConfig(Config):
    """`how`: a key of `WAYS`."""

    how: str


def crash() -> None:
    """As a fault in a library written in C does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    """As a call does that waits for an answer without a limit."""
    time.sleep(86_400)


def grind() -> None:
    """As a bad regular expression does: the interpreter's lock is never given back, so no other thread runs any more."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def eat() -> None:
    """As a list does that grows without end. Its pages stay untouched, so that it takes address space and nothing else."""
    meal = []
    while len(meal) < 4000:
        meal.append(bytes(16 << 20))


WAYS: dict[str, Callable[[], None]] = {"crash": crash, "hang": hang, "grind": grind, "eat": eat}


class Misbehave(LocalAction):
    """Harms the process where every action is at first: while it is prepared, in the middle of a batch."""

    key = "misbehave"
    label = "Misbehave"
    help = "Harms the worker."
    group = "Records"
    icon = "tag"
    Config = MisbehaveConfig
    Output = Config

    def prepare(self, config: MisbehaveConfig, scope: Scope) -> Request | Outcome:
        WAYS[config.how]()
        return Done({})

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        return [Done({}) for _ in requests]


action = Misbehave()


class Installed(AppConfig):
    """What `INSTALLED_APPS` names; only importing this module changes no registry."""

    name = "tests.isolation"

    def ready(self) -> None:
        """The action becomes known to this process."""
        registry.add(action)
