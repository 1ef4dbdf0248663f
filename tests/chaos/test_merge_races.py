"""Merging and erasing against routers and workers, each order forced (DESIGN 5.2, lock order; DESIGN 5.5, C-31, SUP-06).

As in `races`, every race is run a second time with its protection taken away and must then fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts import announcements
from accounts.models import Customer, CustomerTag, Workspace
from accounts.repeating import counted
from accounts.services import erasure
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import identify_customer, merge_customers
from accounts.services.merged import merged_into
from automations.doctor.run import examine
from automations.models import Automation, Run
from automations.services import ahead
from automations.services.entry import trigger_manually
from automations.services.pause import pause_automation, resume_automation
from automations.worker import advance, second_look
from automations.worker.advance import advance_batch
from automations.worker.retrying import retrying
from tests.chaos.blocking import quick_deadlocks, until_blocked
from tests.chaos.races import asked
from tests.factories import actor_of, make_customer, make_visitor, make_workspace
from tests.worker.living import happen, live, settle
from tests.worker.racing import Racer
from tests.worker.routing import route_all

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = asked.rounds(10) // 2 * 2  # two of each order at least; more by `python -m tests.chaos.races --all`
FEW = 6  # rounds without protection
UPDATING = """
steps:
  - {id: tag, type: action, action: add_tag, tag: seen}
  - {id: set, type: action, action: update_customer, fields: {segment: engaged}}
