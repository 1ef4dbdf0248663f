"""The race of a hold against workers that are about to go on and against the event that the run waits for (C3, W1; RELIABILITY 16, 21)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from automations.models import Delivery, Event, Run
from automations.services import inflight
from automations.services import pause as pausing
from automations.services.pause import pause_automation, resume_automation
from automations.worker import wake
from automations.worker.deliver import deliver_batch
from tests.chaos.blocking import until_blocked
from tests.chaos.races.gates import advance, customer_of, fresh, gate, steps
from tests.chaos.races.race import AT_ONCE, Guard
from tests.chaos.races.stopping import Stopping, without_marks
from tests.worker.living import happen, settle
from tests.worker.racing import Racer
from tests.worker.routing import route_all


def _without_hold_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inflight, "_LOOK_AGAIN", "select %s::bigint[]")


class HoldAgainstAdvance(Stopping):
    """A hold stops everything from its commit on, and loses nothing: after the resume the run does the rest, each step once."""

    name, title, rows = "hold-advance", "hold against advance and against the event", "16, 21, C3, W1"
    orders = ("advance_first", "mark_first", "mark_before_sending", "event_while_it_freezes", "event_first", AT_ONCE)
    guards = (
        Guard("claims obey the mark", without_marks, orders[1:3]),
        Guard("the look after the hold", _without_hold_look, orders[3:4]),
    )
    checks = ("C3", "S1", "S2", "R1", "R6", "W1", "W2", "A5", "O6", "L1")
    FLOW = """
steps:
  - {id: tag, type: action, action: add_tag, tag: seen}
  - {id: w, type: wait_until, event: ping, timeout: 900d}
  - {id: hook, type: action, action: send_webhook, url: "%s"}
  - {id: last, type: action, action: add_tag, tag: done}
"""

    def hold(self) -> None:
        pause_automation(actor=self.actor, automation_id=self.automation.pk, in_flight="hold")

    def ping(self, run: Run) -> None:
        happen(customer_of(run), "ping")

    def advance_first(self, run: Run) -> bool:
        with transaction.atomic():
            assert advance()
            holder = Racer(self.hold)
            held = until_blocked(holder)
        holder.result()
        self.then = self.done(run)
        self.ping(run)
        return held

    def mark_first(self, run: Run) -> bool:
        return self._marked(run, advance)

    def mark_before_sending(self, run: Run) -> bool:
        settle()
        self.ping(run)
        settle()
        return self._marked(run, deliver_batch)

    def _marked(self, run: Run, work: Callable[[], Any]) -> bool:
        with gate(pausing, "follow_all") as committed:
            holder = Racer(self.hold)
            committed.wait()
            self.then = self.done(run)
            work()
            held = self.done(run) == self.then
            committed.open()
            holder.result()
        return held

    def event_while_it_freezes(self, run: Run) -> bool:
        settle()
        self.ping(run)
        with gate(inflight, "freeze") as freezing:
            holder = Racer(self.hold)
            freezing.wait()
            router = Racer(route_all)
            held = until_blocked(router)
            freezing.open()
            holder.result()
        router.result()
        self.then = self.done(run)
        return held

    def event_first(self, run: Run) -> bool:
        settle()
        self.ping(run)
        with gate(wake, "write_wakes") as found:
            router = Racer(route_all)
            found.wait()
            holder = Racer(self.hold)
            held = until_blocked(holder)
            found.open()
            router.result()
        holder.result()
        self.then = self.done(run)
        return held

    def at_once(self, run: Run) -> bool:
        settle()
        self.ping(run)
        self.at_once_with(route_all, self.hold, advance, deliver_batch)
        self.then = self.done(run)
        self.figures.outcomes[f"held after so many steps: {len(steps(run))}"] += 1
        return True

    def judge(self, run: Run) -> None:
        settle(deliver=True)
        self.figures.late += self.done(run) != self.then
        resume_automation(actor=self.actor, automation_id=self.automation.pk, held="continue")
        if not Event.objects.filter(name="ping", customer_id=run.customer_id).exists():
            settle()
            self.ping(run)
        settle(deliver=True)
        self.figures.lost += fresh(run).status != "COMPLETED"
        log, acts = steps(run), self.receiver.record.acts
        sent = [acts[delivery.key] for delivery in Delivery.objects.filter(run=run)]
        self.figures.doubled += len(set(log)) != len(log) or any(count > 1 for count in sent)
