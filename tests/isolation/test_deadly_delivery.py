"""A delivery whose bytes cannot be made without the worker dying of it: found, ended, and shown (RELIABILITY 9, 26)."""

from __future__ import annotations

import pytest

from automations.models import Delivery, DeliveryAttempt
from automations.worker import delivery_check, delivery_claim
from automations.worker.deliver import deliver_batch
from automations.worker.policy import LOST_LIMIT
from tests.worker.deliveries import World, expire_lease

pytestmark = pytest.mark.django_db(transaction=True)


def dies_before_its_bytes_are_stored(delivery: Delivery) -> None:
    """A worker claims it and is gone while it renders; its lease runs out."""
    assert [job.id for job in delivery_claim.claim(1).jobs] == [delivery.pk]
    expire_lease(delivery)


def test_three_workers_may_die_of_it_and_no_fourth() -> None:
    delivery = World().webhook("http://127.0.0.1:9/hook")
    for _ in range(LOST_LIMIT):
        dies_before_its_bytes_are_stored(delivery)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.error["code"]) == ("FAILED", "poison")
    assert "poison" in str(delivery.run.answer["outcome"])  # the run goes on by its error output, or ends
    assert DeliveryAttempt.objects.filter(delivery=delivery, outcome="lost").count() == LOST_LIMIT
    assert deliver_batch() == 0


def test_two_deaths_are_forgiven() -> None:
    delivery = World().webhook("http://127.0.0.1:9/hook")
    for _ in range(LOST_LIMIT - 1):
        dies_before_its_bytes_are_stored(delivery)
    assert [job.mode for job in delivery_claim.claim(1).jobs] == ["act"]


def test_without_the_limit_workers_would_die_of_it_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_check, "LOST_LIMIT", 10**6)
    delivery = World().webhook("http://127.0.0.1:9/hook")
    for _ in range(3 * LOST_LIMIT):
        dies_before_its_bytes_are_stored(delivery)
    delivery.refresh_from_db()
    assert delivery.state == "SENDING"


@pytest.mark.parametrize(("sha256", "mode"), [("", "act"), ("a" * 64, "recover")], ids=["prepared", "acted"])
def test_deaths_before_a_try_that_came_back_do_not_count(sha256: str, mode: str) -> None:
    """In a storm the workers that die by chance add up: a delivery that is tried again and again was given up as deadly (seed
    1823365496)."""
    delivery = World().webhook("http://127.0.0.1:9/hook")
    Delivery.objects.filter(pk=delivery.pk).update(attempts=3, fence=3, request_sha256=sha256)
    for number, outcome in enumerate(["lost", "lost", "failed"], start=1):
        DeliveryAttempt.objects.create(
            workspace_id=delivery.workspace_id, delivery=delivery, number=number, fence=number, outcome=outcome,
            request_sha256=sha256, at=delivery.created_at, started_at=delivery.created_at,
        )  # fmt: skip
    dies_before_its_bytes_are_stored(delivery)
    taken = delivery_claim.claim(1)
    assert ([job.mode for job in taken.jobs], taken.stopped) == ([mode], [])
