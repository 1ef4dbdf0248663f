"""Two connections at one moment, each order forced, fifty rounds of each race (RELIABILITY 16 to 22; INVARIANTS W1, W2, C1 to C3).

Every race is run a second time with its protection taken away and must then fail: so each of these tests is known to bite.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction

from accounts.actor import system_actor
from accounts.clock import set_clock
from accounts.models import Customer, Workspace
from accounts.services import consent
from accounts.services.consent import record_consent
from automations.doctor.run import examine
from automations.models import Automation, Delivery, DeliveryAttempt, Event, Run, StepLog
from automations.services import leaving
from automations.services.cancel import cancel_run
from automations.services.pause import pause_automation, resume_automation
from automations.worker import claim as claiming
from automations.worker import delivery_check, delivery_claim, hearing, loop, retrying, route, runs, wake
from automations.worker.advance import advance_batch
from automations.worker.deliver import deliver_batch
from tests.chaos.blocking import until_blocked
from tests.chaos.peers import Mailbox, Receiver
from tests.factories import actor_of, make_api_client, make_customer, make_workspace
from tests.worker.living import happen, live, settle
from tests.worker.racing import Racer, together
from tests.worker.routing import route_all

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 50
FEW = 10  # rounds without protection


@pytest.fixture(autouse=True)
def no_deadlock(settings: Any) -> Iterator[None]:
    """The lock order leaves no deadlock to be resolved (DESIGN 5.2)."""
    settings.ONWARD_ALLOW_CLOCK = True
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    before = retrying.counted["40P01"]
    yield
    assert retrying.counted["40P01"] == before


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


def advance() -> int:
    """One batch; the list of workspaces with something due may be a second old, so an empty answer is asked for again."""
    return advance_batch() or advance_batch()


def due(automation: Automation) -> tuple[Customer, Run]:
    """A customer with a run that is due and not yet advanced."""
    customer = make_customer(automation.workspace)
    happen(customer)
    route_all()
    return customer, Run.objects.get(automation=automation, customer=customer)


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


class TestEventAgainstParking:  # W1, RELIABILITY 16
    FLOW = "steps: [{id: w, type: wait_until, event: ping}, {type: stop}]"

    def lost(self, workspace: Workspace, rounds: int) -> int:
        """How many runs still wait for an event that was routed after their wait began."""
        automation = live(workspace, self.FLOW)
        orders = [self.during, self.straddling, self.after]
        for number in range(rounds):
            customer, run = due(automation)
            orders[number % 3](customer)
            settle()
            assert fresh(run).status in ("COMPLETED", "WAITING_FOR_EVENT")
        waiting = Run.objects.filter(automation=automation, status="WAITING_FOR_EVENT")
        pinged = {
            event.customer_id: event
            for event in Event.objects.filter(name="ping").exclude(routed=None).select_related("routed")
        }
        return sum(1 for run in waiting if pinged[run.customer_id].routed_at >= run.entered_at)

    def during(self, customer: Customer) -> None:
        """The event comes and is routed between the decision to wait and its commit."""
        with transaction.atomic():
            assert advance()
            Racer(lambda: (happen(customer, "ping"), route_all())).result()

    def straddling(self, customer: Customer) -> None:
        """A router has looked for waiting runs before the commit, and commits after it."""
        looked, go = threading.Event(), threading.Event()

        def slow() -> None:
            happen(customer, "ping")
            with transaction.atomic():
                route_all()
                looked.set()
                assert go.wait(20)

        with transaction.atomic():
            assert advance()
            router = Racer(slow)
            assert looked.wait(20)
        go.set()
        router.result()

    def after(self, customer: Customer) -> None:
        """The run has parked, and its second look is still to come."""
        assert advance()
        Racer(lambda: (happen(customer, "ping"), route_all())).result()

    def test_no_wake_is_lost(self, workspace: Workspace) -> None:
        assert self.lost(workspace, ROUNDS) == 0
        assert not Run.objects.exclude(status="COMPLETED").exists()

    def test_without_the_second_look_wakes_are_lost(self, workspace: Workspace, monkeypatch: Any) -> None:
        monkeypatch.setattr(loop, "look_again", lambda: 0)
        assert self.lost(workspace, FEW) >= FEW // 2


class TestEventAgainstTimeOut:  # W2, RELIABILITY 17
    FLOW = (
        "steps: [{id: w, type: wait_until, event: ping, timeout: 1h}, {id: rest, type: delay, duration: 90d},"
        " {type: stop}]"
    )

    def broken(self, workspace: Workspace, rounds: int, monkeypatch: Any) -> tuple[int, set[str]]:
        """How many runs do not stand on the delay with one outcome of the wait; and which outcomes there were."""
        automation = live(workspace, self.FLOW)
        outcomes, bad = set(), 0
        for number in range(rounds):
            customer, run = due(automation)
            settle()
            set_clock("+2h")
            happen(customer, "ping")
            (self.event_first if number % 2 else self.time_out_first)(monkeypatch)
            settle()
            log = list(StepLog.objects.filter(run_id=run.pk))
            outcomes |= {row.output["outcome"] for row in log if row.step == "w"}
            bad += (fresh(run).step, fresh(run).status, [row.step for row in log]) != ("rest", "RUNNING", ["w"])
        return bad, outcomes

    def event_first(self, monkeypatch: Any) -> None:
        """A router has found the run waiting and is about to wake it; the timer is due at that moment."""
        found, go = threading.Event(), threading.Event()
        write = wake.write_wakes

        def slow(woken: Any) -> int:
            found.set()
            assert go.wait(20)
            return write(woken)

        with monkeypatch.context() as patch:
            patch.setattr(wake, "write_wakes", slow)
            router = Racer(route_all)
            assert found.wait(20)
            advance()
            go.set()
            router.result()

    def time_out_first(self, monkeypatch: Any) -> None:
        """The time-out is taken and not yet committed; a router comes with the event."""
        with transaction.atomic():
            assert advance()
            router = Racer(route_all)
            until_blocked(router)
        router.result()

    def test_exactly_one_of_them_counts(self, workspace: Workspace, monkeypatch: Any) -> None:
        assert self.broken(workspace, ROUNDS, monkeypatch) == (0, {"event", "timeout"})

    def test_without_locks_and_guard_both_count(self, workspace: Workspace, monkeypatch: Any) -> None:
        monkeypatch.setattr(runs, "_LOCKED", runs._LOCKED.replace("for no key update", ""))
        monkeypatch.setattr(wake, "_WAKE", wake._WAKE.replace("and r.status = 'WAITING_FOR_EVENT'", ""))
        assert self.broken(workspace, FEW, monkeypatch)[0] >= FEW // 2


class TestCancelAgainstAdvance:  # C2, C3, RELIABILITY 21
    FLOW = """
