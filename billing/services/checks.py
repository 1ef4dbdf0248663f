"""What every billing service checks before it writes: metadata, references of the workspace, external ids, states."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Model

from accounts.actor import Actor
from accounts.errors import Refusal, invalid, not_found
from accounts.models import Customer
from accounts.services.fields import Wrong, clean_metadata, clean_text, merge_metadata
from accounts.services.locking import lock_customer
from billing.models import BillingObject

Row = TypeVar("Row", bound=Model)


def changed_metadata(stored: Mapping[str, str], given: Any) -> dict[str, str]:
    """Metadata after a change: keys given are set, those given as null removed; null in all removes them all. The limits are
    those of customers (BIL-10). Refusal `invalid` names what is wrong."""
    try:
        return {} if given is None else merge_metadata(stored, clean_metadata(given))
    except Wrong as wrong:
        raise invalid("metadata", f"{wrong}.") from None


def clean_external_id(value: Any) -> str:
    """The caller's own id of an object; "" for none."""
    try:
        return clean_text(value, 200)
    except Wrong as wrong:
        raise invalid("externalId", f"{wrong}.") from None


def hold_customer(actor: Actor, customer_id: int) -> Customer:
    """The customer, locked, who must be there, not erased and not merged into another."""
    return lock_customer(customer_id, actor.workspace_id)


def find_all(model: type[Row], actor: Actor, ids: Collection[int], what: str, prefix: str) -> dict[int, Row]:
    """Rows of the workspace by id, one query; Refusal `not_found` names the first that is missing."""
    found = {row.pk: row for row in model._default_manager.filter(workspace_id=actor.workspace_id, pk__in=set(ids))}
    for id in ids:
        if id not in found:
            raise not_found(what, f"{prefix}_{id}")
    return found


def insert(row: BillingObject) -> None:
    """Insert one object. Refusal `conflict` when its external id is taken."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:  # the unique rule decides, also between two callers at once
        if "external_id_unique" in str(error):
            raise _taken(row) from None
        raise


def _taken(row: BillingObject) -> Refusal:
    return Refusal(
        "conflict",
        f"The externalId “{row.external_id}” is taken by another {type(row).__name__.lower()}; choose another one.",
        {"externalId": row.external_id},
    )


def wrong_state(message: str, **details: Any) -> Refusal:
    """The object is not in a state in which this can be done."""
    return Refusal("wrong_state", message, details)
