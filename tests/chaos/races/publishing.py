"""Races of publishing: a new version against workers and routers that are at work with the old one (R4, VER-04; RELIABILITY 23).

Moving runs to the new version is not built yet; runs stay (the default) or are cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts.clock import set_clock
from automations.models import Automation, Run
from automations.services import publish as publishing
from automations.services.drafts import save_draft
from automations.services.publish import activate
from automations.worker import claim as claiming
from automations.worker import hearing
from tests.chaos.blocking import until_blocked
from tests.chaos.races.gates import advance, due, fresh, gate, steps
from tests.chaos.races.race import AT_ONCE, Guard, Race
from tests.chaos.races.stopping import without_marks
from tests.factories import make_customer
from tests.worker.living import happen, live, settle
from tests.worker.racing import Racer
from tests.worker.routing import route_all

_NEWEST = "(SELECT a.active_version_id FROM automations_automation a WHERE a.id = automation_id) AS version_id"


def _without_pin(patch: pytest.MonkeyPatch) -> None:
    """A run follows the version in force instead of its own."""
    columns = claiming._COLUMNS.replace("version_id", _NEWEST, 1)
    patch.setattr(claiming, "_CLAIM", claiming._CLAIM.replace(claiming._COLUMNS, columns))
    patch.setattr(claiming, "_CLAIM_THESE", claiming._CLAIM_THESE.replace(claiming._COLUMNS, columns))


def _without_shared_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hearing, "lock_shared", lambda ids: None)


class Publishing(Race):
    """Base: an automation whose steps say in which version they stand."""

    def prepare(self) -> None:
        self.number = 1
        self.automation: Automation = live(self.workspace, self.text())
        self.cancels = False

    def text(self) -> str:
        """The definition in the version of the present number."""
        return (
            f"name: Versions\ntrigger: {{type: event, event: sign}}\nsteps:\n"
            f"  - {{id: a{self.number}, type: action, action: add_tag, tag: a}}\n"
            "  - {id: rest, type: delay, duration: 1h}\n"
            f"  - {{id: b{self.number}, type: action, action: add_tag, tag: b}}\n"
        )

    def publish(self, runs: str) -> None:
        """The next version; runs of older ones stay or are cancelled."""
        self.number += 1
        save_draft(actor=self.actor, automation_id=self.automation.pk, body=self.text(), fmt="yaml")
        self.activate(runs)

    def activate(self, runs: str) -> None:
        activate(actor=self.actor, automation_id=self.automation.pk, runs=runs)

    def both(self, first: Callable[[], Any], second: Callable[[], Any]) -> bool:
        """`second` comes before `first` has committed; whether it had to wait."""
        with transaction.atomic():
            first()
            other = Racer(second)
            held = until_blocked(other)
        other.result()
        return held


class PublishAgainstAdvance(Publishing):
    """A run walks the version that it began with, whatever is put in force meanwhile; or is cancelled and does nothing more."""

    name, title, rows = "publish-advance", "publish and activate against advance", "23, R4"
    orders = ("advance_first", "publish_first", "cancelling_advance_first", "cancelling_mark_first", AT_ONCE)
    guards = (
        Guard("a run is pinned to its version", _without_pin, orders[:2]),
        Guard("claims obey the mark", without_marks, orders[3:4]),
    )
    checks = ("R4", "A2", "A4", "A5", "A6.rest", "C2", "S1", "L1", "R1", "R2")

    def begin(self) -> tuple[Run, int]:
        self.cancels = False
        self.then: list[str] = []
        return due(self.automation), self.number

    def advance_first(self, about: tuple[Run, int]) -> bool:
        """Publishing waits for no worker."""
        with transaction.atomic():
            moved = advance()
            Racer(lambda: self.publish("stay")).result()
        return moved == 1

    def publish_first(self, about: tuple[Run, int]) -> bool:
        """And no worker waits for publishing."""
        with transaction.atomic():
            self.publish("stay")
            moved = Racer(advance).result()
        return bool(moved)

    def cancelling_advance_first(self, about: tuple[Run, int]) -> bool:
        self.cancels = True
        held = self.both(advance, lambda: self.publish("cancel"))
        self.then = steps(about[0])
        return held

    def cancelling_mark_first(self, about: tuple[Run, int]) -> bool:
        """It has committed and no row has followed when a worker comes."""
        self.cancels = True
        with gate(publishing, "follow_all") as committed:
            publisher = Racer(lambda: self.publish("cancel"))
            committed.wait()
            advance()
            held = steps(about[0]) == []
            committed.open()
            publisher.result()
        return held

    def at_once(self, about: tuple[Run, int]) -> bool:
        self.at_once_with(advance, lambda: self.publish("stay"))
        return True

    def judge(self, about: tuple[Run, int]) -> None:
        run, number = about
        settle()
        set_clock("+2h")
        settle()
        log = steps(run)
        if self.cancels:
            self.figures.lost += fresh(run).status != "CANCELLED"
            self.figures.late += log != self.then
        else:
            self.figures.lost += fresh(run).status != "COMPLETED"
            self.figures.late += not set(log) <= {f"a{number}", "rest", f"b{number}"}
        self.figures.doubled += len(set(log)) != len(log)
        self.figures.outcomes[fresh(run).status.lower()] += 1


class PublishAgainstRoute(Publishing):
    """After a version was put in force no run of an older one appears; with `cancel` none of an older one goes on."""

    name, title, rows = "publish-route", "publish and activate against route", "23, 24, R4"
    orders = ("router_first", "publish_first", AT_ONCE)
    guards = (Guard("the router's shared lock", _without_shared_lock, orders[:2]),)
    checks = ("R4", "A2", "A4", "A5", "A6.rest", "E3", "E4", "R1", "R2")

    def begin(self) -> int:
        customer = make_customer(self.workspace)
        happen(customer)
        return customer.pk

    def router_first(self, customer: int) -> bool:
        return self.both(route_all, lambda: self.publish("cancel"))

    def publish_first(self, customer: int) -> bool:
        return self.both(lambda: self.publish("cancel"), route_all)

    def at_once(self, customer: int) -> bool:
        self.at_once_with(route_all, lambda: self.publish("cancel"))
        return True

    def judge(self, customer: int) -> None:
        route_all()
        runs = list(Run.objects.filter(automation=self.automation, customer=customer).select_related("version"))
        self.figures.lost += len(runs) == 0
        self.figures.doubled += len(runs) > 1
        for run in runs:
            old = run.version.number < self.number
            self.figures.late += old and run.ended_at is None
            self.figures.lost += not old and run.ended_at is not None
            self.figures.outcomes["old version, cancelled" if old else "new version"] += 1
        Run.objects.filter(automation=self.automation, ended_at=None).delete()
