"""Deliveries under any order of claims, acts, deaths, freezes, late results, cancels and time (RELIABILITY 1, 3, 21, 27).

A few workers hold jobs at once. Some die, some freeze beyond their lease and come back with a result. Whatever happens, the outside
sees one key with one body, a settled delivery stays settled, and in the end nothing is left between states (INVARIANTS O2 to O5).
"""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from automations.engine.outcomes import Done, Failed, Refused, Unknown
from automations.engine.registry import registry
from automations.models import Delivery, DeliveryAttempt, Run
from automations.services.cancel import end_runs
from automations.worker import deliver
from automations.worker.deliver import deliver_batch
from automations.worker.jobs import Job
from automations.worker.settle import settle_acts
from tests.worker.deliveries import World, expire_lease, pass_time
from tests.worker.provider import Provider, charge

pytestmark = pytest.mark.django_db(transaction=True)

SETTLED = frozenset({"SENT", "REFUSED", "FAILED", "SUPPRESSED", "SKIPPED", "CANCELLED", "REVIEW"})
ANSWERS = st.sampled_from(
    [
        Done({"result": "paid"}),
        Failed("unreachable", "away", temporary=True),
        Failed("refused_configuration", "wrong", temporary=False),
        Refused("paid_already", "paid"),
        Unknown("timed out"),
    ]
)


