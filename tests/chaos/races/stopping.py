"""Races of the word to stop: cancel, pause and unsubscribe against workers that are about to go on (C1, C2; RELIABILITY 21, 22)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from accounts.actor import system_actor
from accounts.models import Consent
from accounts.services import consent
from accounts.services.consent import record_consent
from automations.models import Delivery, DeliveryAttempt, Run
from automations.services import leaving
from automations.services import pause as pausing
from automations.services.cancel import cancel_run
from automations.services.pause import pause_automation, resume_automation
from automations.worker import advance as advancing
from automations.worker import claim as claiming
from automations.worker import delivery_check, hearing
from automations.worker.deliver import deliver_batch
from tests.chaos.blocking import until_blocked
from tests.chaos.peers import Mailbox, Receiver
from tests.chaos.races.gates import advance, customer_of, due, fresh, gate, steps
from tests.chaos.races.race import AT_ONCE, RESTING, Guard, Race
from tests.factories import make_customer
from tests.worker.living import happen, live, settle
from tests.worker.racing import Racer
from tests.worker.routing import route_all

Done = tuple[int, int, int]


def _without_claim_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "_CLAIM", claiming._CLAIM.replace("FOR UPDATE SKIP LOCKED", ""))


def without_marks(patch: pytest.MonkeyPatch) -> None:
    """Claims obey no mark; the rows follow it all the same."""
    patch.setattr(advancing, "obey_marks", list)
    patch.setattr(delivery_check, "_covered", lambda run, mark: False)


def _without_consent_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delivery_check, "_CUSTOMERS", delivery_check._CUSTOMERS.replace("FOR SHARE SKIP LOCKED", ""))
    patch.setattr(leaving, "suppress_queued", lambda *_: 0)
    patch.setattr(consent, "lock_addresses", lambda workspace, addresses: None)


def _without_shared_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hearing, "lock_shared", lambda ids: None)


class Stopping(Race):
    """Base: runs that call a receiver, and what was done of them at the moment of the word."""

    FLOW: str

    def prepare(self) -> None:
        self.receiver = self.stack.enter_context(Receiver(self.chance))
        self.automation = live(self.workspace, self.FLOW % self.receiver.url)
        self.then: Done = (0, 0, 0)

    def begin(self) -> Run:
        return due(self.automation)

    def done(self, run: Run) -> Done:
        """Steps logged, deliveries begun, calls that arrived."""
        begun = DeliveryAttempt.objects.filter(delivery__run_id=run.pk).count()
        return len(steps(run)), begun, self.receiver.record.acts.total()

    def judge(self, run: Run) -> None:
        """Late is whatever the run does after the word; lost is a word that did not end it."""
        settle(deliver=True)
        self.figures.late += self.done(run) != self.then
        self.figures.lost += fresh(run).status != "CANCELLED"
        self.figures.doubled += len(set(steps(run))) != len(steps(run))


class CancelAgainstAdvance(Stopping):
    """Nothing begins after a cancel."""

    name, title, rows = "cancel-advance", "cancel against advance", "21, C2"
    orders = ("advance_first", "cancel_first", "cancel_before_sending", AT_ONCE)
    guards = (Guard("the claim's row lock", _without_claim_lock, orders[1:2]),)
    checks = ("C2", "S1", "R1", "R2", "R3", "O1", "L1")
    FLOW = """
steps:
  - {id: tag, type: action, action: add_tag, tag: seen}
  - {id: hook, type: action, action: send_webhook, url: "%s"}
  - {id: rest, type: delay, duration: 1d}
