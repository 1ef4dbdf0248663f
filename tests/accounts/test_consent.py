"""Consent (SUP-01 to SUP-10): by address, for the whole workspace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connections, transaction

from accounts.actor import Actor, system_actor
from accounts.announcements import Announcement
from accounts.errors import Refusal
from accounts.models import Consent, Contact, Customer, Workspace
from accounts.services.consent import record_consent, suppressed
from accounts.services.erasure import erase_customer
from tests.factories import make_customer, make_workspace


def test_an_unsubscribed_address_is_suppressed(workspace: Workspace, system: Actor, customer: Customer) -> None:
    # SUP-02, in any spelling
    assert record_consent(actor=system, address="Ana@Example.com", state="unsubscribed", reason="link")
    assert suppressed(workspace.pk, ["ana@example.com", "b@x.test", ""]) == {"ana@example.com"}
    assert suppressed(workspace.pk, [" ANA@EXAMPLE.COM "]) == {"ana@example.com"}
    assert suppressed(workspace.pk, []) == set()


def test_another_workspace_still_sends(other: Workspace, system: Actor, customer: Customer) -> None:
    # SUP-03
    record_consent(actor=system, address=customer.email, state="unsubscribed")
    assert suppressed(other.pk, [customer.email]) == set()


def test_a_topic_stops_only_itself_and_everything_stops_all(workspace: Workspace, system: Actor) -> None:
    record_consent(actor=system, address="a@x.test", state="unsubscribed", topic="news")
    record_consent(actor=system, address="b@x.test", state="unsubscribed")
    both = ["a@x.test", "b@x.test"]
    assert suppressed(workspace.pk, both) == {"b@x.test"}
    assert suppressed(workspace.pk, both, topic="news") == {"a@x.test", "b@x.test"}
    assert suppressed(workspace.pk, both, topic="tips") == {"b@x.test"}


def test_resubscribing_is_an_act_of_its_own(workspace: Workspace, system: Actor, customer: Customer) -> None:
    # SUP-10
    record_consent(actor=system, address=customer.email, state="unsubscribed")
    record_consent(actor=system, address=customer.email, state="subscribed")
    assert suppressed(workspace.pk, [customer.email]) == set()
    assert Consent.objects.count() == 1


def test_subscribing_again_counts_also_after_an_erasure(workspace: Workspace, system: Actor) -> None:
    # SUP-10
    customer = make_customer(workspace, email="ana@x.test")
    record_consent(actor=system, address="ana@x.test", state="unsubscribed")
    erase_customer(actor=system, customer_id=customer.pk)
    again = make_customer(workspace, email="ana@x.test")
    assert suppressed(workspace.pk, [again.email]) == {"ana@x.test"}
    assert record_consent(actor=system, address="ana@x.test", state="subscribed")
    assert suppressed(workspace.pk, [again.email]) == set()


def test_a_change_is_announced_once_with_what_it_means(
    system: Actor, customer: Customer, announced: list[Announcement]
) -> None:
    # SUP-04: runs are cancelled when the customer's main address unsubscribes
    for _ in range(2):
        record_consent(actor=system, address="ANA@example.com", state="unsubscribed", reason="one_click", cause=3)
    (told,) = announced
    assert (told.kind, told.customer_id, told.cause) == ("consent.changed", customer.pk, 3)
    assert told.data == {
        "address": "ana@example.com",
        "topic": "",
        "state": "unsubscribed",
        "reason": "one_click",
        "main": True,
    }


def test_a_contacts_address_is_not_the_main_one(
    workspace: Workspace, system: Actor, customer: Customer, announced: list[Announcement]
) -> None:
    # SUP-04
    Contact.objects.create(workspace=workspace, customer=customer, role="payer", email="Payer@example.com")
    record_consent(actor=system, address="payer@example.com", state="unsubscribed")
    assert (announced[0].customer_id, announced[0].data["main"]) == (customer.pk, False)


def test_an_address_of_nobody_is_remembered(workspace: Workspace, system: Actor, announced: list[Announcement]) -> None:
    record_consent(actor=system, address="nobody@x.test", state="unsubscribed")
    assert (announced[0].customer_id, announced[0].data["main"]) == (None, False)
    make_customer(workspace, email="nobody@x.test")
    assert suppressed(workspace.pk, ["nobody@x.test"]) == {"nobody@x.test"}


def test_a_foreign_customer_is_refused(other: Workspace, system: Actor) -> None:
    foreign = make_customer(other)
    with pytest.raises(Refusal) as refused:
        record_consent(actor=system, address=foreign.email, state="unsubscribed", customer_id=foreign.pk)
    assert refused.value.code == "unknown_reference"


@pytest.mark.parametrize(
    ("address", "state"), [("", "unsubscribed"), ("no address", "unsubscribed"), ("a@x.test", "perhaps")]
)
def test_what_cannot_be_is_refused(system: Actor, address: str, state: str) -> None:
    with pytest.raises(Refusal) as refused:
        record_consent(actor=system, address=address, state=state)
    assert refused.value.code == "invalid"


@pytest.mark.parametrize("breach", [{"address": "UPPER@x.test"}, {"state": "perhaps"}])
def test_the_database_keeps_the_form(workspace: Workspace, system: Actor, breach: dict[str, str]) -> None:
    record_consent(actor=system, address="a@x.test", state="unsubscribed")
    with pytest.raises(IntegrityError), transaction.atomic():
        Consent.objects.update(**breach)


@pytest.mark.django_db(transaction=True)
def test_many_clicks_at_once_are_one_change() -> None:
    workspace = make_workspace()
    customer = make_customer(workspace)

    def click(turn: int) -> bool:
        try:
            return record_consent(actor=system_actor(workspace.pk), address=customer.email, state="unsubscribed")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(click, range(12))) == 1


@pytest.mark.django_db(transaction=True)
def test_the_moment_is_taken_under_the_lock() -> None:
    # INVARIANTS: times are the database's, taken while holding the row lock
    workspace = make_workspace()
    customer = make_customer(workspace)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        locked = Customer.objects.select_for_update().get(pk=customer.pk)

        def click() -> None:
            try:
                record_consent(actor=system_actor(workspace.pk), address=customer.email, state="unsubscribed")
            finally:
                connections.close_all()

        clicked = pool.submit(click)
        with pytest.raises(TimeoutError):
            clicked.result(timeout=0.3)
        from accounts.clock import real_now

        released = real_now()
        locked.save(update_fields=["name"])
        transaction.on_commit(lambda: clicked.result(timeout=30))
    assert Consent.objects.get().at > released