"""
RESTING = "steps: [{id: rest, type: delay, duration: 5d}]"


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


@pytest.fixture
def deadlocks() -> Callable[[], int]:
    """How many deadlocks the server had to resolve since the test began: both sides repeat what was broken off, and count it."""
    before = counted["40P01"]
    return lambda: counted["40P01"] - before


def merge(source: Customer, into: Customer) -> None:
    merge_customers(actor=actor_of(into.workspace), source_id=source.pk, into_id=into.pk)


def identify(visitor: Customer, known: Customer) -> None:
    identify_customer(actor=actor_of(known.workspace), customer_id=visitor.pk, fields={"email": known.email})


def walker(monkeypatch: Any) -> tuple[Racer, threading.Event]:
    """A worker that holds the runs of a batch and stands right before it locks their customers; the event lets it go on."""
    holding, go = threading.Event(), threading.Event()
    lock = advance._lock_customers

    def slow(walks: Any) -> None:
        holding.set()
        assert go.wait(20)
        lock(walks)

    monkeypatch.setattr(advance, "_lock_customers", slow)
    racer = Racer(lambda: advance_batch() or advance_batch())
    assert holding.wait(20)
    monkeypatch.setattr(advance, "_lock_customers", lock)
    return racer, go


class TestMergeAgainstAdvance:
    """A batch holds runs of both records and updates both customers."""

    def race(self, workspace: Workspace, rounds: int, monkeypatch: Any) -> None:
        live(workspace, UPDATING)
        for number in range(rounds):
            visitor = make_visitor(workspace)
            known = make_customer(workspace)
            for who in (visitor, known):
                happen(who)
            route_all()
            act = identify if number % 2 else merge
            (self.merge_first if number % 5 == 4 else self.batch_first)(
                lambda v=visitor, k=known, a=act: a(v, k), monkeypatch
            )
            settle()

    def batch_first(self, act: Callable[[], None], monkeypatch: Any) -> None:
        batch, go = walker(monkeypatch)
        merger = Racer(act)
        assert until_blocked(merger)
        go.set()
        assert batch.result() == 2
        merger.result()

    def merge_first(self, act: Callable[[], None], monkeypatch: Any) -> None:
        with transaction.atomic():
            act()
            batch = Racer(advance_batch)
            until_blocked(batch)
        batch.result()

    def test_nobody_waits_for_the_other(
        self, workspace: Workspace, monkeypatch: Any, deadlocks: Callable[[], int]
    ) -> None:
        self.race(workspace, ROUNDS, monkeypatch)
        assert deadlocks() == 0
        survivors = Customer.objects.filter(workspace=workspace, merged_into=None)
        assert survivors.count() == ROUNDS
        assert Run.objects.filter(customer__in=survivors, status="COMPLETED").count() == 2 * ROUNDS
        assert CustomerTag.objects.filter(customer__in=survivors).count() == ROUNDS
        assert [finding.as_json() for finding in examine(only=["R2", "S1", "K2", "O1"])] == []

    def test_without_the_locks_ahead_they_do(
        self, workspace: Workspace, monkeypatch: Any, deadlocks: Callable[[], int]
    ) -> None:
        monkeypatch.setattr(announcements, "_lockers", [])
        with quick_deadlocks():
            self.race(workspace, FEW, monkeypatch)
        assert deadlocks() >= FEW // 2


class TestAgainstWhoHoldsARunAndWantsItsCustomer:
    """A settlement with consequences holds its run, perhaps an ended one, and then changes billing objects and their customer."""

    def race(self, workspace: Workspace, rounds: int, act: Callable[[Customer], None]) -> None:
        automation = live(workspace, "steps: [{type: stop}]")
        for _ in range(rounds):
            customer = make_customer(workspace)
            happen(customer)
            settle()
            run = Run.objects.get(automation=automation, customer=customer)
            assert run.status == "COMPLETED"
            held, go = threading.Event(), threading.Event()
            holder = Racer(lambda run=run, held=held, go=go: self.hold(run, held, go))
            assert held.wait(20)
            racer = Racer(lambda customer=customer: act(customer))
            assert until_blocked(racer)
            go.set()
            racer.result()
            holder.result()

    def hold(self, run: Run, held: threading.Event, go: threading.Event) -> None:
        def work() -> None:
            with transaction.atomic():
                Run.objects.select_for_update(no_key=True).get(pk=run.pk)
                held.set()
                assert go.wait(20)
                Customer.objects.select_for_update(no_key=True).get(pk=run.customer_id)

        retrying(work)

    def merge(self, customer: Customer) -> None:
        merge(customer, make_customer(customer.workspace))

    def erase(self, customer: Customer) -> None:
        erase_customer(actor=actor_of(customer.workspace), customer_id=customer.pk)

    @pytest.mark.parametrize("act", ["merge", "erase"])
    def test_there_is_no_deadlock(self, workspace: Workspace, act: str, deadlocks: Callable[[], int]) -> None:
        self.race(workspace, ROUNDS, getattr(self, act))
        assert deadlocks() == 0

    @pytest.mark.parametrize("act", ["merge", "erase"])
    def test_without_the_locks_ahead_there_is(
        self, workspace: Workspace, act: str, deadlocks: Callable[[], int], monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(announcements, "_lockers", [])
        with quick_deadlocks():
            self.race(workspace, 2, getattr(self, act))
        assert deadlocks() == 2


class TestAgainstARunThatIsJustStarted:
    """A router, or a person, has started a run of a record and not committed it when the record ceases."""

    def strays(self, automation: Automation, rounds: int, start: Callable[[Automation, Customer], None]) -> int:
        """How many unfinished runs belong to a record that is merged or erased."""
        workspace, actor = automation.workspace, actor_of(automation.workspace)
        for number in range(rounds):
            customer, other = make_customer(workspace), make_customer(workspace)
            begun, go = threading.Event(), threading.Event()
            starter = Racer(lambda c=customer, b=begun, g=go: self.slowly(lambda: start(automation, c), b, g))
            assert begun.wait(20)
            if number % 2:
                ender = Racer(lambda c=customer: erase_customer(actor=actor, customer_id=c.pk))
            else:
                ender = Racer(lambda c=customer, o=other: merge(c, o))
            until_blocked(ender)
            go.set()
            starter.result()
            ender.result()
            settle()
        unfinished = Run.objects.filter(automation=automation, ended_at=None)
        gone = Customer.objects.exclude(merged_into=None, erased_at=None)
        return unfinished.filter(customer__in=gone).count()

    def slowly(self, start: Callable[[], None], begun: threading.Event, go: threading.Event) -> None:
        with transaction.atomic():
            start()
            begun.set()
            assert go.wait(20)

    def by_event(self, automation: Automation, customer: Customer) -> None:
        happen(customer)
        route_all()

    def by_hand(self, automation: Automation, customer: Customer) -> None:
        trigger_manually(actor_of(automation.workspace), automation, {"customer": customer.pk}, {})

    def automation(self, workspace: Workspace, how: str) -> Automation:
        return live(workspace, ("trigger: {type: manual}\n" if how == "by_hand" else "") + RESTING)

    @pytest.mark.parametrize("how", ["by_event", "by_hand"])
    def test_it_follows(self, workspace: Workspace, how: str) -> None:
        automation = self.automation(workspace, how)
        assert self.strays(automation, ROUNDS, getattr(self, how)) == 0
        assert Run.objects.filter(automation=automation, ended_at=None).count() == ROUNDS // 2
        assert Run.objects.filter(automation=automation, end_reason="profile_deleted").count() == ROUNDS // 2

    @pytest.mark.parametrize("how", ["by_event", "by_hand"])
    def test_without_the_shards_it_stays_behind(self, workspace: Workspace, how: str, monkeypatch: Any) -> None:
        monkeypatch.setattr(ahead, "hold_shards", lambda shards: None)
        assert self.strays(self.automation(workspace, how), FEW, getattr(self, how)) >= FEW // 2

    def test_what_is_started_by_hand_during_a_merge_is_about_the_survivor(self, workspace: Workspace) -> None:
        automation = self.automation(workspace, "by_hand")
        old, new = make_customer(workspace), make_customer(workspace)
        with transaction.atomic():
            merge(old, new)
            starter = Racer(lambda: self.by_hand(automation, old))
            assert until_blocked(starter)
        starter.result()
        [run] = Run.objects.filter(automation=automation)
        assert (run.customer_id, run.subjects) == (new.pk, {"customer": new.pk})


class TestMergeAgainstErase:  # SUP-06
    """A record is merged into a customer after the erasure has looked whom that customer took in."""

    def left(self, workspace: Workspace, rounds: int, monkeypatch: Any) -> int:
        """How many records of erased people are not erased."""
        for _ in range(rounds):
            customer, other = make_customer(workspace), make_customer(workspace)
            take = erasure.take_locks_ahead

            def merge_now(
                *about: Any, customer: Customer = customer, other: Customer = other, take: Any = take
            ) -> None:
                Racer(lambda: merge(other, customer)).result()
                take(*about)

            with monkeypatch.context() as patch:
                patch.setattr(erasure, "take_locks_ahead", merge_now)
                erase_customer(actor=actor_of(workspace), customer_id=customer.pk)
        return Customer.objects.filter(workspace=workspace, erased_at=None).count()

    def test_who_was_merged_meanwhile_is_erased_as_well(self, workspace: Workspace, monkeypatch: Any) -> None:
        assert self.left(workspace, ROUNDS, monkeypatch) == 0

    def test_without_the_second_look_they_stay(self, workspace: Workspace, monkeypatch: Any) -> None:
        looks = iter([merged_into, lambda ids: {}] * FEW)
        monkeypatch.setattr(erasure, "merged_into", lambda ids: next(looks)(ids))
        assert self.left(workspace, FEW, monkeypatch) == FEW


class TestMergeAgainstParking:  # W1, DESIGN 5.2 and 5.5
    """An event is recorded for a record that is merged while its run parks, or was merged before: the run wakes."""

    FLOW = "steps: [{id: w, type: wait_until, event: ping, filter: event.seats > 5}, {type: stop}]"

    def lost(self, workspace: Workspace, rounds: int) -> int:
        """How many runs still wait although their person's event was routed."""
        automation = live(workspace, self.FLOW)
        orders = [self.event_then_merge, self.merge_then_event, self.merged_before, self.straddling]
        for number in range(rounds):
            orders[number % 4](make_customer(workspace), make_customer(workspace))
            settle()
        assert Run.objects.filter(automation=automation).count() == rounds
        return Run.objects.filter(automation=automation, status="WAITING_FOR_EVENT").count()

    def due(self, customer: Customer) -> None:
        happen(customer)
        route_all()

    def advance(self) -> None:
        assert advance_batch() or advance_batch()

    def ping(self, customer: Customer) -> None:
        happen(customer, "ping", {"seats": 9})
        route_all()

    def event_then_merge(self, old: Customer, new: Customer) -> None:
        """The event is routed while the run parks, and the merge waits for the run."""
        self.due(old)
        with transaction.atomic():
            self.advance()
            Racer(lambda: self.ping(old)).result()
            merger = Racer(lambda: merge(old, new))
            assert until_blocked(merger)
        merger.result()

    def merge_then_event(self, old: Customer, new: Customer) -> None:
        """The merge waits for the run that parks, and then the event comes: it is routed when the merge has been made."""
        self.due(old)
        with transaction.atomic():
            self.advance()
            merger = Racer(lambda: merge(old, new))
            assert until_blocked(merger)
            Racer(lambda: self.ping(old)).result()
        merger.result()

    def merged_before(self, old: Customer, new: Customer) -> None:
        """The survivor's run parks while an event of the record that it took in is routed, as one of the survivor."""
        merge(old, new)
        self.due(new)
        with transaction.atomic():
            self.advance()
            Racer(lambda: self.ping(old)).result()

    def straddling(self, old: Customer, new: Customer) -> None:
        """The same, and the router commits after the look began: it holds the shard of the record that ceased."""
        merge(old, new)
        self.due(new)
        looked, go = threading.Event(), threading.Event()

        def slow() -> None:
            with transaction.atomic():
                self.ping(old)
                looked.set()
                assert go.wait(20)

        with transaction.atomic():
            self.advance()
            router = Racer(slow)
            assert looked.wait(20)
        looker = Racer(second_look.look_again)
        until_blocked(looker)
        go.set()
        router.result()
        looker.result()

    def test_no_wake_is_lost(self, workspace: Workspace) -> None:
        assert self.lost(workspace, ROUNDS) == 0
        assert Run.objects.exclude(status="COMPLETED").count() == 0
        assert [finding.as_json() for finding in examine(only=["W1", "W2", "W3.rest"])] == []

    def test_without_the_merged_records_wakes_are_lost(self, workspace: Workspace, monkeypatch: Any) -> None:
        monkeypatch.setattr(second_look, "merged_into", lambda ids: {})
        assert self.lost(workspace, 8) >= 6

    def test_a_hold_over_a_merge_loses_none_either(self, workspace: Workspace) -> None:
        automation, actor = live(workspace, self.FLOW), actor_of(workspace)
        old, new = make_customer(workspace), make_customer(workspace)
        self.due(old)
        settle()
        pause_automation(actor=actor, automation_id=automation.pk, in_flight="hold")
        self.ping(old)
        merge(old, new)
        resume_automation(actor=actor, automation_id=automation.pk, held="continue")
        settle()
        [run] = Run.objects.filter(automation=automation)
        assert (run.status, run.customer_id) == ("COMPLETED", new.pk)
