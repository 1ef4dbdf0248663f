"""Identifying a visitor and merging two records (C-31, DESIGN 5.5). Erasing is in `erasure`.

What hangs on the two records is locked before they are (`take_locks_ahead`): a worker that holds a run of one of them and is about
to change its customer is waited for, instead of each waiting for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction

from accounts import audit
from accounts.actor import Actor
from accounts.announcements import Announcement, announce, take_locks_ahead
from accounts.clock import evaluation_now, real_now
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Consent, Contact, Customer, CustomerTag, StageEntry, Task
from accounts.repeating import repeated
from accounts.services.customers import CustomerChange, created, taken, update_customers
from accounts.services.erasure import hashed_address
from accounts.services.fields import LENGTHS, MOST_KEYS, clean_fields
from accounts.services.known import keys_of, owners_of
from accounts.services.locking import lock_addresses, lock_customers, refuse_ended

FILLED = (*LENGTHS, "email", "country", "time_zone", "locale", "owner_id")
CLOSE_DOUBLE_STAYS = """
update accounts_stageentry s set left_at = greatest(s.at, %(now)s)
where s.customer_id = %(source)s and s.left_at is null and exists (
    select from accounts_stageentry t where t.customer_id = %(target)s and t.funnel_id = s.funnel_id and t.left_at is null)
"""
MOVE_TAGS = """
insert into accounts_customertag (workspace_id, customer_id, tag_id, created_at)
select workspace_id, %(target)s, tag_id, created_at from accounts_customertag where customer_id = %(source)s
on conflict (customer_id, tag_id) do nothing
"""
MOVE_CONTACTS = """
update accounts_contact c set customer_id = %(target)s where c.customer_id = %(source)s and not exists (
    select from accounts_contact t where t.customer_id = %(target)s and t.role = c.role and lower(t.email) = lower(c.email))
"""
STRICTER_CONSENT = """
insert into accounts_consent (workspace_id, customer_id, address, topic, state, reason, at, created_at)
select distinct workspace_id, %(target)s::bigint, lower(%(address)s), topic, 'unsubscribed', 'merge', %(now)s::timestamptz,
    %(now)s::timestamptz from accounts_consent
