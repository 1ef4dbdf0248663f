"""Tags (ACT-10)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from accounts.actor import Actor
from accounts.announcements import Announcement
from accounts.errors import Refusal
from accounts.models import Audit, Customer, CustomerTag, Tag, Workspace
from accounts.services.lifecycle import merge_customers
from accounts.services.tags import Tagged, TagRequest, add_tag, add_tags, remove_tag, tags_of
from tests.factories import actor_of, make_customer, make_workspace


def test_a_tag_added_twice_is_there_once(workspace: Workspace, customer: Customer) -> None:
    # ACT-10
    request = TagRequest(workspace.pk, customer.pk, "at-risk")
    assert add_tags([request]) == [Tagged("at-risk", True)]
    assert add_tags([request]) == [Tagged("at-risk", False)]
    assert CustomerTag.objects.count() == Tag.objects.count() == 1


def test_spellings_of_a_tag_are_one(workspace: Workspace, customer: Customer) -> None:
    # ACT-10: the slug is made once
    answers = add_tags([TagRequest(workspace.pk, customer.pk, name) for name in ("At Risk", "at risk!", "AT-RISK")])
    assert answers == [Tagged("at-risk", True), Tagged("at-risk", False), Tagged("at-risk", False)]
    assert [tag.slug for tag in Tag.objects.all()] == ["at-risk"]


def test_only_what_is_new_is_announced(workspace: Workspace, customer: Customer, announced: list[Announcement]) -> None:
    request = TagRequest(workspace.pk, customer.pk, "vip", cause=8)
    add_tags([request, request])
    (told,) = announced
    assert (told.kind, told.customer_id, told.data, told.cause) == ("tag.added", customer.pk, {"tag": "vip"}, 8)
    add_tags([request])
    assert len(announced) == 1


def test_one_bad_request_does_not_hinder_the_others(workspace: Workspace, other: Workspace, customer: Customer) -> None:
    foreign, gone = make_customer(other), make_customer(workspace)
    merge_customers(actor=actor_of(workspace), source_id=gone.pk, into_id=customer.pk)
    requests = [
        TagRequest(workspace.pk, foreign.pk, "stolen"),
        TagRequest(workspace.pk, customer.pk, "fine"),
        TagRequest(workspace.pk, customer.pk, "!!!"),
        TagRequest(workspace.pk, customer.pk, "x" * 61),
        TagRequest(workspace.pk, gone.pk, "late"),
        TagRequest(other.pk, foreign.pk, "theirs"),
    ]
    codes = [answer.code if isinstance(answer, Refusal) else answer.slug for answer in add_tags(requests)]
    assert codes == ["not_found", "fine", "invalid", "invalid", "wrong_state", "theirs"]
    assert tags_of([customer.pk, foreign.pk]) == {customer.pk: ["fine"], foreign.pk: ["theirs"]}


def test_many_tags_cost_a_fixed_number_of_statements(workspace: Workspace) -> None:
    def cost(number: int) -> int:
        requests = [
            TagRequest(workspace.pk, make_customer(workspace).pk, f"tag {number} {i % 7}") for i in range(number)
        ]
        with CaptureQueriesContext(connection) as captured:
            assert all(isinstance(answer, Tagged) and answer.added for answer in add_tags(requests))
        return len(captured)

    assert cost(1) == cost(60)


def test_nothing_asked_is_nothing_done(db: None) -> None:
    assert add_tags([]) == []


def test_a_tag_taken_away_is_announced_once(actor: Actor, customer: Customer, announced: list[Announcement]) -> None:
    add_tag(actor=actor, customer_id=customer.pk, tag="vip")
    assert remove_tag(actor=actor, customer_id=customer.pk, tag="VIP") is True
    assert remove_tag(actor=actor, customer_id=customer.pk, tag="VIP") is False
    assert [a.kind for a in announced if a.kind.startswith("tag")] == ["tag.added", "tag.removed"]
    actions = Audit.objects.filter(object=customer.public_id).order_by("id").values_list("action", flat=True)
    assert list(actions)[-2:] == ["customer.tag", "customer.untag"]


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one_tag_and_no_deadlock() -> None:
    # DESIGN 5.2, lock order: by id, whatever the order of the requests
    workspace = make_workspace()
    customers = [make_customer(workspace).pk for _ in range(6)]
    tags = ["one", "two", "three"]
    requests = [TagRequest(workspace.pk, customer, tag) for customer in customers for tag in tags]

    def work(turn: int) -> int:
        try:
            order = requests if turn % 2 else requests[::-1]
            return sum(isinstance(answer, Tagged) and answer.added for answer in add_tags(order))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        added = sum(pool.map(work, range(12)))
    assert added == len(requests) == CustomerTag.objects.count()
    assert Tag.objects.count() == 3
