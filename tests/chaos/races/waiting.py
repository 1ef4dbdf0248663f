"""Races of runs that wait for an event: against events that come while they park, against their time-out, and against a second event
(W1, W2; RELIABILITY 16 to 18)."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest
from django.db import transaction

from accounts.clock import set_clock
from accounts.models import Customer
from automations.models import Event, Run, StepLog
from automations.worker import loop, runs, second_look, store, wake
from automations.worker.second_look import look_again
from tests.chaos.blocking import until_blocked
from tests.chaos.races.gates import PATIENCE, advance, customer_of, due, fresh, gate, steps, two_names
from tests.chaos.races.race import AT_ONCE, Guard, Race
from tests.factories import make_customer
from tests.worker.living import happen, live, settle
from tests.worker.racing import Racer
from tests.worker.routing import route_all

RESTING = "{id: rest, type: delay, duration: 900d}"


def _without_row_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runs, "_LOCKED", runs._LOCKED.replace("for no key update", ""))
    patch.setattr(wake, "_WAKE", wake._WAKE.replace("and r.status = 'WAITING_FOR_EVENT'", ""))


def _without_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "look_again", lambda: 0)


def _without_shards(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(second_look, "hold_shards", lambda shards: None)


def _without_those_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store, "IDS_UNDER_WAY", 0)


class Parking(Race):
    """Base: a run that is about to wait, and the event that it is about to wait for."""

    checks = ("W1", "W2", "W3.rest", "R1")

    def prepare(self) -> None:
        self.automation = live(self.workspace, "steps: [{id: w, type: wait_until, event: ping}, {type: stop}]")

    def begin(self) -> Run:
        return due(self.automation)

    def ping(self, run: Run) -> None:
        happen(customer_of(run), "ping")
        route_all()

    def judge(self, run: Run) -> None:
        """Lost is an event that was routed after the wait had begun and did not end it. One that came before does not count (C-37);
        then the next one must."""
        settle()
        now = fresh(run)
        if now.status == "WAITING_FOR_EVENT":
            pinged = Event.objects.select_related("routed").get(name="ping", customer_id=now.customer_id)
            early = pinged.routed.routed_at < now.entered_at
            self.figures.lost += not early
            self.figures.outcomes["came before the wait" if early else "lost"] += 1
            self.ping(run)
            settle()
        else:
            self.figures.outcomes["woke it"] += 1
        self.figures.lost += fresh(run).status == "WAITING_FOR_EVENT"
        self.figures.doubled += steps(run).count("w") > 1


class EventAgainstParking(Parking):
    """Whoever comes first, the event is not lost."""

    name, title, rows = "event-parking", "an event against parking", "16, W1"
    orders = ("routed_while_it_parks", "router_straddles_the_commit", "routed_before_the_look", AT_ONCE)
    guards = (
        Guard("the second look", _without_look, orders[:1]),
        Guard("the look waits for routers", _without_shards, orders[1:2]),
    )

    def routed_while_it_parks(self, run: Run) -> bool:
        """Between the decision to wait and its commit."""
        with transaction.atomic():
            moved = advance()
            Racer(lambda: self.ping(run)).result()
        return moved == 1

    def router_straddles_the_commit(self, run: Run) -> bool:
        """It has looked for waiting runs before the commit and commits after it; the look comes in between."""
        with gate(wake, "write_wakes", after=True) as routed:
            with transaction.atomic():
                advance()
                router = Racer(lambda: self.ping(run))
                routed.wait()
            looker = Racer(look_again)
            held = until_blocked(looker)
            routed.open()
        router.result()
        looker.result()
        return held

    def routed_before_the_look(self, run: Run) -> bool:
        """The run has parked, and its second look is still to come: the router wakes it, the look finds nothing to do."""
        moved = advance()
        Racer(lambda: self.ping(run)).result()
        return moved == 1

    def at_once(self, run: Run) -> bool:
        self.at_once_with(advance, lambda: self.ping(run), look_again)
        return True


class EventNumberedFirst(Parking):
    """An event has its number before that of the run's own event, and is recorded after it: its request was the slower one."""

    name, title, rows = "event-numbered-first", "an event with an earlier number against parking", "16, W1"
    orders = ("recorded_while_it_parks", "recorded_before_the_look")
    guards = (Guard("the look goes back behind the run's own event", _without_those_before, orders[:1]),)

    def begin(self) -> Run:
        customer = make_customer(self.workspace)
        numbered, self.hangs = threading.Event(), threading.Event()

        def request() -> None:
            with transaction.atomic():
                happen(customer, "ping")
                numbered.set()
                assert self.hangs.wait(PATIENCE)
            route_all()

        self.request = Racer(request)
        assert numbered.wait(PATIENCE)
        happen(customer)
        route_all()
        return Run.objects.get(automation=self.automation, customer=customer)

    def recorded_while_it_parks(self, run: Run) -> bool:
        """And routed, between the decision to wait and its commit."""
        with transaction.atomic():
            moved = advance()
            self.hangs.set()
            self.request.result()
        return moved == 1

    def recorded_before_the_look(self, run: Run) -> bool:
        """The router sees it wait; the look finds the event once more."""
        moved = advance()
        self.hangs.set()
        self.request.result()
        return moved == 1