steps:
  - {id: tag, type: action, action: add_tag, tag: seen}
  - {id: hook, type: action, action: send_webhook, url: "%s"}
  - {id: rest, type: delay, duration: 1d}
"""

    def broken(self, workspace: Workspace, rounds: int) -> int:
        """How many runs went on after their cancel had been committed."""
        actor, bad = actor_of(workspace), 0
        with Receiver(random.Random(1)) as receiver:
            automation = live(workspace, self.FLOW % receiver.url)
            orders = [self.advance_first, self.cancel_first, self.cancel_before_sending]
            for number in range(rounds):
                _customer, run = due(automation)
                orders[number % 3](lambda run=run: cancel_run(actor=actor, run_id=run.pk))
                before = self.done(run, receiver)
                settle(deliver=True)
                bad += (self.done(run, receiver), fresh(run).status) != (before, "CANCELLED")
        return bad

    def done(self, run: Run, receiver: Receiver) -> tuple[int, int, int]:
        """Steps logged, deliveries begun, calls that arrived."""
        begun = DeliveryAttempt.objects.filter(delivery__run_id=run.pk).count()
        return StepLog.objects.filter(run_id=run.pk).count(), begun, receiver.record.acts.total()

    def advance_first(self, cancel: Callable[[], Any]) -> None:
        with transaction.atomic():
            assert advance()
            canceller = Racer(cancel)
            assert until_blocked(canceller)
        canceller.result()

    def cancel_first(self, cancel: Callable[[], Any]) -> None:
        with transaction.atomic():
            cancel()
            walker = Racer(advance)
            until_blocked(walker)
        walker.result()

    def cancel_before_sending(self, cancel: Callable[[], Any]) -> None:
        """Its call is queued; the cancel is written and not yet committed when a worker comes to send it."""
        assert advance()
        with transaction.atomic():
            cancel()
            sender = Racer(deliver_batch)
            until_blocked(sender)
        sender.result()

    def test_nothing_begins_after_the_cancel(self, workspace: Workspace) -> None:
        assert self.broken(workspace, ROUNDS) == 0
        assert [finding.as_json() for finding in examine(only=["C2", "S1", "R2"])] == []

    def test_without_the_claims_lock_runs_go_on(self, workspace: Workspace, monkeypatch: Any) -> None:
        monkeypatch.setattr(claiming, "_CLAIM", claiming._CLAIM.replace("FOR UPDATE SKIP LOCKED", ""))
        assert self.broken(workspace, FEW) >= FEW // 3


class TestUnsubscribeAgainstSend:  # C1, SUP-07, RELIABILITY 22
    FLOW = 'steps: [{id: mail, type: action, action: send_email, subject: Hello, body: "<p>Hello</p>"}]'

    def states(self, workspace: Workspace, rounds: int, settings: Any) -> tuple[list[str], int]:
        """The states of the deliveries, in the order of the rounds, and how many mails arrived."""
        automation, states = live(workspace, self.FLOW), []
        with Mailbox(random.Random(1)) as mailbox:
            settings.ONWARD_SMTP_URL = mailbox.url
            for number in range(rounds):
                customer, run = due(automation)
                assert advance()
                (self.send_first if number % 2 else self.unsubscribe_first)(customer)
                settle(deliver=True)
                states.append(Delivery.objects.get(run=run).state)
            return states, mailbox.record.acts.total()

    def unsubscribe(self, customer: Customer) -> None:
        actor = system_actor(customer.workspace_id)
        record_consent(actor=actor, address=customer.email, state="unsubscribed", customer_id=customer.pk)

    def unsubscribe_first(self, customer: Customer) -> None:
        with transaction.atomic():
            self.unsubscribe(customer)
            sender = Racer(deliver_batch)
            until_blocked(sender)
            sender.result()

    def send_first(self, customer: Customer) -> None:
        """A worker has claimed the mail, which is the moment of its sending."""
        with transaction.atomic():
            claimed = delivery_claim.claim(5).jobs
            assert len(claimed) == 1
            leaver = Racer(lambda: self.unsubscribe(customer))
            assert until_blocked(leaver)
        leaver.result()
        Delivery.objects.filter(pk=claimed[0].id).update(state="QUEUED", lease_until=None, attempts=0)
        Delivery.objects.filter(pk=claimed[0].id).update(due_at=Delivery.objects.get(pk=claimed[0].id).created_at)

    def test_nobody_who_has_left_is_mailed(self, workspace: Workspace, settings: Any) -> None:
        states, mails = self.states(workspace, ROUNDS, settings)
        assert set(states) == {"SUPPRESSED"}
        assert mails == 0
        assert [finding.as_json() for finding in examine(only=["C1"])] == []

    def test_without_locks_they_are(self, workspace: Workspace, settings: Any, monkeypatch: Any) -> None:
        bare = delivery_check._CUSTOMERS.replace("FOR SHARE SKIP LOCKED", "")
        monkeypatch.setattr(delivery_check, "_CUSTOMERS", bare)
        monkeypatch.setattr(leaving, "suppress_queued", lambda *_: 0)
        monkeypatch.setattr(consent, "lock_addresses", lambda workspace, addresses: None)
        monkeypatch.setattr(self, "send_first", self.unsubscribe_first)
        states, mails = self.states(workspace, FEW, settings)
        assert (states.count("SENT"), mails) == (FEW, FEW)
        assert [finding.check.id for finding in examine(only=["C1"])] == ["C1"]


class TestPauseAgainstEnter:  # DESIGN 5.1, RELIABILITY 20
    FLOW = "steps: [{id: d, type: delay, duration: 5d}]"

    def entered(self, workspace: Workspace, rounds: int) -> int:
        """How many runs live on after their automation was paused with `cancel`."""
        automation, actor = live(workspace, self.FLOW), actor_of(workspace)
        living = 0

        def pause() -> None:
            pause_automation(actor=actor, automation_id=automation.pk, in_flight="cancel")

        for number in range(rounds):
            happen(make_customer(workspace))
            with transaction.atomic():
                (route_all if number % 2 else pause)()
                other = Racer(pause if number % 2 else route_all)
                until_blocked(other)
            other.result()
            living += Run.objects.filter(automation=automation, ended_at=None).count()
            resume_automation(actor=actor, automation_id=automation.pk)
            Run.objects.filter(automation=automation, ended_at=None).delete()
        return living

    def test_after_a_pause_no_run_appears(self, workspace: Workspace) -> None:
        assert self.entered(workspace, ROUNDS) == 0
        assert Run.objects.count() == ROUNDS // 2  # those that came first were started, and cancelled

    def test_without_the_shared_lock_they_do(self, workspace: Workspace, monkeypatch: Any) -> None:
        monkeypatch.setattr(hearing, "lock_shared", lambda ids: None)
        assert self.entered(workspace, FEW) >= FEW // 2


class TestFiftyCopies:  # TRG-50, RELIABILITY 19
    FLOW = "steps: [{id: d, type: delay, duration: 5d}]"

    def posted(self, workspace: Workspace, key: Callable[[int], str]) -> int:
        """Fifty callers post one event at one moment; answers how many runs there are."""
        automation = live(workspace, self.FLOW)
        customer = make_customer(workspace)
        clients = [make_api_client(workspace, scopes=["events"]) for _ in range(10)]

        def post(caller: int) -> list[int]:
            found = []
            for number in range(5):
                body = {
                    "id": key(caller * 5 + number), "name": "sign", "customer": f"cus_{customer.pk}",
                    "payload": {"amount": "11.77"},
                }  # fmt: skip
                answer = clients[caller].post("/events", body)
                assert answer.status_code in (200, 201, 202), answer.content
                found.append(answer.status_code)
            return found

        together(*[lambda caller=caller: post(caller) for caller in range(10)])
        together(*[route_all] * 3)
        return Run.objects.filter(automation=automation).count()

    def test_make_one_run(self, workspace: Workspace) -> None:
        assert self.posted(workspace, lambda number: "order-7781") == 1
        assert Event.objects.filter(name="sign").count() == 1

    def test_and_fifty_where_each_has_a_key_of_its_own(self, workspace: Workspace) -> None:
        assert self.posted(workspace, lambda number: f"order-{number}") == 50


def test_the_route_module_reads_what_the_tests_take_away() -> None:
    """The unprotected variants patch names; if the code stopped using them, they would bite nothing."""
    assert "for no key update" in runs._LOCKED
    assert "and r.status = 'WAITING_FOR_EVENT'" in wake._WAKE
    assert "FOR UPDATE SKIP LOCKED" in claiming._CLAIM
    assert "FOR SHARE SKIP LOCKED" in delivery_check._CUSTOMERS
    assert route.locked is runs.locked
