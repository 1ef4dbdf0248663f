"""Locking of customers: always by id, always `FOR NO KEY UPDATE`, so that nobody deadlocks (DESIGN 5.2, lock order)."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection

from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Customer


def lock_customers(ids: Collection[int], workspace_id: int | None = None) -> dict[int, Customer]:
    """Lock them in id order, one statement. Unknown and, with a workspace given, foreign ids are absent from the
    answer."""
    found = Customer.objects.filter(id__in=set(ids))
    if workspace_id is not None:
        found = found.filter(workspace_id=workspace_id)
    return {customer.pk: customer for customer in found.order_by("id").select_for_update(no_key=True, of=("self",))}


def lock_customer(customer_id: int, workspace_id: int) -> Customer:
    """Lock one. `not_found` when unknown or foreign, `wrong_state` when erased or merged into another."""
    customer = lock_customers([customer_id], workspace_id).get(customer_id)
    if customer is None:
        raise not_found("customer", public_id("cus", customer_id))
    refuse_ended(customer)
    return customer


def refuse_ended(customer: Customer) -> None:
    """`wrong_state` when nothing may be written to this record any more."""
    refusal = ended(customer)
    if refusal is not None:
        raise refusal


def ended(customer: Customer) -> Refusal | None:
    """Why nothing may be written to this record any more, None when it may."""
    if customer.erased_at is not None:
        return Refusal(
            "wrong_state", f"{customer.public_id} was erased; it takes no changes.", {"id": customer.public_id}
        )
    if customer.merged_into_id is not None:
        into = public_id("cus", customer.merged_into_id)
        return Refusal("wrong_state", f"{customer.public_id} was merged into {into}; change that one.", {"into": into})
    return None


# An address may be mailed by runs of anybody, so what is decided about it is ordered by a lock of its own. The key is hashed to
# 64 bits: two that meet there could only make each other wait.
_OWN = "select pg_advisory_xact_lock(hashtextextended(%s || ' ' || address, 7)) from (select unnest(%s::text[]) as address) a"
_TRY_SHARE = """
select workspace, address from (select distinct * from unnest(%s::bigint[], %s::text[]) v (workspace, address)) v
where pg_try_advisory_xact_lock_shared(hashtextextended(workspace || ' ' || address, 7))
"""


def lock_addresses(workspace_id: int, addresses: Collection[str]) -> None:
    """Decide about these addresses (lower case) until the transaction ends: waits for whoever is taking a mail to one of them.
    After the customers, in order."""
    if addresses:
        with connection.cursor() as cursor:
            cursor.execute(_OWN, [str(workspace_id), sorted(set(addresses))])


def share_addresses(addresses: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of the (workspace, address in lower case) about which nobody is deciding at this moment; they stay as they are until
    the transaction ends. Waits for nobody."""
    if not addresses:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_TRY_SHARE, [list(column) for column in zip(*addresses, strict=True)])
        return set(cursor.fetchall())
