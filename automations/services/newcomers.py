"""Customers that an event brings along: made in bulk, with the fields that stand beside their keys (CONTRACTS 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from accounts.actor import Actor
from accounts.announcements import announce_many
from accounts.clock import evaluation_now
from accounts.models import Customer
from accounts.services.customers import created, taken
from accounts.services.fields import clean_fields, merge_metadata


class Raced(Exception):
    """Another request made one of these customers at the same moment: it is known now, so look again."""


def make_customers(actor: Actor, given: Sequence[Mapping[str, Any]]) -> list[int]:
    """One customer for each set of fields, in their order; sets that share an e-mail address or an own id are one and the same.
    A fixed number of statements. `invalid` for a wrong field, `customer_conflict` when two sets claim the address of one and
    the own id of another; `Raced` when somebody else made one of them meanwhile."""
    if not given:
        return []
    distinct: list[Customer] = []
    place: dict[tuple[str, str], int] = {}
    answer = [_placed(clean_fields(fields), actor.workspace_id, distinct, place) for fields in given]
    now = evaluation_now()
    for customer in distinct:
        customer.created_at = customer.identified_at = now
    try:
        with transaction.atomic():
            Customer.objects.bulk_create(sorted(distinct, key=_order))
    except IntegrityError as error:
        raise Raced from error
    announce_many([created(customer, None) for customer in distinct])
    return [distinct[index].pk for index in answer]


def _order(customer: Customer) -> tuple[bool, str, str]:
    """The order in which they are written, so that two requests with the same people never wait crosswise (DESIGN 5.2, lock order): by
    address, behind them who has none."""
    return not customer.email, customer.email.lower(), customer.external_id


def _placed(
    values: dict[str, Any], workspace_id: int, distinct: list[Customer], place: dict[tuple[str, str], int]
) -> int:
    """The index of the customer that these fields mean, added when nobody before had one of its keys."""
    keys = [("email", values.get("email", "").lower()), ("external_id", values.get("external_id", ""))]
    keys = [key for key in keys if key[1]]
    known = {place[key] for key in keys if key in place}
    if len(known) > 1:
        raise taken(*keys[0])
    if not known:
        metadata = merge_metadata({}, values.pop("metadata", {}))
        distinct.append(Customer(workspace_id=workspace_id, metadata=metadata, facts={}, **values))
        known = {len(distinct) - 1}
    index = known.pop()
    place.update(dict.fromkeys(keys, index))
    return index