"""

    def cancel(self, run: Run) -> None:
        cancel_run(actor=self.actor, run_id=run.pk)

    def advance_first(self, run: Run) -> bool:
        with transaction.atomic():
            assert advance()
            canceller = Racer(lambda: self.cancel(run))
            held = until_blocked(canceller)
        canceller.result()
        self.then = self.done(run)
        return held

    def cancel_first(self, run: Run) -> bool:
        """The worker passes the run over."""
        with transaction.atomic():
            self.cancel(run)
            walker = Racer(advance)
            held = not until_blocked(walker)
        walker.result()
        self.then = (0, 0, self.receiver.record.acts.total())
        return held

    def cancel_before_sending(self, run: Run) -> bool:
        """Its call is queued; the cancel is written and not yet committed when a worker comes to send it."""
        assert advance()
        with transaction.atomic():
            self.cancel(run)
            sender = Racer(deliver_batch)
            held = not until_blocked(sender)
            sender.result()
        self.then = self.done(run)
        return held and self.then[1] == 0

    def at_once(self, run: Run) -> bool:
        self.at_once_with(advance, lambda: self.cancel(run), lambda: advance() and deliver_batch())
        self.then = self.done(run)
        self.figures.outcomes[f"cancelled after so many steps: {len(steps(run))}"] += 1
        return True


class PauseAgainstAdvance(Stopping):
    """A pause that cancels: nothing begins from its commit on, although the rows follow only then."""

    name, title, rows = "pause-advance", "pause (cancel) against advance", "21, C2, C3"
    orders = ("advance_first", "mark_first", "mark_before_sending", "sending_first", AT_ONCE)
    guards = (Guard("claims obey the mark", without_marks, orders[1:3]),)
    checks = ("C2", "C3", "S1", "R1", "R2", "R3", "A5", "A6.rest")
    FLOW = CancelAgainstAdvance.FLOW

    def pause(self) -> None:
        pause_automation(actor=self.actor, automation_id=self.automation.pk, in_flight="cancel")

    def advance_first(self, run: Run) -> bool:
        with transaction.atomic():
            assert advance()
            pauser = Racer(self.pause)
            held = until_blocked(pauser)
        pauser.result()
        self.then = self.done(run)
        return held

    def mark_first(self, run: Run) -> bool:
        return self._marked(run, advance)

    def mark_before_sending(self, run: Run) -> bool:
        assert advance()
        return self._marked(run, deliver_batch)

    def _marked(self, run: Run, work: Callable[[], Any]) -> bool:
        """The pause has committed and no row has followed it when a worker comes."""
        with gate(pausing, "follow_all") as committed:
            pauser = Racer(self.pause)
            committed.wait()
            self.then = self.done(run)
            work()
            held = self.done(run) == self.then
            committed.open()
            pauser.result()
        return held

    def sending_first(self, run: Run) -> bool:
        """A worker has just claimed the call: the pause comes after it."""
        assert advance()
        with gate(delivery_check, "silenced", after=True) as claimed:
            sender = Racer(deliver_batch)
            claimed.wait()
            pauser = Racer(self.pause)
            held = until_blocked(pauser)
            claimed.open()
            sender.result()
        pauser.result()
        self.then = self.done(run)
        return held

    def at_once(self, run: Run) -> bool:
        self.at_once_with(advance, self.pause, lambda: advance() and deliver_batch())
        self.then = self.done(run)
        self.figures.outcomes[f"cancelled after so many steps: {len(steps(run))}"] += 1
        return True

    def judge(self, run: Run) -> None:
        super().judge(run)
        resume_automation(actor=self.actor, automation_id=self.automation.pk)


class UnsubscribeAgainstSend(Race):
    """Nobody is mailed who has left. The races of addresses that are not the customer's own stand in `test_consent_races`."""

    name, title, rows = "unsubscribe-send", "unsubscribe against send", "22, C1"
    orders = ("unsubscribe_first", "claim_first", AT_ONCE)
    guards = (Guard("row and address locks, suppression of the queue", _without_consent_locks, orders[:1]),)
    checks = ("C1", "O5", "S2", "S4.rest")

    def prepare(self) -> None:
        self.mailbox = self.stack.enter_context(Mailbox(self.chance))
        self.stack.enter_context(override_settings(ONWARD_SMTP_URL=self.mailbox.url))
        text = 'steps: [{id: mail, type: action, action: send_email, subject: Hello, body: "<p>Hello</p>"}]'
        self.automation = live(self.workspace, text)

    def begin(self) -> Run:
        run = due(self.automation)
        assert advance()
        return run

    def leave(self, run: Run) -> None:
        customer = customer_of(run)
        actor = system_actor(self.workspace.pk)
        record_consent(actor=actor, address=customer.email, state="unsubscribed", customer_id=customer.pk)

    def unsubscribe_first(self, run: Run) -> bool:
        """Written and not yet committed when a worker comes: it passes the mail over."""
        with transaction.atomic():
            self.leave(run)
            sender = Racer(deliver_batch)
            held = not until_blocked(sender)
            sender.result()
        return held

    def claim_first(self, run: Run) -> bool:
        """A worker has read that nobody objects and not yet committed its claim: the consent comes after it."""
        with gate(delivery_check, "silenced", after=True) as asked:
            sender = Racer(deliver_batch)
            asked.wait()
            leaver = Racer(lambda: self.leave(run))
            held = until_blocked(leaver)
            asked.open()
            sender.result()
        leaver.result()
        return held and Delivery.objects.get(run=run).state == "SENT"

    def at_once(self, run: Run) -> bool:
        self.at_once_with(deliver_batch, lambda: self.leave(run))
        return True

    def judge(self, run: Run) -> None:
        settle(deliver=True)
        delivery = Delivery.objects.get(run=run)
        acts = self.mailbox.record.acts[delivery.key]
        consent = Consent.objects.get(workspace=self.workspace, address=delivery.to.lower())
        after = delivery.sending_at is not None and delivery.sending_at > consent.at
        self.figures.late += after or (acts > 0 and delivery.state != "SENT")
        self.figures.lost += delivery.state not in ("SENT", "SUPPRESSED") or (delivery.state == "SENT" and not acts)
        self.figures.doubled += acts > 1
        self.figures.outcomes[delivery.state.lower()] += 1


class PauseAgainstEntering(Race):
    """After a pause has committed no run appears; those that a router was starting before are cancelled with the others."""

    name, title, rows = "pause-enter", "pause against a router that starts runs", "21, 24"
    orders = ("router_first", "pause_first", AT_ONCE)
    guards = (Guard("the router's shared lock", _without_shared_lock, orders[:2]),)
    checks = ("A5", "A6.rest", "A8", "E4", "R2")

    def prepare(self) -> None:
        self.automation = live(self.workspace, RESTING)

    def begin(self) -> int:
        customer = make_customer(self.workspace)
        happen(customer)
        return customer.pk

    def pause(self) -> None:
        pause_automation(actor=self.actor, automation_id=self.automation.pk, in_flight="cancel")

    def router_first(self, customer: int) -> bool:
        return self._forced(route_all, self.pause)

    def pause_first(self, customer: int) -> bool:
        return self._forced(self.pause, route_all)

    def _forced(self, first: Callable[[], Any], second: Callable[[], Any]) -> bool:
        with transaction.atomic():
            first()
            other = Racer(second)
            held = until_blocked(other)
        other.result()
        return held

    def at_once(self, customer: int) -> bool:
        self.at_once_with(route_all, self.pause)
        return True

    def judge(self, customer: int) -> None:
        route_all()
        runs = Run.objects.filter(automation=self.automation, customer=customer)
        self.figures.late += runs.filter(ended_at=None).count()
        self.figures.doubled += runs.count() > 1
        self.figures.outcomes["started and cancelled" if runs else "not started"] += 1
        resume_automation(actor=self.actor, automation_id=self.automation.pk)
        Run.objects.filter(automation=self.automation, ended_at=None).delete()
