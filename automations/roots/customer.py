"""The root `customer`, also `profile` (C-31), and the query `customers` (CONTRACTS 5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from pydantic import Field

from accounts.prepared import prepared
from accounts.services.merged import survivors_of
from automations.engine.kinds import Config, Query, Root
from automations.services.jsontext import loads
from automations.worker.copying import array

Ref = int | Mapping[str, str]

#: What `record` reads, and behind it the slugs of the customer's tags.
COLUMNS = """c.id, c.external_id, c.name, c.email, c.segment, c.plan, c.country, c.time_zone, c.locale, c.created_at, u.email,
    c.metadata, c.facts"""
# One by one by the index, whatever the statistics say (`_looked_up`); planned once for each connection (`accounts.prepared`).
_LOAD = f"""
select {COLUMNS}, tagged.slugs
from unnest((select %(ids)s::bigint[])) v (key) cross join lateral (
    select * from accounts_customer c where c.id = v.key limit 1
) c left join accounts_user u on u.id = c.owner_id left join (
    select ct.customer_id, array_agg(t.slug order by t.slug) as slugs from accounts_customertag ct
    join accounts_tag t on t.id = ct.tag_id where ct.customer_id = any((select %(ids)s::bigint[])::bigint[]) group by ct.customer_id
) tagged on tagged.customer_id = c.id
"""
CURRENT = "c.merged_into_id is null and c.erased_at is null"
#: What `by_reference` reads of the customers in `MEANT`.
KEYS = ("c.merged_into_id", "c.id", "lower(c.email)", "c.external_id", CURRENT)


#: How a reference says whom it means: the type of what it says, and the rule for the customer `c`.
RULES = {
    "id": ("bigint", "c.id = {key}"),
    "email": ("text", f"lower(c.email) = {{key}} and c.email <> '' and {CURRENT}"),
    "externalId": ("text", f"c.external_id = {{key}} and c.external_id <> '' and {CURRENT}"),
}


def _looked_up(how: str) -> str:
    """The customers that an array of keys names, one by one by their index. A condition on the whole array is not for all plans: before
    the first ANALYZE the planner rather reads the whole workspace."""
    kind, rule = RULES[how]
    return f"""select c.* from unnest((select %({how})s::{kind}[])) v (key) cross join lateral (
        select * from accounts_customer c where c.workspace_id = (select %(workspace)s::bigint) and {rule.format(key="v.key")} limit 1
    ) c"""


#: The customers that references mean, by the parameters of `wanted`; one that is named in two ways stands there twice.
MEANT = f"({' union all '.join(map(_looked_up, RULES))}) c"
_RESOLVE = f"select {', '.join(KEYS)} from {MEANT}"


class CustomerFields(Config):
    """What `customer.*` offers."""

    id: str = Field(title="Id")
    external_id: str | None = Field(None, alias="externalId", title="Own id")
    name: str | None = Field(None, title="Name")
    email: str | None = Field(None, title="E-mail")
    segment: str | None = Field(None, title="Segment")
    plan: str | None = Field(None, title="Plan")
    country: str | None = Field(None, title="Country")
    time_zone: str | None = Field(None, alias="timeZone", title="Time zone")
    locale: str | None = Field(None, title="Language")
    created_at: datetime | None = Field(None, alias="createdAt", title="Created at")
    owner: str | None = Field(None, title="Owner's e-mail")
    tags: list[str] = Field(default_factory=list, title="Tags")
    metadata: dict[str, str] = Field(default_factory=dict, title="Metadata")
    stage: str | None = Field(None, title="Stage")
    bucket: str | None = Field(None, title="Bucket")
    subscription_status: str | None = Field(None, alias="subscriptionStatus", title="Subscription status")
    pageview_count: int = Field(0, alias="pageviewCount", title="Page views")


class CustomerRoot(Root):
    """A customer as it is at the moment of use."""

    name = "customer"
    label = "Customer"
    prefix = "cus"
    other_names = ("profile",)
    subject = "customer"
    Fields = CustomerFields
    bare = {"pageview_count": "pageviewCount", "country": "country", "bucket": "bucket", "stage": "stage"}

    def load(self, ids: Collection[int]) -> Mapping[int, Mapping[str, Any]]:
        """One query. An erased customer keeps its id and nothing else."""
        with prepared() as cursor:
            cursor.execute(_LOAD, {"ids": array(sorted(ids))})
            return {row[0]: record(row) for row in cursor.fetchall()}

    def resolve(self, workspace_id: int, refs: Sequence[Ref]) -> Sequence[Mapping[str, int] | None]:
        """One query, and one more where a record was merged. A reference is an id, `{"externalId": ...}` or `{"email": ...}`; a
        merged record is the one in which it lives on."""
        with prepared() as cursor:
            cursor.execute(_RESOLVE, wanted(workspace_id, refs))
            return by_reference(cursor.fetchall(), refs)


def wanted(workspace_id: int, refs: Sequence[Ref]) -> dict[str, Any]:
    """The parameters of `MEANT`."""
    keys: dict[str, list[Any]] = {how: [] for how in RULES}
    for how, key in map(said, refs):
        keys[how].append(key)
    return {"workspace": workspace_id, **{how: array(some) for how, some in keys.items()}}


def said(ref: Ref) -> tuple[str, Any]:
    """How a reference says whom it means (`RULES`), and what it says."""
    if isinstance(ref, int):
        return "id", ref
    if ref.get("externalId"):
        return "externalId", ref["externalId"]
    return "email", ref.get("email", "").lower()


def by_reference(rows: Sequence[Sequence[Any]], refs: Sequence[Ref]) -> list[Mapping[str, int] | None]:
    """For each reference its customer among rows that begin with `KEYS`; one query more where a record was merged."""
    survivors = survivors_of([row[1] for row in rows if row[0] is not None])
    found: dict[tuple[str, Any], Mapping[str, int]] = {}
    for _into, id, email, external_id, current, *_ in rows:
        found["id", id] = {"customer": survivors.get(id, id)}
        if current:
            found["email", email] = found["externalId", external_id] = {"customer": id}
    return [found.get(said(ref)) for ref in refs]


def record(row: Sequence[Any]) -> dict[str, Any]:
    """A customer from `COLUMNS` and the slugs of its tags."""
    facts = loads(row[12])
    return {
        "id": f"cus_{row[0]}",
        "externalId": row[1] or None,
        "name": row[2] or None,
        "email": row[3] or None,
        "segment": row[4] or None,
        "plan": row[5] or None,
        "country": row[6] or None,
        "timeZone": row[7] or None,
        "locale": row[8] or None,
        "createdAt": row[9],
        "owner": row[10],
        "tags": list(row[13] or ()),
        "metadata": loads(row[11]),
        "stage": facts.get("stage"),
        "bucket": facts.get("bucket"),
        "subscriptionStatus": facts.get("subscriptionStatus"),
        "pageviewCount": facts.get("pageviewCount", 0),
    }


class Customers(Query):
    """All customers of a workspace that are identified, not merged and not erased."""

    name = "customers"
    root = "customer"

    def page(self, workspace_id: int, after: int, limit: int) -> Sequence[Mapping[str, int]]:
        """By the index `customer_list`."""
        with connection.cursor() as cursor:
            cursor.execute(
                "select id from accounts_customer where workspace_id = %s and id > %s and identified_at is not null"
                " and merged_into_id is null and erased_at is null order by id limit %s",
                [workspace_id, after, limit],
            )
            return [{"customer": id} for (id,) in cursor.fetchall()]


customer = CustomerRoot()
customers = Customers()
