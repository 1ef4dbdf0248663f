"""Erasing a person, and the export made before (SUP-06)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import Q

from accounts import audit
from accounts.actor import Actor
from accounts.announcements import Announcement, announce, take_locks_ahead
from accounts.clock import real_now
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Consent, Contact, Customer, CustomerTag, StageEntry, Task
from accounts.repeating import repeated
from accounts.services.customers import FIELDS
from accounts.services.fields import camel
from accounts.services.locking import lock_customers
from accounts.services.merged import merged_into

PLACEHOLDER = "Erased customer"
EMPTY_TEXTS = ("external_id", "email", "segment", "plan", "country", "time_zone", "locale")
Part = Callable[[int, int], Any]
_parts: dict[str, Part] = {}


def export_part(name: str, part: Part) -> None:
    """Upper apps add what they hold of a customer: `part(workspace_id, customer_id)` answers plain JSON data."""
    _parts[name] = part


def export_customer(*, actor: Actor, customer_id: int) -> dict[str, Any]:
    """Everything held about a customer, as one JSON document."""
    actor.require("customers")
    customer = Customer.objects.filter(pk=customer_id, workspace_id=actor.workspace_id).first()
    if customer is None:
        raise not_found("customer", public_id("cus", customer_id))
    document = {"customer": _own_data(customer)}
    document.update({name: part(actor.workspace_id, customer_id) for name, part in _parts.items()})
    with transaction.atomic():
        audit.record(actor, "customer.export", customer.public_id)
    return document


def _own_data(customer: Customer) -> dict[str, Any]:
    data: dict[str, Any] = {camel(name): getattr(customer, name) for name in FIELDS if name != "owner_id"}
    data |= {"id": customer.public_id, "facts": customer.facts, "createdAt": customer.created_at.isoformat()}
    data["tags"] = list(CustomerTag.objects.filter(customer=customer).values_list("tag__slug", flat=True))
    data["contacts"] = list(Contact.objects.filter(customer=customer).values("role", "name", "email"))
    data["consent"] = _dated(
        Consent.objects.filter(customer=customer).values("address", "topic", "state", "reason", "at")
    )
    stays = StageEntry.objects.filter(customer=customer).order_by("id")
    data["stages"] = _dated(stays.values("stage__slug", "bucket", "at", "left_at"))
    data["tasks"] = _dated(Task.objects.filter(customer=customer).values("title", "message", "state", "created_at"))
    return data


def _dated(rows: Any) -> list[dict[str, Any]]:
    return [
        {camel(name): value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
        for row in rows
    ]


def hashed_address(address: str) -> str:
    """What stays of an unsubscribed address after its person was erased: enough to go on not mailing it, nothing to
    read."""
    return "sha256:" + hashlib.sha256(address.strip().lower().encode()).hexdigest()


@repeated
def erase_customer(*, actor: Actor, customer_id: int, cause: int | None = None) -> Customer:
    """Empty the personal fields of a customer, of the records merged into it and of their tasks. The row stays with a
    placeholder, so that invoices and statistics still point somewhere; listeners end runs and empty their own copies.
    Erasing twice is the same as once."""
    actor.require("customers")
    with transaction.atomic():
        locked = _locked_group(actor.workspace_id, customer_id)
        if customer_id not in locked:
            raise not_found("customer", public_id("cus", customer_id))
        customer = locked[customer_id]
        if customer.merged_into_id is not None:
            into = public_id("cus", customer.merged_into_id)
            raise Refusal(
                "wrong_state", f"{customer.public_id} was merged into {into}; erase that one.", {"into": into}
            )
        if customer.erased_at is None:
            _erase_rows(actor.workspace_id, list(locked.values()))
            audit.record(actor, "customer.erase", customer.public_id)
            merged = sorted(locked.keys() - {customer_id})
            announce(Announcement("customer.erased", customer.workspace_id, customer.pk, {"merged": merged}, cause))
            customer.refresh_from_db()
    return customer


def _locked_group(workspace_id: int, customer_id: int) -> dict[int, Customer]:
    """The customer and all records merged into it, also through others, with what hangs on them locked before. Once the customer
    is locked nobody is merged into it any more, so that a second look finds those who were meanwhile."""
    group = [customer_id, *merged_into([customer_id]).get(customer_id, ())]
    take_locks_ahead(workspace_id, group)
    locked = lock_customers(group, workspace_id)
    late = set(merged_into([customer_id]).get(customer_id, ())) - set(group)
    return {**locked, **lock_customers(late, workspace_id)} if late else locked


def _erase_rows(workspace_id: int, customers: list[Customer]) -> None:
    ids = [customer.pk for customer in customers]
    _erase_consent(workspace_id, ids, {customer.email.lower() for customer in customers if customer.email})
    empty = dict.fromkeys(EMPTY_TEXTS, "")
    Customer.objects.filter(pk__in=ids).update(
        **empty, name=PLACEHOLDER, metadata={}, facts={}, owner=None, erased_at=real_now(), updated_at=real_now()
    )
    Contact.objects.filter(customer__in=ids).delete()
    CustomerTag.objects.filter(customer__in=ids).delete()
    Task.objects.filter(customer__in=ids).update(title=PLACEHOLDER, message="", assignee="")


def _erase_consent(workspace_id: int, ids: list[int], own: set[str]) -> None:
    contacts = Contact.objects.filter(customer__in=ids).exclude(email="").values_list("email", flat=True)
    addresses = own | {address.lower() for address in contacts}
    rows = Consent.objects.filter(Q(customer__in=ids) | Q(address__in=addresses), workspace_id=workspace_id)
    kept = [
        Consent(
            workspace_id=workspace_id,
            address=hashed_address(row.address),
            topic=row.topic,
            state=row.state,
            reason=row.reason,
            at=row.at,
        )
        for row in rows
        if row.state == Consent.UNSUBSCRIBED and not row.address.startswith("sha256:")
    ]
    rows.delete()
    Consent.objects.bulk_create(kept, ignore_conflicts=True)
