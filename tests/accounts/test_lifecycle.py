"""Identifying, merging, erasing (C-31, DESIGN 5.5, SUP-06)."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from accounts.actor import Actor
from accounts.announcements import Announcement
from accounts.errors import Refusal
from accounts.models import Consent, Contact, Customer, CustomerTag, StageEntry, Task, Workspace
from accounts.services.consent import record_consent, suppressed
from accounts.services.customers import count_pageviews
from accounts.services.erasure import PLACEHOLDER, _parts, erase_customer, export_customer, export_part
from accounts.services.lifecycle import identify_customer, merge_customers
from tests.factories import make_customer, make_stage_entry, make_task, make_visitor, owner_of


def code(refused: pytest.ExceptionInfo[Refusal]) -> str:
    return refused.value.code


def test_a_visitor_becomes_a_customer(workspace: Workspace, system: Actor, announced: list[Announcement]) -> None:
    # C-31, TRG-11
    visitor = make_visitor(workspace)
    customer = identify_customer(actor=system, customer_id=visitor.pk, fields={"email": "a@x.test", "name": "Ana"})
    assert (customer.pk, customer.email, customer.name) == (visitor.pk, "a@x.test", "Ana")
    assert customer.identified_at is not None
    assert [a.kind for a in announced] == ["customer.updated", "customer.identified", "customer.created"]


def test_a_visitor_with_a_known_address_is_merged(
    workspace: Workspace, system: Actor, customer: Customer, announced: list[Announcement]
) -> None:
    # DESIGN 5.5
    visitor = make_visitor(workspace)
    count_pageviews(workspace_id=workspace.pk, views={visitor.pk: 3, customer.pk: 2})
    answer = identify_customer(
        actor=system, customer_id=visitor.pk, fields={"email": "ANA@example.com", "country": "DE"}
    )
    assert (answer.pk, answer.country) == (customer.pk, "DE")
    customer.refresh_from_db()
    assert customer.facts["pageviewCount"] == 5
    told = [a for a in announced if a.kind == "customer.merged"]
    assert [(a.customer_id, a.data) for a in told] == [(visitor.pk, {"into": customer.pk})]
    assert "customer.created" not in [a.kind for a in announced], "that customer was announced before"


def test_an_identified_customer_is_never_merged_silently(
    workspace: Workspace, system: Actor, customer: Customer
) -> None:
    second = make_customer(workspace)
    with pytest.raises(Refusal) as refused:
        identify_customer(actor=system, customer_id=second.pk, fields={"email": customer.email})
    assert code(refused) == "customer_conflict"


def test_two_keys_of_two_customers_are_a_conflict(workspace: Workspace, system: Actor, customer: Customer) -> None:
    # CONTRACTS 7
    second, visitor = make_customer(workspace, external_id="B"), make_visitor(workspace)
    with pytest.raises(Refusal) as refused:
        identify_customer(actor=system, customer_id=visitor.pk, fields={"email": customer.email, "external_id": "B"})
    assert code(refused) == "customer_conflict"
    assert set(refused.value.details["customers"]) == {customer.public_id, second.public_id}


def test_identifying_needs_a_name(workspace: Workspace, system: Actor) -> None:
    with pytest.raises(Refusal) as refused:
        identify_customer(actor=system, customer_id=make_visitor(workspace).pk, fields={"name": "x"})
    assert code(refused) == "invalid"


def test_the_survivor_keeps_its_values_and_takes_what_it_lacks(workspace: Workspace, system: Actor) -> None:
    owner = owner_of(workspace).pk
    source = make_customer(
        workspace, name="Old", segment="smb", country="US", owner_id=owner, metadata={"a": "source", "b": "source"}
    )
    target = make_customer(workspace, name="New", country="DE", metadata={"a": "target"})
    survivor = merge_customers(actor=system, source_id=source.pk, into_id=target.pk)
    assert (survivor.pk, survivor.name, survivor.country, survivor.segment) == (target.pk, "New", "DE", "smb")
    assert survivor.metadata == {"a": "target", "b": "source"}
    assert survivor.owner_id == owner
    assert survivor.created_at == source.created_at
    source.refresh_from_db()
    assert source.merged_into_id == target.pk


def test_metadata_of_both_stays_within_the_limit(workspace: Workspace, system: Actor) -> None:
    # BIL-10
    source = make_customer(workspace, metadata={f"s{i}": "x" for i in range(30)})
    target = make_customer(workspace, metadata={f"t{i}": "x" for i in range(40)})
    survivor = merge_customers(actor=system, source_id=source.pk, into_id=target.pk)
    assert len(survivor.metadata) == 50
    assert all(f"t{i}" in survivor.metadata for i in range(40))


def test_what_belongs_to_the_source_moves(workspace: Workspace, system: Actor) -> None:
    source = make_customer(workspace, tags=["both", "source"], stage="TRIAL")
    target = make_customer(workspace, tags=["both"], stage="CUSTOMER")
    task = make_task(workspace, customer_id=source.pk)
    for role, email in (("payer", "p@x.test"), ("owner", "o@x.test")):
        Contact.objects.create(workspace=workspace, customer=source, role=role, email=email)
    Contact.objects.create(workspace=workspace, customer=target, role="payer", email="P@x.test")
    merge_customers(actor=system, source_id=source.pk, into_id=target.pk)
    tags = CustomerTag.objects.filter(customer=target).values_list("tag__slug", flat=True)
    assert sorted(tags) == ["both", "source"]
    assert not CustomerTag.objects.filter(customer=source).exists()
    task.refresh_from_db()
    assert task.customer_id == target.pk
    assert sorted(Contact.objects.filter(customer=target).values_list("role", flat=True)) == ["owner", "payer"]
    opened = StageEntry.objects.get(customer=target, left_at=None)
    assert opened.stage.slug == "CUSTOMER", "one open entry per customer and funnel: the survivor's"
    assert StageEntry.objects.filter(customer=target).count() == 2


def test_the_stricter_consent_holds(workspace: Workspace, system: Actor) -> None:
    # DESIGN 5.5
    source = make_customer(workspace, email="source@x.test")
    target = make_customer(workspace, email="target@x.test")
    record_consent(actor=system, address="source@x.test", state="unsubscribed")
    record_consent(actor=system, address="target@x.test", state="subscribed")
    record_consent(actor=system, address="target@x.test", state="unsubscribed", topic="news")
    merge_customers(actor=system, source_id=source.pk, into_id=target.pk)
    assert suppressed(workspace.pk, ["source@x.test", "target@x.test"]) == {"source@x.test", "target@x.test"}
    news = Consent.objects.filter(topic="news", state="unsubscribed").values_list("address", flat=True)
    assert sorted(news) == ["source@x.test", "target@x.test"]


def test_an_ended_record_takes_no_changes(workspace: Workspace, system: Actor) -> None:
    first, second, third = (make_customer(workspace) for _ in range(3))
    merge_customers(actor=system, source_id=first.pk, into_id=second.pk)
    for source, into in ((first, third), (third, first)):
        with pytest.raises(Refusal) as refused:
            merge_customers(actor=system, source_id=source.pk, into_id=into.pk)
        assert code(refused) == "wrong_state"
    with pytest.raises(Refusal) as refused:
        erase_customer(actor=system, customer_id=first.pk)
    assert code(refused) == "wrong_state"


def test_foreign_customers_cannot_be_merged_or_erased(other: Workspace, system: Actor, customer: Customer) -> None:
    # DESIGN 3
    foreign = make_customer(other)
    for act in (
        lambda: merge_customers(actor=system, source_id=customer.pk, into_id=foreign.pk),
        lambda: merge_customers(actor=system, source_id=foreign.pk, into_id=customer.pk),
        lambda: erase_customer(actor=system, customer_id=foreign.pk),
        lambda: export_customer(actor=system, customer_id=foreign.pk),
        lambda: identify_customer(actor=system, customer_id=foreign.pk, fields={"email": "a@x.test"}),
    ):
        with pytest.raises(Refusal) as refused:
            act()
        assert code(refused) == "not_found"


PERSONAL = ("Ana", "ana@example.com", "A-17", "secret-value", "vip", "Europe/Berlin", "payer@example.com")


def everything(workspace: Workspace) -> str:
    """All rows of accounts about a workspace, as text."""
    tables = ["customer", "contact", "customertag", "consent", "task", "audit", "stageentry"]
    with connection.cursor() as cursor:
        texts = []
        for table in tables:
            cursor.execute(f"select to_jsonb(t)::text from accounts_{table} t where workspace_id = %s", [workspace.pk])
            texts += [text for (text,) in cursor.fetchall()]
    return "\n".join(texts)


def test_erasing_leaves_nothing_personal(workspace: Workspace, system: Actor, announced: list[Announcement]) -> None:
    # SUP-06
    customer = make_customer(
        workspace,
        name="Ana Ruiz",
        email="ana@example.com",
        external_id="A-17",
        time_zone="Europe/Berlin",
        metadata={"k": "secret-value"},
        owner_id=owner_of(workspace).pk,
    )
    Contact.objects.create(workspace=workspace, customer=customer, role="payer", email="payer@example.com")
    make_task(workspace, customer_id=customer.pk, message="Call Ana about secret-value")
    record_consent(actor=system, address="ana@example.com", state="unsubscribed")
    record_consent(actor=system, address="payer@example.com", state="subscribed")
    make_stage_entry(customer, "TRIAL")
    announced.clear()
    erased = erase_customer(actor=system, customer_id=customer.pk, cause=5)
    assert erased.name == PLACEHOLDER
    assert erased.erased_at is not None
    left = everything(workspace)
    assert not [word for word in PERSONAL if word in left]
    assert StageEntry.objects.filter(customer=customer).count() == 1, "statistics remain"
    assert [(a.kind, a.customer_id, a.cause) for a in announced] == [("customer.erased", customer.pk, 5)]


def test_records_merged_into_it_are_erased_too(workspace: Workspace, system: Actor) -> None:
    # SUP-06
    first, second, third = (make_customer(workspace, name=f"Ana {i}") for i in range(3))
    merge_customers(actor=system, source_id=first.pk, into_id=second.pk)
    merge_customers(actor=system, source_id=second.pk, into_id=third.pk)
    erase_customer(actor=system, customer_id=third.pk)
    assert set(Customer.objects.values_list("name", "email")) == {(PLACEHOLDER, "")}


def test_erasing_twice_is_once(workspace: Workspace, system: Actor, announced: list[Announcement]) -> None:
    customer = make_customer(workspace)
    first = erase_customer(actor=system, customer_id=customer.pk).erased_at
    assert erase_customer(actor=system, customer_id=customer.pk).erased_at == first
    assert [a.kind for a in announced].count("customer.erased") == 1


def test_an_erased_address_stays_unsubscribed_and_unreadable(workspace: Workspace, system: Actor) -> None:
    # SUP-02, SUP-06
    customer = make_customer(workspace, email="Ana@example.com")
    record_consent(actor=system, address="ana@example.com", state="unsubscribed")
    erase_customer(actor=system, customer_id=customer.pk)
    assert suppressed(workspace.pk, ["ANA@example.com", "b@x.test"]) == {"ana@example.com"}
    assert not Consent.objects.filter(address__contains="@").exists()


def test_an_address_is_free_again_after_erasure(workspace: Workspace, system: Actor) -> None:
    customer = make_customer(workspace, email="ana@example.com", external_id="A")
    erase_customer(actor=system, customer_id=customer.pk)
    assert make_customer(workspace, email="ana@example.com", external_id="A").pk != customer.pk


def test_an_export_is_one_json_document(workspace: Workspace, system: Actor) -> None:
    # SUP-06
    customer = make_customer(workspace, email="ana@example.com", tags=["vip"], stage="TRIAL", metadata={"k": "v"})
    Contact.objects.create(workspace=workspace, customer=customer, role="payer", email="p@x.test")
    record_consent(actor=system, address="ana@example.com", state="subscribed")
    make_task(workspace, customer_id=customer.pk)
    export_part("test", lambda workspace_id, customer_id: [workspace_id, customer_id])
    try:
        document = json.loads(json.dumps(export_customer(actor=system, customer_id=customer.pk)))
    finally:
        _parts.pop("test")
    own = document["customer"]
    assert (own["email"], own["tags"], own["metadata"]) == ("ana@example.com", ["vip"], {"k": "v"})
    assert own["contacts"] == [{"role": "payer", "name": "", "email": "p@x.test"}]
    assert [len(own[part]) for part in ("consent", "stages", "tasks")] == [1, 1, 1]
    assert document["test"] == [workspace.pk, customer.pk], "upper apps add theirs"
    assert Task.objects.count() == 1