where workspace_id = %(workspace)s and address in (lower(%(other)s), %(hashed)s) and state = 'unsubscribed'
on conflict (workspace_id, address, topic) do update set state = 'unsubscribed', reason = 'merge', at = excluded.at
where accounts_consent.state <> 'unsubscribed'
"""


@repeated
def identify_customer(
    *, actor: Actor, customer_id: int, fields: Mapping[str, Any], cause: int | None = None
) -> Customer:
    """Give a visitor an address or an external id. When a customer with one of them exists already, the visitor is
    merged into it and that customer is the answer; an identified customer is never merged silently:
    `customer_conflict`."""
    actor.require("customers")
    values = clean_fields(fields)
    if not (values.get("email") or values.get("external_id")):
        raise Refusal(
            "invalid", "Identifying needs an e-mail address or an externalId.", {"fields": {"email": ["is missing"]}}
        )
    with transaction.atomic():
        others = sorted(holders(actor.workspace_id, values) - {customer_id})
        if len(others) > 1:
            raise _two_owners(others)
        if others:  # nothing hangs on a visitor that changes hands when it stays who it is
            take_locks_ahead(actor.workspace_id, [customer_id, *others])
        locked = lock_customers([customer_id, *others], actor.workspace_id)
        customer = _usable(locked, customer_id)
        if others:
            if customer.identified_at is not None:
                raise taken("email" if values.get("email") else "external_id", _given(values), others[0])
            customer = _merge(actor, customer, _usable(locked, others[0]), cause)
        answer = update_customers([CustomerChange(actor.workspace_id, customer.pk, fields, cause)])[0]
        if isinstance(answer, Refusal):
            raise answer
        audit.record(actor, "customer.identify", answer.public_id)
    return answer


def holders(workspace_id: int, values: Mapping[str, Any]) -> set[int]:
    """Ids of the customers that have the address or the external id given in `values`."""
    keys = keys_of(values.get("email", ""), values.get("external_id", ""))
    return set(owners_of([workspace_id], keys).values())


def _given(values: Mapping[str, Any]) -> str:
    return str(values.get("email") or values.get("external_id"))


def _two_owners(others: list[int]) -> Refusal:
    names = [public_id("cus", number) for number in others]
    message = f"The address and the externalId belong to two customers, {' and '.join(names)}; merge them first."
    return Refusal("customer_conflict", message, {"customers": names})


def _usable(locked: Mapping[int, Customer], number: int) -> Customer:
    if number not in locked:
        raise not_found("customer", public_id("cus", number))
    refuse_ended(locked[number])
    return locked[number]


@repeated
def merge_customers(*, actor: Actor, source_id: int, into_id: int, cause: int | None = None) -> Customer:
    """Merge one record into another of the same workspace. What the survivor lacks is taken over, its own values win;
    of the consents the stricter holds. Listeners move runs and billing objects."""
    actor.require("customers")
    if source_id == into_id:
        raise Refusal(
            "invalid", "A customer cannot be merged into itself; name another one.", {"into": public_id("cus", into_id)}
        )
    with transaction.atomic():
        take_locks_ahead(actor.workspace_id, [source_id, into_id])
        locked = lock_customers([source_id, into_id], actor.workspace_id)
        source, target = _usable(locked, source_id), _usable(locked, into_id)
        return _merge(actor, source, target, cause)


def _merge(actor: Actor, source: Customer, target: Customer, cause: int | None) -> Customer:
    was_anonymous = target.identified_at is None
    Customer.objects.filter(pk=source.pk).update(merged_into=target)
    _fill(source, target)
    target.save()
    _move_rows(source, target)
    audit.record(actor, "customer.merge", source.public_id, after={"into": target.public_id})
    data = {"into": target.pk}
    announce(Announcement("customer.merged", source.workspace_id, source.pk, data, cause))
    if was_anonymous and target.identified_at is not None and source.identified_at is None:
        announce(created(target, cause))
    return target


def _fill(source: Customer, target: Customer) -> None:
    for name in FILLED:
        if not getattr(target, name):
            setattr(target, name, getattr(source, name))
    added = {key: value for key, value in source.metadata.items() if key not in target.metadata}
    room = max(MOST_KEYS - len(target.metadata), 0)
    target.metadata = {**target.metadata, **dict(list(added.items())[:room])}
    views = source.facts.get("pageviewCount", 0) + target.facts.get("pageviewCount", 0)
    target.facts = {**source.facts, **target.facts, **({"pageviewCount": views} if views else {})}
    target.created_at = min(source.created_at, target.created_at)
    target.identified_at = target.identified_at or source.identified_at


def _move_rows(source: Customer, target: Customer) -> None:
    names: dict[str, Any] = {"source": source.pk, "target": target.pk, "now": evaluation_now()}
    with connection.cursor() as cursor:
        for statement in (CLOSE_DOUBLE_STAYS, MOVE_TAGS, MOVE_CONTACTS):
            cursor.execute(statement, names)
        if source.email and target.email:
            lock_addresses(source.workspace_id, [source.email.lower(), target.email.lower()])
            both: dict[str, Any] = {"workspace": source.workspace_id, "target": target.pk, "now": real_now()}
            for address, other in ((target.email, source.email), (source.email, target.email)):
                cursor.execute(
                    STRICTER_CONSENT, {**both, "address": address, "other": other, "hashed": hashed_address(other)}
                )
    CustomerTag.objects.filter(customer=source).delete()
    Contact.objects.filter(customer=source).delete()
    for model in (StageEntry, Task, Consent):
        model.objects.filter(customer=source).update(customer=target)
