"""Making and changing customers (BIL-10, BIL-12, BIL-13, TRG-11). Merging and erasing are in `lifecycle`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from psycopg.types.json import Jsonb

from accounts import audit
from accounts.actor import Actor
from accounts.announcements import Announcement, announce_many
from accounts.clock import evaluation_now
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Customer, Membership
from accounts.services.fields import Wrong, camel, clean_fields, merge_metadata, refused_fields
from accounts.services.known import keys_of, owners_of
from accounts.services.locking import ended, lock_customers

FIELDS = ("external_id", "name", "email", "segment", "plan", "country", "time_zone", "locale", "owner_id", "metadata")
UPDATE = """
update accounts_customer c set external_id = v.external_id, name = v.name, email = v.email, segment = v.segment,
    plan = v.plan, country = v.country, time_zone = v.time_zone, locale = v.locale, owner_id = v.owner_id, metadata = v.metadata,
    identified_at = v.identified_at, updated_at = now()
from unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::bigint[], %s::jsonb[], %s::timestamptz[])
    v (id, external_id, name, email, segment, plan, country, time_zone, locale, owner_id, metadata, identified_at)
where c.id = v.id
"""
MERGE_FACTS = """
with locked as (
    select c.id, v.facts from accounts_customer c join unnest(%s::bigint[], %s::jsonb[]) v (id, facts) on v.id = c.id
    where c.workspace_id = %s and c.erased_at is null order by c.id for no key update of c
)
update accounts_customer c set facts = (c.facts || l.facts)
    - array(select key from jsonb_each(l.facts) where value = 'null') from locked l where c.id = l.id
"""
COUNT_PAGES = """
with locked as (
    select c.id, v.n from accounts_customer c join unnest(%s::bigint[], %s::int[]) v (id, n) on v.id = c.id
    where c.workspace_id = %s and c.erased_at is null order by c.id for no key update of c
)
update accounts_customer c set facts = jsonb_set(c.facts, '{pageviewCount}',
    to_jsonb(coalesce((c.facts ->> 'pageviewCount')::bigint, 0) + l.n)) from locked l where c.id = l.id
