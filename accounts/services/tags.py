"""Tags (ACT-10): a slug made once, a customer has it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from accounts import audit
from accounts.actor import Actor
from accounts.announcements import Announcement, announce_many
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Customer, CustomerTag, Tag
from accounts.services.fields import clean_slug
from accounts.services.locking import ended, lock_customer, lock_customers

ADD = """
insert into accounts_customertag (workspace_id, customer_id, tag_id, created_at)
select t.workspace_id, v.customer_id, t.id, now() from unnest(%s::bigint[], %s::bigint[], %s::text[])
    v (workspace_id, customer_id, slug)
join accounts_tag t on t.workspace_id = v.workspace_id and t.slug = v.slug
order by v.customer_id, t.id on conflict (customer_id, tag_id) do nothing
returning customer_id, (select slug from accounts_tag where id = tag_id)
"""


@dataclass(frozen=True, slots=True)
class TagRequest:
    """One tag for one customer; `tag` may be a name, its slug counts."""

    workspace_id: int
    customer_id: int
    tag: str
    cause: int | None = None


@dataclass(frozen=True, slots=True)
class Tagged:
    """The answer: the slug, and whether the customer got it now (False: had it already)."""

    slug: str
    added: bool


def add_tags(requests: Sequence[TagRequest]) -> list[Tagged | Refusal]:
    """Add many tags in three statements. Answers in the order of the requests; one bad request does not hinder the
    others."""
    with transaction.atomic():
        customers = lock_customers({request.customer_id for request in requests})
        checked = [_check(request, customers.get(request.customer_id)) for request in requests]
        good = [(r, slug) for r, slug in zip(requests, checked, strict=True) if isinstance(slug, str)]
        fresh = _insert(good)
        told = []
        answers: list[Tagged | Refusal] = []
        for request, slug in zip(requests, checked, strict=True):
            if isinstance(slug, Refusal):
                answers.append(slug)
                continue
            added = (request.customer_id, slug) in fresh
            fresh.discard((request.customer_id, slug))
            answers.append(Tagged(slug, added))
            if added:
                told.append(_told("tag.added", request, slug))
        announce_many(told)
    return answers


def _check(request: TagRequest, customer: Customer | None) -> str | Refusal:
    if customer is None or customer.workspace_id != request.workspace_id:
        return not_found("customer", public_id("cus", request.customer_id))
    try:
        return ended(customer) or clean_slug(request.tag, "tag")
    except Refusal as refusal:
        return refusal


def _told(kind: str, request: TagRequest, slug: str) -> Announcement:
    return Announcement(kind, request.workspace_id, request.customer_id, {"tag": slug}, request.cause)


def _insert(good: Sequence[tuple[TagRequest, str]]) -> set[tuple[int, str]]:
    if not good:
        return set()
    names = sorted({(request.workspace_id, slug) for request, slug in good})
    Tag.objects.bulk_create([Tag(workspace_id=id, slug=slug) for id, slug in names], ignore_conflicts=True)
    columns: list[Any] = [
        [r.workspace_id for r, _ in good],
        [r.customer_id for r, _ in good],
        [slug for _, slug in good],
    ]
    with connection.cursor() as cursor:
        cursor.execute(ADD, columns)
        return set(cursor.fetchall())


def add_tag(*, actor: Actor, customer_id: int, tag: str) -> Tagged:
    """Add one tag for a person or a program."""
    actor.require("customers")
    with transaction.atomic():
        answer = add_tags([TagRequest(actor.workspace_id, customer_id, tag)])[0]
        if isinstance(answer, Refusal):
            raise answer
        if answer.added:
            audit.record(actor, "customer.tag", public_id("cus", customer_id), after={"tag": answer.slug})
    return answer


def remove_tag(*, actor: Actor, customer_id: int, tag: str, cause: int | None = None) -> bool:
    """Take a tag away; False when the customer did not have it."""
    actor.require("customers")
    request = TagRequest(actor.workspace_id, customer_id, tag, cause)
    with transaction.atomic():
        lock_customer(customer_id, actor.workspace_id)
        slug = clean_slug(tag, "tag")
        found = CustomerTag.objects.filter(customer_id=customer_id, tag__slug=slug, workspace_id=actor.workspace_id)
        removed = bool(found.delete()[0])
        if removed:
            audit.record(actor, "customer.untag", public_id("cus", customer_id), before={"tag": slug})
            announce_many([_told("tag.removed", request, slug)])
    return removed


def tags_of(customer_ids: Sequence[int]) -> dict[int, list[str]]:
    """Slugs per customer, sorted; one query. Customers without tags have an empty list."""
    tags: dict[int, list[str]] = {number: [] for number in customer_ids}
    rows = CustomerTag.objects.filter(customer_id__in=customer_ids).order_by("tag__slug")
    for number, slug in rows.values_list("customer_id", "tag__slug"):
        tags[number].append(slug)
    return tags
