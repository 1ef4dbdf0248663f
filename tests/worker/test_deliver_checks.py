"""What is looked at again before a delivery is sent (SUP-07, SUP-09, LIM-07, INVARIANTS C1 to C3, RELIABILITY 21, 22)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.actor import system_actor
from accounts.models import Consent, Customer
from accounts.services.consent import record_consent
from accounts.services.erasure import erase_customer
from automations.models import Automation, Delivery, Run
from automations.services.cancel import end_runs
from automations.services.inflight import follow_all
from automations.services.pause import pause_automation, resume_automation
from automations.worker import delivery_claim
from automations.worker.deliver import deliver_batch
from tests.worker.deliveries import World, pass_time
from tests.worker.provider import Provider, charge, provider
from tests.worker.smtp_peer import MailServer

__all__ = ["provider"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    with MailServer() as server:
        settings.ONWARD_SMTP_URL = server.url
        settings.ONWARD_STARTTLS = "auto"
        yield server


def unsubscribe(world: World, address: str | None = None) -> None:
    record_consent(
        actor=system_actor(world.workspace.pk),
        address=address or world.customer.email,
        state="unsubscribed",
        reason="link",
    )


def test_a_mail_queued_before_the_unsubscribe_is_not_sent(mail: MailServer) -> None:  # SUP-07
    world = World()
    delivery = world.mail()
    unsubscribe(world)
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.due_at, mail.peer.messages) == ("SUPPRESSED", None, [])
    assert delivery.sending_at is None


def test_consent_is_asked_for_the_address_whatever_its_case(mail: MailServer) -> None:  # SUP-04: per address
    world = World()
    other = world.mail(to="Payer@Example.com")
    own = world.mail()
    unsubscribe(world, "payer@example.com")
    deliver_batch()
    other.refresh_from_db()
    own.refresh_from_db()
    assert (other.state, own.state) == ("SUPPRESSED", "SENT")


def test_unsubscribing_counts_for_one_workspace(mail: MailServer) -> None:  # SUP-03
    here, there = World(), World()
    unsubscribe(here)
    delivery = there.mail(to=here.customer.email)
    deliver_batch()
    delivery.refresh_from_db()
    assert delivery.state == "SENT"


def test_team_mail_and_calls_need_no_consent(mail: MailServer, provider: Provider) -> None:  # SUP-02, C-15
    world = World()
    unsubscribe(world)
    team = world.mail(customer_mail=False)
    call = world.delivery(charge(), provider.key)
    assert deliver_batch() == 2
    assert {Delivery.objects.get(pk=item.pk).state for item in (team, call)} == {"SENT"}


def test_a_waiting_run_hears_that_its_mail_was_suppressed(mail: MailServer) -> None:  # C-45: a result, no error
    world = World()
    run = world.run()
    world.mail(run, waits=True, to="payer@example.com")  # not the address that ends runs
    unsubscribe(world, "payer@example.com")
    deliver_batch()
    run.refresh_from_db()
    assert (run.parked_on, run.answer["outcome"]["kind"]) == (None, "suppressed")


def test_a_plan_without_mail_skips_customer_mail_only(mail: MailServer) -> None:  # LIM-07
    world = World()
    world.workspace.plan = "FREE"
    world.workspace.save()
    customer, team = world.mail(), world.mail(customer_mail=False)
    deliver_batch()
    customer.refresh_from_db()
    team.refresh_from_db()
    assert (customer.state, customer.error["code"], team.state) == ("SKIPPED", "plan", "SENT")


def test_a_cancelled_run_sends_nothing(mail: MailServer) -> None:  # INVARIANTS C2
    world = World()
    run = world.run()
    delivery = world.mail(run)
    Run.objects.filter(pk=run.pk).update(
        status="CANCELLED", end_reason="cancelled", ended_at=run.started_at, parked_on=None, due_at=None
    )
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, mail.peer.messages) == ("CANCELLED", [])


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_deliveries_of_an_ended_run_are_still_made(mail: MailServer, status: str) -> None:  # DESIGN 5.3
    world = World()
    run = world.run()
    delivery = world.mail(run)
    Run.objects.filter(pk=run.pk).update(status=status, end_reason="completed", ended_at=run.started_at, parked_on=None)
    deliver_batch()
    delivery.refresh_from_db()
    assert delivery.state == "SENT"


def test_a_cancel_mark_is_obeyed_before_the_rows_follow(mail: MailServer) -> None:  # DESIGN 5.5
    world = World()
    old, new = world.run(), world.run()
    first, second = world.mail(old), world.mail(new)
    Automation.objects.filter(pk=world.automation.pk).update(cancel_mark=old.pk, cancel_reason="cancelled_on_pause")
    deliver_batch()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("CANCELLED", "SENT")


def test_a_held_delivery_waits_and_goes_on_after_the_resume(mail: MailServer) -> None:  # INVARIANTS C3, PAU-10
    world = World()
    run = world.run()
    delivery = world.mail(run)
    actor = system_actor(world.workspace.pk)
    with transaction.atomic():
        Automation.objects.filter(pk=world.automation.pk).update(
            hold_mark=run.pk, state="PAUSED", in_flight="hold", paused_at=run.started_at, sweep=True
        )
    assert deliver_batch() == 0  # the mark alone holds it, before any row follows
    delivery.refresh_from_db()
    assert (delivery.state, delivery.due_at, mail.peer.messages) == ("QUEUED", None, [])
    resume_automation(actor=actor, automation_id=world.automation.pk, held="continue")
    follow_all(world.automation.pk)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    assert delivery.state == "SENT"


def test_an_erased_person_gets_nothing(mail: MailServer) -> None:  # SUP-06
    world = World()
    delivery = world.mail()
    erase_customer(actor=system_actor(world.workspace.pk), customer_id=world.customer.pk)
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, mail.peer.messages) == ("CANCELLED", [])


def test_an_address_erased_after_its_unsubscribe_stays_silent(mail: MailServer) -> None:
    world = World()
    address = world.customer.email
    unsubscribe(world)
    erase_customer(actor=system_actor(world.workspace.pk), customer_id=world.customer.pk)
    delivery = World(workspace=world.workspace).mail(to=address)
    deliver_batch()
    delivery.refresh_from_db()
    assert delivery.state == "SUPPRESSED"


def test_what_somebody_else_holds_is_left_for_the_next_time(
    mail: MailServer,
) -> None:  # DESIGN 5.2: claims wait for nobody
    world = World()
    delivery = world.mail()
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Customer.objects.select_for_update().get(pk=world.customer.pk)
            taken.set()
            release.wait(10)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert taken.wait(10)
        assert deliver_batch() == 0
        delivery.refresh_from_db()
        assert delivery.state == "QUEUED"
    finally:
        release.set()
        thread.join()
    assert deliver_batch() == 1


def _race(left: Any, right: Any) -> None:
    """Both at once, each after a random moment; what either raises is raised here."""
    barrier, errors = threading.Barrier(2), []

    def run(work: Any) -> None:
        try:
            barrier.wait()
            time.sleep(random.random() * 0.004)
            work()
        except Exception as error:  # handed to the test
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in (left, right)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


ROUNDS = 40


def test_unsubscribe_against_claim_never_sends_after_it() -> None:  # INVARIANTS C1, RELIABILITY 22
    sent = 0
    workspace = World().workspace
    for _round in range(ROUNDS):
        world = World(workspace=workspace)
        delivery = world.mail()
        _race(lambda world=world: unsubscribe(world), lambda: delivery_claim.claim(5))
        delivery.refresh_from_db()
        at = Consent.objects.get(workspace=world.workspace, address=world.customer.email).at
        if delivery.state == "SENDING":
            assert delivery.sending_at < at
            sent += 1
        else:
            assert delivery.sending_at is None
    assert 0 <= sent <= ROUNDS


def test_cancel_against_claim_is_one_or_the_other() -> None:  # INVARIANTS C2, RELIABILITY 21
    world = World()
    states = set()
    for _round in range(ROUNDS):
        run = world.run()
        delivery = world.mail(run)

        def cancel(run_id: int = run.pk) -> None:
            with transaction.atomic():
                end_runs([run_id], reason="cancelled")

        _race(cancel, lambda: delivery_claim.claim(5))
        if Delivery.objects.get(pk=delivery.pk).state == "QUEUED":
            delivery_claim.claim(5)
        delivery.refresh_from_db()
        run.refresh_from_db()
        assert run.status == "CANCELLED"
        assert delivery.state in ("SENDING", "CANCELLED", "QUEUED")
        states.add(delivery.state)
        if delivery.state == "QUEUED":  # set aside by the claim; the batch would write it down
            deliver_batch(threads=1)
            delivery.refresh_from_db()
            assert delivery.state == "CANCELLED"
    assert "CANCELLED" in states or "SENDING" in states


def test_pause_with_cancel_against_claim(provider: Provider) -> None:  # RELIABILITY 21
    for _round in range(10):
        world = World()
        delivery = world.delivery(charge(), provider.key)
        actor = system_actor(world.workspace.pk)

        def pause(world: World = world, actor: Any = actor) -> None:
            pause_automation(actor=actor, automation_id=world.automation.pk, in_flight="cancel")

        _race(pause, lambda: delivery_claim.claim(5))
        before = len(provider.calls)
        deliver_batch(threads=1)
        delivery.refresh_from_db()
        assert delivery.state in ("SENDING", "CANCELLED")
        assert len(provider.calls) == before  # nothing starts once the pause has committed
        pass_time(0)
