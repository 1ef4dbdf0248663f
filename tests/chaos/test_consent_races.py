"""Unsubscribing an address that is not the customer's own against the claim of a mail to it (SUP-07, SUP-09, C1; RELIABILITY 22).

The customer's row is no help there: the run belongs to somebody else, or to nobody. As in `races`, every race is run a second
time with its protection taken away and must then fail.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from django.db import transaction

from accounts.actor import system_actor
from accounts.models import Consent
from accounts.services import consent
from accounts.services.consent import record_consent
from accounts.services.lifecycle import merge_customers
from automations.doctor.run import examine
from automations.models import Delivery
from automations.worker import delivery_check
from automations.worker.deliver import deliver_batch
from tests.chaos.blocking import until_blocked
from tests.chaos.peers import Mailbox
from tests.chaos.races import asked
from tests.factories import make_customer
from tests.worker.deliveries import World
from tests.worker.racing import Racer

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = asked.rounds(9)  # three of each order; more by `python -m tests.chaos.races --all`
FEW = 6


@pytest.fixture(autouse=True)
def peers_may_be_reached(settings: Any) -> None:
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)


@pytest.fixture
def world(db: None) -> World:
    return World()


def unsubscribe(world: World, address: str) -> None:
    record_consent(actor=system_actor(world.workspace.pk), address=address, state="unsubscribed")


class TestForeignAddress:
    """Somebody leaves to whom a run of another customer writes."""

    def race(self, world: World, rounds: int, settings: Any, monkeypatch: Any) -> tuple[list[str], int]:
        """The states of the mails, in the order of the rounds, and how many arrived."""
        with Mailbox(random.Random(1)) as mailbox:
            settings.ONWARD_SMTP_URL = mailbox.url
            states = []
            for number in range(rounds):
                address = f"Payer{number}@example.com"
                order = (self.queued_late, self.claimed_first, self.claimed_again)[number % 3]
                states.append(order(world, address, monkeypatch))
            return states, mailbox.record.acts.total()

    def queued_late(self, world: World, address: str, monkeypatch: Any) -> str:
        """The mail is queued and claimed when the consent is written and not yet committed."""
        with transaction.atomic():
            unsubscribe(world, address)
            made = Racer(lambda: world.mail(to=address)).result()
            Racer(lambda: deliver_batch(threads=1)).result()
        deliver_batch(threads=1)
        return self.state(made)

    def claimed_first(self, world: World, address: str, monkeypatch: Any) -> str:
        """A claim has read that nobody objects; before it commits, somebody does."""
        return self.slow_claim(world, world.mail(to=address), monkeypatch)

    def claimed_again(self, world: World, address: str, monkeypatch: Any) -> str:
        """The same with a mail whose first worker died before it had any bytes: it is claimed anew, and is not QUEUED."""
        made = world.mail(to=address, attempts=1, fence=1)
        long_ago = made.created_at.replace(year=2020)
        Delivery.objects.filter(pk=made.pk).update(state="SENDING", lease_until=long_ago, sending_at=long_ago)
        return self.slow_claim(world, made, monkeypatch)

    def slow_claim(self, world: World, made: Delivery, monkeypatch: Any) -> str:
        asked, go = threading.Event(), threading.Event()
        read = delivery_check.silenced

        def slow(*about: Any) -> Any:
            answer = read(*about)
            asked.set()
            assert go.wait(20)
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(delivery_check, "silenced", slow)
            sender = Racer(lambda: deliver_batch(threads=1, limit=1))
            assert asked.wait(20)
        leaver = Racer(lambda: unsubscribe(world, made.to))
        until_blocked(leaver)
        go.set()
        sender.result()
        leaver.result()
        return self.state(made)

    def state(self, made: Delivery) -> str:
        return Delivery.objects.get(pk=made.pk).state

    def test_nobody_is_mailed_who_left_before(self, world: World, settings: Any, monkeypatch: Any) -> None:
        states, mails = self.race(world, ROUNDS, settings, monkeypatch)
        assert set(states[::3]) == {"SUPPRESSED"}
        assert set(states[1::3] + states[2::3]) == {"SENT"}, "claimed before the consent: it comes after"
        assert mails == len(states[1::3] + states[2::3])
        assert [finding.as_json() for finding in examine(only=["C1"])] == []

    def test_without_the_addresses_lock_they_are(self, world: World, settings: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(consent, "lock_addresses", lambda workspace, addresses: None)
        states, mails = self.race(world, FEW, settings, monkeypatch)
        assert (set(states), mails) == ({"SENT"}, FEW)
        assert sum(len(finding.rows) for finding in examine(only=["C1"])) == FEW


def test_a_merge_that_silences_an_address_comes_before_the_claim_or_after_it(world: World, settings: Any) -> None:
    """Of two consents the stricter holds: the survivor's address is silenced by the merge (DESIGN 5.5)."""
    with Mailbox(random.Random(1)) as mailbox:
        settings.ONWARD_SMTP_URL = mailbox.url
        left, stays = make_customer(world.workspace), make_customer(world.workspace)
        unsubscribe(world, left.email)
        made = world.mail(to=stays.email)  # by a run of a third person
        with transaction.atomic():
            merge_customers(actor=system_actor(world.workspace.pk), source_id=left.pk, into_id=stays.pk)
            Racer(lambda: deliver_batch(threads=1)).result()
        assert Delivery.objects.get(pk=made.pk).state == "QUEUED"
        deliver_batch(threads=1)
        assert (Delivery.objects.get(pk=made.pk).state, mailbox.record.acts.total()) == ("SUPPRESSED", 0)
    assert Consent.objects.get(address=stays.email.lower()).reason == "merge"
    assert examine(only=["C1"]) == []


def test_who_decides_about_other_addresses_keeps_nobody_waiting(world: World, settings: Any) -> None:
    with Mailbox(random.Random(1)) as mailbox:
        settings.ONWARD_SMTP_URL = mailbox.url
        made = world.mail(to="one@example.com")
        other = World()
        with transaction.atomic():
            unsubscribe(world, "two@example.com")
            unsubscribe(other, "one@example.com")  # the same address in another workspace
            Racer(lambda: deliver_batch(threads=1)).result()
            assert Racer(lambda: Delivery.objects.get(pk=made.pk).state).result() == "SENT"
        assert mailbox.record.acts.total() == 1