"""


@dataclass(frozen=True, slots=True)
class CustomerChange:
    """New values for one customer: any of `FIELDS`; absent ones stay. `metadata` is merged, a null in it removes the
    key."""

    workspace_id: int
    customer_id: int
    fields: Mapping[str, Any]
    cause: int | None = None  # the run that brings it about


def create_customer(
    *, actor: Actor, fields: Mapping[str, Any], cause: int | None = None, anonymous: bool = False
) -> Customer:
    """A new customer. It needs an e-mail address or an external id, unless it is an anonymous visitor, who is announced
    as created only when identified (TRG-11). `customer_conflict` when another has its address or external id."""
    actor.require("customers")
    values = clean_fields(fields)
    metadata = _pairs({}, values.pop("metadata", {}))
    identified = bool(values.get("email") or values.get("external_id"))
    if not identified and not anonymous:
        message = "needs an e-mail address or an externalId"
        raise Refusal("invalid", f"A customer {message}.", {"fields": {"email": [message]}})
    with transaction.atomic():
        _check_owners({values.get("owner_id")}, actor.workspace_id)
        now = evaluation_now()
        customer = Customer(workspace_id=actor.workspace_id, created_at=now, metadata=metadata, facts={}, **values)
        customer.identified_at = now if identified else None
        _insert(customer)
        audit.record(actor, "customer.create", customer.public_id)
        if identified:
            announce_many([created(customer, cause)])
    return customer


def created(customer: Customer, cause: int | None) -> Announcement:
    """The announcement of TRG-11, made once per customer: when it is made or, for a visitor, identified."""
    data = {"key": f"{customer.public_id}:created", "source": "accounts"}
    return Announcement("customer.created", customer.workspace_id, customer.pk, data, cause)


def update_customer(*, actor: Actor, customer_id: int, fields: Mapping[str, Any], cause: int | None = None) -> Customer:
    """Change one customer for a person or a program. Refusals as of `update_customers`, raised."""
    actor.require("customers")
    change = CustomerChange(actor.workspace_id, customer_id, fields, cause)
    with transaction.atomic():
        answer = update_customers([change])[0]
        if isinstance(answer, Refusal):
            raise answer
        changed = sorted(camel(name) for name in fields)
        audit.record(actor, "customer.update", answer.public_id, after={"changed": changed})
    return answer


def update_customers(changes: Sequence[CustomerChange], cause: int | None = None) -> list[Customer | Refusal]:
    """Change many customers, of any workspaces, in four statements. The answers are in the order of the changes: the
    customer as it is now, or why it was left alone (`not_found`, `wrong_state`, `invalid`, `customer_conflict`)."""
    with transaction.atomic():
        customers = lock_customers({change.customer_id for change in changes})
        prepared = [_prepare(change, customers.get(change.customer_id)) for change in changes]
        _refuse_taken(changes, prepared)
        _refuse_strangers(changes, prepared)
        now = evaluation_now()
        told: list[Announcement] = []
        for change, values in zip(changes, prepared, strict=True):
            if isinstance(values, dict):
                told += _apply(customers[change.customer_id], values, now, change.cause or cause)
        _write([customers[id] for id in sorted({a.customer_id for a in told if a.customer_id})])
        announce_many(told)
    return [
        values if isinstance(values, Refusal) else customers[change.customer_id]
        for change, values in zip(changes, prepared, strict=True)
    ]


def _prepare(change: CustomerChange, customer: Customer | None) -> dict[str, Any] | Refusal:
    if customer is None or customer.workspace_id != change.workspace_id:
        return not_found("customer", public_id("cus", change.customer_id))
    refusal = ended(customer)
    if refusal is not None:
        return refusal
    try:
        values = clean_fields(change.fields)
        if "metadata" in values:
            _pairs(customer.metadata, values["metadata"])
    except Refusal as wrong:
        return wrong
    return _keep_one_address(customer, values)


def _keep_one_address(customer: Customer, values: dict[str, Any]) -> dict[str, Any] | Refusal:
    after = [values.get(name, getattr(customer, name)) for name in ("email", "external_id")]
    if customer.identified_at is not None and not any(after) and (customer.email or customer.external_id):
        return refused_fields({"email": ["must stay, or an externalId be given: a customer needs one of them"]})
    return values


def _apply(customer: Customer, values: dict[str, Any], now: datetime, cause: int | None) -> list[Announcement]:
    if "metadata" in values:
        values = {**values, "metadata": _pairs(customer.metadata, values["metadata"])}
    changed = [name for name, value in values.items() if getattr(customer, name) != value]
    if not changed:
        return []
    for name in changed:
        setattr(customer, name, values[name])
    data = {"changed": sorted(camel(name) for name in changed)}
    told = [Announcement("customer.updated", customer.workspace_id, customer.pk, data, cause)]
    if customer.identified_at is None and (customer.email or customer.external_id):
        customer.identified_at = now
        told.append(Announcement("customer.identified", customer.workspace_id, customer.pk, {}, cause))
        told.append(created(customer, cause))
    return told


def _refuse_taken(changes: Sequence[CustomerChange], prepared: list[dict[str, Any] | Refusal]) -> None:
    """Addresses and external ids that another customer has, or that an earlier change of the same call takes."""
    wanted = [
        keys_of(values.get("email", ""), values.get("external_id", "")) if isinstance(values, dict) else []
        for values in prepared
    ]
    workspaces = {change.workspace_id for change in changes}
    owners = owners_of(workspaces, [key for keys in wanted for key in keys])
    for index, (change, keys) in enumerate(zip(changes, wanted, strict=True)):
        for name, value in keys:
            owner = owners.setdefault((change.workspace_id, (name, value)), change.customer_id)
            if owner != change.customer_id:
                prepared[index] = taken(name, value, owner)


def taken(name: str, value: str, customer_id: int | None = None) -> Refusal:
    """`customer_conflict`: another customer of the workspace has this address or external id."""
    who = "another customer" if customer_id is None else public_id("cus", customer_id)
    message = f"The {camel(name)} “{value}” belongs to {who}; change that one, or merge the two."
    return Refusal("customer_conflict", message, {"field": camel(name), "customer": who if customer_id else None})


def _refuse_strangers(changes: Sequence[CustomerChange], prepared: list[dict[str, Any] | Refusal]) -> None:
    owners = [values.get("owner_id") for values in prepared if isinstance(values, dict)]
    wanted = {owner for owner in owners if owner is not None}
    if not wanted:
        return
    rows = Membership.objects.filter(user_id__in=wanted, workspace_id__in={change.workspace_id for change in changes})
    members = set(rows.values_list("workspace_id", "user_id"))
    for index, (change, values) in enumerate(zip(changes, prepared, strict=True)):
        owner = values.get("owner_id") if isinstance(values, dict) else None
        if owner is not None and (change.workspace_id, owner) not in members:
            prepared[index] = _stranger(owner)


def _check_owners(owners: Iterable[int | None], workspace_id: int) -> None:
    for owner in owners:
        if owner is not None and not Membership.objects.filter(workspace_id=workspace_id, user_id=owner).exists():
            raise _stranger(owner)


def _stranger(owner: int) -> Refusal:
    name = public_id("usr", owner)
    return Refusal("unknown_reference", f"There is no member {name} in this workspace.", {"owner": name})


def _pairs(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, str]:
    try:
        return merge_metadata(old, new)
    except Wrong as wrong:
        raise refused_fields({"metadata": [str(wrong)]}) from None


def _insert(customer: Customer) -> None:
    _translated(lambda: customer.save(force_insert=True), customer)


def _write(customers: Sequence[Customer]) -> None:
    if not customers:
        return
    columns: list[list[Any]] = [[customer.pk for customer in customers]]
    for name in FIELDS:
        values = [getattr(customer, name) for customer in customers]
        columns.append([Jsonb(value) for value in values] if name == "metadata" else values)
    columns.append([customer.identified_at for customer in customers])

    def write() -> None:
        with connection.cursor() as cursor:
            cursor.execute(UPDATE, columns)

    _translated(write, customers[0] if len(customers) == 1 else None)


def _translated(write: Callable[[], None], customer: Customer | None) -> None:
    """The unique indexes have the last word against races; their error becomes the same refusal."""
    try:
        with transaction.atomic():
            write()
    except IntegrityError as error:
        for name in ("email", "external_id"):
            if f"customer_{name}_unique" in str(error):
                raise taken(name, getattr(customer, name, "") if customer else "of one of these customers") from error
        raise


def merge_facts(*, workspace_id: int, facts: Mapping[int, Mapping[str, Any]]) -> None:
    """Set some facts of some customers (`subscriptionStatus`, `latestEmail`, ...), one statement; null removes one."""
    if facts:
        with connection.cursor() as cursor:
            cursor.execute(MERGE_FACTS, [list(facts), [Jsonb(dict(some)) for some in facts.values()], workspace_id])


def count_pageviews(*, workspace_id: int, views: Mapping[int, int]) -> None:
    """Raise the page views of some customers, relative to the locked rows (BIL-13)."""
    if views:
        with connection.cursor() as cursor:
            cursor.execute(COUNT_PAGES, [list(views), list(views.values()), workspace_id])
