"""The loss of a worker over a delivery is known to whoever takes the delivery from its late owner, and to nobody before: what the owner
says of it counts for as long (DESIGN 5.3; INVARIANTS S3, O3; RELIABILITY 3)."""

from __future__ import annotations

import pytest

from accounts.clock import evaluation_now
from automations.engine.outcomes import Done
from automations.models import Automation, Delivery, DeliveryAttempt, Run
from automations.worker import deliver, delivery_claim
from automations.worker.jobs import Job
from automations.worker.settle import settle_acts, settle_stopped
from tests.worker.deliveries import World, expire_lease

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world() -> World:
    delivery_claim._workspaces.forget()
    delivery_claim._Turn.suspects_first = True
    return World()


def left(world: World) -> tuple[Delivery, Job]:
    """A mail whose bytes are stored, with a worker that let its lease run out; it may have been handed over."""
    mail = world.mail()
    (job,) = deliver.take(1, None).jobs
    expire_lease(mail)
    delivery_claim._workspaces.forget()
    return mail, job


def losses(mail: Delivery) -> int:
    return DeliveryAttempt.objects.filter(delivery=mail, outcome="lost").count()


def cancel(mail: Delivery) -> None:
    Run.objects.filter(pk=mail.run_id).update(
        status="CANCELLED", parked_on=None, due_at=None, ended_at=evaluation_now(), end_reason="cancelled"
    )


def test_it_survives_a_hold(world: World) -> None:
    """Else the mail would go out a second time when the hold ends, as if nobody had begun to send it."""
    mail, _ = left(world)
    held = Automation.objects.filter(pk=world.automation.pk)
    held.update(hold_mark=mail.run_id, state="PAUSED")
    assert delivery_claim.claim(8).put_off == 1
    mail.refresh_from_db()
    assert (mail.state, losses(mail)) == ("SENDING", 0)
    held.update(hold_mark=None, state="ACTIVE")
    expire_lease(mail)
    delivery_claim._workspaces.forget()
    claimed = delivery_claim.claim(8)
    assert (claimed.jobs, [item.state for item in claimed.stopped]) == ([], ["REVIEW"])
    assert settle_stopped(claimed.stopped) == 1
    assert losses(mail) == 1


def test_a_late_owner_is_faster_than_a_stop(world: World) -> None:
    mail, job = left(world)
    cancel(mail)
    claimed = delivery_claim.claim(8)
    job.outcome = Done({"reference": "it was sent"})
    assert settle_acts([job]) == 1
    assert settle_stopped(claimed.stopped) == 0
    mail.refresh_from_db()
    assert (mail.state, losses(mail)) == ("SENT", 0)


def test_a_stop_is_faster_than_a_late_owner(world: World) -> None:
    mail, job = left(world)
    cancel(mail)
    assert settle_stopped(delivery_claim.claim(8).stopped) == 1
    job.outcome = Done({"reference": "it was sent"})
    assert settle_acts([job]) == 0
    mail.refresh_from_db()
    assert (mail.state, losses(mail)) == ("REVIEW", 1)
