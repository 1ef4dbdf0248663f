"""Finding customers by address, external id or number, and making new ones (CONTRACTS 7)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from accounts.actor import Actor
from accounts.announcements import Announcement
from accounts.errors import Refusal
from accounts.models import Customer, Workspace
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from accounts.services.resolving import CustomerRef, resolve_customers
from tests.factories import make_customer, make_workspace


def one(workspace: Workspace, ref: CustomerRef, make: bool = True) -> int | str:
    answer = resolve_customers(workspace_id=workspace.pk, refs=[ref], make=make)[0]
    return answer.code if isinstance(answer, Refusal) else answer


def test_a_customer_is_found_in_every_way(workspace: Workspace) -> None:
    customer = make_customer(workspace, email="ana@example.com", external_id="A-1")
    for ref in (
        CustomerRef(id=customer.pk),
        CustomerRef(email="ANA@example.com"),
        CustomerRef(external_id="A-1"),
        CustomerRef(email="ana@example.com", external_id="A-1"),
        CustomerRef(email="new@x.test", external_id="A-1"),
    ):
        assert one(workspace, ref) == customer.pk, ref
    assert Customer.objects.count() == 1


def test_a_known_customer_is_never_changed(workspace: Workspace) -> None:
    # CONTRACTS 7
    customer = make_customer(workspace, email="ana@example.com", name="Ana", external_id="A-1")
    one(workspace, CustomerRef(email="other@x.test", external_id="A-1", fields={"name": "Other", "country": "DE"}))
    customer.refresh_from_db()
    assert (customer.name, customer.email, customer.country) == ("Ana", "ana@example.com", "")


def test_an_unknown_one_is_made_with_its_fields(workspace: Workspace, announced: list[Announcement]) -> None:
    # CONTRACTS 7, TRG-11
    fields = {"name": "Ana", "country": "de", "metadata": {"k": 1}}
    number = one(workspace, CustomerRef(email="Ana@x.test", external_id="A", fields=fields))
    customer = Customer.objects.get(pk=number)
    assert (customer.email, customer.external_id, customer.name) == ("Ana@x.test", "A", "Ana")
    assert (customer.country, customer.metadata) == ("DE", {"k": "1"})
    assert customer.identified_at is not None
    (told,) = announced
    assert (told.kind, told.customer_id) == ("customer.created", number)


def test_one_call_makes_a_person_once(workspace: Workspace) -> None:
    refs = [
        CustomerRef(email="a@x.test"),
        CustomerRef(email="A@X.TEST"),
        CustomerRef(external_id="N", email="a@x.test"),
    ]
    answers = resolve_customers(workspace_id=workspace.pk, refs=refs)
    assert len(set(map(str, answers))) == 1
    assert Customer.objects.count() == 1


def test_two_keys_of_two_customers_are_a_conflict(workspace: Workspace) -> None:
    # CONTRACTS 7
    make_customer(workspace, email="a@x.test")
    make_customer(workspace, external_id="B")
    assert one(workspace, CustomerRef(email="a@x.test", external_id="B")) == "customer_conflict"


def test_what_cannot_be_found_is_an_unknown_reference(workspace: Workspace, other: Workspace, system: Actor) -> None:
    # CONTRACTS 7
    foreign, erased = make_customer(other, email="f@x.test"), make_customer(workspace)
    erase_customer(actor=system, customer_id=erased.pk)
    for ref in (CustomerRef(id=foreign.pk), CustomerRef(id=erased.pk), CustomerRef(id=2**40), CustomerRef()):
        assert one(workspace, ref) == "unknown_reference"
    assert one(workspace, CustomerRef(email="f@x.test"), make=False) == "unknown_reference"
    assert one(workspace, CustomerRef(email="f@x.test")) != foreign.pk


@pytest.mark.parametrize("fields", [{"country": "Nowhere"}, {"metadata": {"k" * 41: ""}}, {"facts": {}}])
def test_bad_fields_are_refused_alone(workspace: Workspace, fields: dict[str, object]) -> None:
    refs = [CustomerRef(email="a@x.test", fields=fields), CustomerRef(email="b@x.test")]
    bad, fine = resolve_customers(workspace_id=workspace.pk, refs=refs)
    assert isinstance(bad, Refusal)
    assert bad.code == "invalid"
    assert Customer.objects.get().pk == fine


def test_a_merged_record_leads_to_the_survivor(workspace: Workspace, system: Actor) -> None:
    first, second, third = (make_customer(workspace, external_id=f"E{i}") for i in range(3))
    merge_customers(actor=system, source_id=first.pk, into_id=second.pk)
    merge_customers(actor=system, source_id=second.pk, into_id=third.pk)
    assert one(workspace, CustomerRef(id=first.pk)) == third.pk
    answers = resolve_customers(workspace_id=workspace.pk, refs=[CustomerRef(id=c.pk) for c in (third, second, first)])
    assert answers == [third.pk] * 3


def test_many_cost_as_many_statements_as_fewer(workspace: Workspace) -> None:
    # DESIGN 6: events 1,000 a request
    def cost(number: int) -> int:
        refs = [CustomerRef(email=f"{number}-{i}@x.test", external_id=f"{number}-{i}") for i in range(number)]
        with CaptureQueriesContext(connection) as captured:
            assert len(set(resolve_customers(workspace_id=workspace.pk, refs=refs))) == number
        return len(captured)

    assert cost(1) <= 8
    assert cost(50) == cost(150) <= 8
    assert cost(300) == cost(600) <= 13  # so many are announced by COPY, which takes a savepoint


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_a_person_once() -> None:
    workspace = make_workspace()
    refs = [CustomerRef(email=f"{i}@x.test", external_id=str(i)) for i in range(20)]

    def work(turn: int) -> tuple[object, ...]:
        try:
            order = refs if turn % 2 else refs[::-1]
            answers = resolve_customers(workspace_id=workspace.pk, refs=order)
            return tuple(answers if turn % 2 else answers[::-1])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(work, range(12)))
    assert len(answers) == 1
    assert Customer.objects.count() == 20
