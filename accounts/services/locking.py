"""Locking of customers: always by id, always `FOR NO KEY UPDATE`, so that nobody deadlocks (DESIGN 5.2, lock order)."""

from __future__ import annotations

from collections.abc import Collection

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