class Deliveries(RuleBasedStateMachine):
    """A provider, a few runs with a charge each, and workers."""

    def __init__(self) -> None:
        super().__init__()
        self.provider = Provider()
        registry.actions[self.provider.key] = self.provider
        self.world = World()
        self.deliveries = [self._queued(retries) for retries in (0, 2)]
        self.held: list[Job] = []
        self.acted: list[Job] = []
        self.ended: dict[
            int, tuple[str, int]
        ] = {}  # delivery -> state and number of tries when it was first seen settled
        self.calls_at_cancel: dict[int, int] = {}

    def teardown(self) -> None:
        """In the end every worker is gone and all time passes: nothing may be left between states."""
        try:
            for _hour in range(30):
                for delivery in self.deliveries:
                    self._expire(delivery)
                while deliver_batch(threads=1):
                    pass
                if not Delivery.objects.filter(workspace=self.world.workspace).exclude(due_at=None).exists():
                    break
                pass_time(3600)
            self._check_end()
        finally:
            del registry.actions[self.provider.key]
            Delivery.objects.filter(workspace=self.world.workspace).exclude(due_at=None).update(due_at=None)

    def _check_end(self) -> None:
        for delivery in self.deliveries:
            delivery.refresh_from_db()
            run = Run.objects.get(pk=delivery.run_id)
            assert delivery.state in SETTLED
            assert delivery.due_at is None
            if delivery.state == "REVIEW":
                assert run.parked_on in ("delivery", None)
            else:
                assert run.parked_on is None, "a run waits for a delivery that has settled"

    def _expire(self, delivery: Delivery) -> None:
        if Delivery.objects.filter(pk=delivery.pk, state="SENDING").exists():
            expire_lease(delivery)

    def _queued(self, retries: int) -> Delivery:
        return self.world.delivery(charge(), self.provider.key, retries=retries, retry_delay=60, exact_waits=True)

    @precondition(lambda self: len(self.deliveries) < 4)
    @rule(retries=st.integers(0, 2))
    def queue(self, retries: int) -> None:
        """A run reaches a charge."""
        self.deliveries.append(self._queued(retries))

    @rule()
    def claim(self) -> None:
        """A worker takes what is due."""
        self.held += deliver.take(1, None)[0]

    @rule(answer=ANSWERS, knows=st.booleans())
    def take_and_act(self, answer: Any, knows: bool) -> None:
        """A worker takes what is due and does it at once; what it heard is not yet written down."""
        self.claim()
        if self.held:
            self.act(answer, knows, -1)

    @precondition(lambda self: self.acted)
    @rule(answer=ANSWERS)
    def overtake(self, answer: Any) -> None:
        """A worker stands still with its result beyond its lease, and another takes over and settles."""
        self._expire(Delivery(pk=self.acted[-1].id))
        for job in deliver.take(1, None)[0]:
            self.held.append(job)
            self.act(answer, True, -1)
            self.settle(-1)

    @precondition(lambda self: self.held)
    @rule(answer=ANSWERS, knows=st.booleans(), pick=st.integers(0, 9))
    def act(self, answer: Any, knows: bool, pick: int) -> None:
        """It calls the provider, which says this, and remembers what it did or not."""
        job = self.held.pop(pick % len(self.held))
        self.provider.answers, self.provider.knows = [answer], knows
        deliver.act(job)
        self.provider.answers = []
        self.acted.append(job)

    @precondition(lambda self: self.acted)
    @rule(pick=st.integers(0, 9))
    def settle(self, pick: int) -> None:
        """It writes down what came of it, however late."""
        job = self.acted.pop(pick % len(self.acted))
        before = Delivery.objects.get(pk=job.id)
        written = settle_acts([job])
        assert bool(written) == ((before.fence, before.state) == (job.fence, "SENDING")), (
            "only the owner of the fence writes"
        )

    @precondition(lambda self: self.held or self.acted)
    @rule(pick=st.integers(0, 9))
    def die(self, pick: int) -> None:
        """It is killed, before or after the act."""
        pool = self.held if self.held else self.acted
        job = pool.pop(pick % len(pool))
        self._expire(Delivery(pk=job.id))

    @precondition(lambda self: self.held or self.acted)
    @rule(pick=st.integers(0, 9))
    def freeze(self, pick: int) -> None:
        """It stands still beyond its lease, and will come back."""
        pool = self.acted or self.held
        self._expire(Delivery(pk=pool[pick % len(pool)].id))

    @rule(minutes=st.sampled_from([1, 5, 61]))
    def time_passes(self, minutes: int) -> None:
        """By the clock of evaluation; leases do not follow it."""
        pass_time(minutes * 60)

    @precondition(lambda self: self.deliveries)
    @rule(pick=st.integers(0, 9))
    def cancel(self, pick: int) -> None:
        """Somebody cancels a run."""
        delivery = self.deliveries[pick % len(self.deliveries)]
        with transaction.atomic():
            end_runs([delivery.run_id], reason="cancelled")
        delivery.refresh_from_db()
        if delivery.state == "CANCELLED":
            self.calls_at_cancel.setdefault(delivery.pk, self._calls(delivery))

    def _calls(self, delivery: Delivery) -> int:
        return sum(key == delivery.key for key, _body in self.provider.calls)

    @invariant()
    def one_key_has_one_body(self) -> None:
        """INVARIANTS O2, O3."""
        bodies: dict[str, set[bytes]] = {}
        for key, body in self.provider.calls:
            bodies.setdefault(key, set()).add(body)
        assert all(len(found) == 1 for found in bodies.values())
        assert set(bodies) <= {delivery.key for delivery in self.deliveries}

    @invariant()
    def what_is_settled_stays_settled(self) -> None:
        """DESIGN 5.3; INVARIANTS R3."""
        for delivery in Delivery.objects.filter(workspace=self.world.workspace, state__in=SETTLED):
            seen = self.ended.setdefault(delivery.pk, (delivery.state, delivery.attempts))
            assert seen == (delivery.state, delivery.attempts)
            assert delivery.lease_until is None
            assert delivery.due_at is None

    @invariant()
    def every_try_is_written_once(self) -> None:
        """INVARIANTS S5: the tries of a delivery are counted, each with its fence."""
        for delivery in Delivery.objects.filter(workspace=self.world.workspace):
            numbers = list(DeliveryAttempt.objects.filter(delivery=delivery).values_list("number", flat=True))
            under_way = delivery.state == "SENDING" and delivery.unknown_since is None
            assert len(numbers) == delivery.attempts - under_way
            assert len(set(numbers)) == len(numbers)

    @invariant()
    def a_cancelled_delivery_is_not_called_for(self) -> None:
        """INVARIANTS C2."""
        for delivery in self.deliveries:
            if delivery.pk in self.calls_at_cancel:
                assert self._calls(delivery) == self.calls_at_cancel[delivery.pk]


def test_no_order_of_things_doubles_or_loses_a_delivery() -> None:
    assert connection.vendor == "postgresql"
    run_state_machine_as_test(
        Deliveries,
        settings=settings(
            max_examples=25,
            stateful_step_count=16,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
