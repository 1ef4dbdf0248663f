"""Money over which a worker was lost: its request may still arrive, sent by a process that slept (DESIGN 5.3; INVARIANTS M1; found by the
simulation, start value 7, a cut at point 62)."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts.models import Task
from automations.engine.outcomes import Done, Failed, Refused
from automations.models import Automation, Delivery, DeliveryAttempt
from automations.services.cancel import end_runs
from automations.worker import deliver, delivery_claim
from automations.worker.deliver import deliver_batch
from automations.worker.jobs import Job
from automations.worker.settle import settle_acts
from tests.worker.deliveries import World, expire_lease, pass_time
from tests.worker.provider import Provider, SettlingProvider, charge, provider, settling

__all__ = ["provider", "settling"]
pytestmark = pytest.mark.django_db(transaction=True)
BUSY = Failed("gateway_unreachable", "The provider is away.", temporary=True)


@pytest.fixture
def world() -> World:
    return World()


def asleep(delivery: Delivery) -> Job:
    """The job of a worker that sleeps with its request unsent, past its lease."""
    (job,) = deliver.take(1, None).jobs
    expire_lease(delivery)
    return job


def cancel(delivery: Delivery) -> None:
    with transaction.atomic():
        end_runs([delivery.run_id], reason="cancelled")


def state(delivery: Delivery) -> str:
    delivery.refresh_from_db()
    return delivery.state


@pytest.mark.parametrize("retries", [0, 3])
def test_a_later_try_that_fails_for_now_decides_nothing(settling: SettlingProvider, world: World, retries: int) -> None:
    run = world.run()
    delivery = world.delivery(charge(), settling.key, run, retries=retries, retry_delay=1)
    slow = asleep(delivery)
    settling.answers = [BUSY]
    assert deliver_batch(threads=1) == 1
    assert state(delivery) == "UNKNOWN"
    assert not any(isinstance(outcome, Failed) for outcome in settling.settled), "the charge was given up"
    deliver.act(slow)  # its request arrives now
    assert settle_acts([slow]) == 0
    pass_time(61)
    assert deliver_batch(threads=1) == 1
    run.refresh_from_db()
    assert (state(delivery), run.answer["outcome"]["output"]["result"]) == ("SENT", "paid")
    assert settling.settled[-1] == Done({"result": "paid", "reference": "ch_1"})
    outcomes = DeliveryAttempt.objects.filter(delivery=delivery).order_by("number")
    assert [row.outcome for row in outcomes] == ["lost", "unknown"]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(Failed("no_card", "There is no card."), "FAILED"), (Refused("paid", "It was paid."), "REFUSED")],
)
def test_an_answer_that_is_the_same_for_both_stands(
    settling: SettlingProvider, world: World, outcome: Failed | Refused, expected: str
) -> None:
    delivery = world.delivery(charge(), settling.key)
    asleep(delivery)
    settling.answers = [outcome]
    deliver_batch(threads=1)
    assert state(delivery) == expected


def test_what_the_provider_says_of_the_key_stands(provider: Provider, world: World) -> None:
    delivery = world.delivery(charge(), provider.key)
    asleep(delivery)
    provider.ledger[delivery.key] = BUSY
    deliver_batch(threads=1)
    assert (state(delivery), provider.calls) == ("FAILED", [])


def test_what_is_no_money_is_repeated_as_ever(provider: Provider, world: World) -> None:
    delivery = world.delivery(charge(), provider.key, retries=3, retry_delay=1, money=False)
    asleep(delivery)
    provider.answers = [BUSY]
    deliver_batch(threads=1)
    assert state(delivery) == "QUEUED"


@pytest.mark.parametrize("made", [True, False])
def test_of_a_run_cancelled_meanwhile_it_is_asked_for(provider: Provider, world: World, made: bool) -> None:
    """It is finished and shown, and not left to a person before the provider was asked."""
    delivery = world.delivery(charge(), provider.key)
    slow = asleep(delivery)
    if made:
        deliver.act(slow)
    cancel(delivery)
    deliver_batch(threads=1)
    assert state(delivery) == ("SENT" if made else "UNKNOWN")
    assert len(provider.calls) == made  # it was not begun for a run that is over
    assert not Task.objects.exists()


class TestHeld:
    @pytest.fixture
    def held(self, provider: Provider, world: World) -> Delivery:
        delivery = world.delivery(charge(), provider.key)
        self.slow = asleep(delivery)
        Automation.objects.filter(pk=world.automation.pk).update(hold_mark=delivery.run_id, state="PAUSED")
        assert deliver_batch(threads=1) == 0
        return delivery

    def test_it_is_not_cancelled_as_if_nobody_had_begun(self, provider: Provider, held: Delivery) -> None:
        deliver.act(self.slow)
        cancel(held)
        assert state(held) == "SENDING"
        expire_lease(held)
        deliver_batch(threads=1)
        assert state(held) == "SENT"

    def test_its_late_owner_may_still_say_what_it_came_to(self, held: Delivery) -> None:
        deliver.act(self.slow)
        assert settle_acts([self.slow]) == 1
        assert state(held) == "SENT"

    def test_it_is_looked_at_again_every_minute(self, provider: Provider, world: World, held: Delivery) -> None:
        assert delivery_claim.claim(8).put_off == 0  # not before its time
        Automation.objects.filter(pk=world.automation.pk).update(hold_mark=None, state="ACTIVE")
        expire_lease(held)
        assert deliver_batch(threads=1) == 1
        assert (state(held), provider.looks, len(provider.calls)) == ("SENT", 1, 1)


def test_money_that_was_taken_after_it_was_settled_otherwise_is_told_to_a_person(
    settling: SettlingProvider, world: World
) -> None:
    delivery = world.delivery(charge(), settling.key)
    slow = asleep(delivery)
    settling.answers = [Failed("no_card", "There is no card.")]
    deliver_batch(threads=1)
    slow.outcome = Done({"result": "paid"})
    assert settle_acts([slow]) == 0
    assert state(delivery) == "FAILED"
    task = Task.objects.get(workspace=world.workspace)
    assert delivery.key in task.message
    assert "after all" in task.message


def test_nobody_is_troubled_with_what_was_settled_alike(settling: SettlingProvider, world: World) -> None:
    delivery = world.delivery(charge(), settling.key)
    slow = asleep(delivery)
    deliver_batch(threads=1)
    slow.outcome = Done({"result": "paid"})
    assert settle_acts([slow]) == 0
    assert not Task.objects.exists()