class EventAgainstTimeOut(Race):
    """One of them counts, and never both."""

    name, title, rows = "event-timeout", "an event against the time-out", "17, W2"
    orders = ("event_first", "time_out_first", AT_ONCE)
    guards = (Guard("row lock and guarded wake", _without_row_locks, orders[:2]),)
    checks = ("W1", "W2", "S1", "R1", "T1")

    def prepare(self) -> None:
        text = f"steps: [{{id: w, type: wait_until, event: ping, timeout: 1h}}, {RESTING}, {{type: stop}}]"
        self.automation = live(self.workspace, text)

    def begin(self) -> Run:
        run = due(self.automation)
        settle()
        set_clock("+2h")
        happen(customer_of(run), "ping")
        return run

    def event_first(self, run: Run) -> bool:
        """A router has found the run waiting and is about to wake it; the timer is due at that moment."""
        with gate(wake, "write_wakes") as found:
            router = Racer(route_all)
            found.wait()
            passed_over = advance() == 0
            found.open()
            router.result()
        return passed_over

    def time_out_first(self, run: Run) -> bool:
        """The time-out is taken and not yet committed; a router comes with the event."""
        with transaction.atomic():
            assert advance()
            router = Racer(route_all)
            held = until_blocked(router)
        router.result()
        return held

    def at_once(self, run: Run) -> bool:
        self.at_once_with(route_all, advance)
        return True

    def judge(self, run: Run) -> None:
        settle()
        now, log = fresh(run), steps(run)
        self.figures.lost += log == []
        self.figures.doubled += log != [] and (now.step, now.status, log) != ("rest", "RUNNING", ["w"])
        self.figures.outcomes[_outcome(run)] += 1


def _outcome(run: Run) -> str:
    row = StepLog.objects.filter(run_id=run.pk, step="w").first()
    return str(row.output["outcome"]) if row else "none"


class TwoEventsForOneWait(Race):
    """Two runs of one person wait for the same event, which comes twice: each wait ends once, and the second event changes nothing."""

    name, title, rows = "two-events", "two events for one wait", "18, W2"
    orders: ClassVar[tuple[str, ...]] = ("one_batch", "two_routers", "two_shards", "look_and_router", AT_ONCE)
    guards = (Guard("row lock and guarded wake", _without_row_locks, ("two_shards",)),)
    checks = ("W1", "W2", "W3.rest", "S1", "R1", "T1", "E4")

    def prepare(self) -> None:
        text = f"steps: [{{id: w, type: wait_until, event: ping}}, {RESTING}, {{type: stop}}]"
        self.automations = [live(self.workspace, text) for _ in range(2)]

    def begin(self) -> tuple[Customer, Customer]:
        old, new = two_names(self.workspace)
        happen(new)
        route_all()
        return old, new

    def one_batch(self, names: tuple[Customer, Customer]) -> bool:
        settle()
        for _ in range(2):
            happen(names[1], "ping")
        route_all()
        return True

    def two_routers(self, names: tuple[Customer, Customer]) -> bool:
        """The second comes while the first has the customer's shard: it leaves the event to the next."""
        settle()
        happen(names[1], "ping")
        with transaction.atomic():
            route_all()
            happen_apart(names[1], "ping")
            return Racer(route_all).result() == 0

    def two_shards(self, names: tuple[Customer, Customer]) -> bool:
        """One router has found the runs waiting; another comes with an event of the merged record, which has a shard of its own."""
        settle()
        happen(names[1], "ping")
        with gate(wake, "write_wakes") as found:
            first = Racer(route_all)
            found.wait()
            happen(names[0], "ping")
            second = Racer(route_all)
            held = until_blocked(second)
            if not held:
                second.result()
                advance()
            found.open()
        first.result()
        second.result()
        return held

    def look_and_router(self, names: tuple[Customer, Customer]) -> bool:
        """The second look has found the first event; a router comes with the second one."""
        with transaction.atomic():
            advance()
            happen_apart(names[1], "ping")
            Racer(route_all).result()
        with gate(wake, "write_wakes") as found:
            looker = Racer(look_again)
            found.wait()
            happen(names[1], "ping")
            left = Racer(route_all).result() == 0
            found.open()
            looker.result()
        return left

    def at_once(self, names: tuple[Customer, Customer]) -> bool:
        settle()
        for who in names:
            happen(who, "ping")
        self.at_once_with(route_all, route_all, advance, look_again)
        return True

    def judge(self, names: tuple[Customer, Customer]) -> None:
        settle()
        for run in Run.objects.filter(automation__in=self.automations, customer=names[1]):
            log = steps(run)
            self.figures.lost += log == []
            self.figures.doubled += log != [] and (run.step, run.status, log) != ("rest", "RUNNING", ["w"])
            self.figures.outcomes["woken" if run.step == "rest" else "waiting"] += 1


def happen_apart(customer: Customer, name: str) -> None:
    """Record an event on a connection of its own, so that it is committed while the caller's transaction goes on."""
    assert threading.current_thread() is threading.main_thread()
    Racer(lambda: happen(customer, name)).result()
