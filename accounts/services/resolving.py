"""Finding customers by what an integration calls them, and making those not known yet (CONTRACTS 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from accounts.announcements import announce_many
from accounts.errors import Refusal
from accounts.ids import public_id
from accounts.models import Customer
from accounts.services.customers import created
from accounts.services.fields import Wrong, clean_fields, merge_metadata, refused_fields
from accounts.services.known import Key, keys_of, owners_of
from accounts.services.merged import survivors_of

MOST_TRIES = 5
INSERT = """
insert into accounts_customer (workspace_id, external_id, name, email, segment, plan, country, time_zone, locale, metadata,
    facts, identified_at, created_at, updated_at)
select %s, v.external_id, v.name, v.email, v.segment, v.plan, v.country, v.time_zone, v.locale, v.metadata,
    '{}', onward_now(), onward_now(), now()
from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[])
    v (external_id, name, email, segment, plan, country, time_zone, locale, metadata)
order by lower(v.email), v.external_id
on conflict do nothing returning id
"""
COLUMNS = ("external_id", "name", "email", "segment", "plan", "country", "time_zone", "locale")


@dataclass(frozen=True, slots=True)
class CustomerRef:
    """How a request names a customer: by number, or by e-mail address and external id, together or alone. `fields` are
    those of a customer to be made; they never change a known one."""

    id: int | None = None
    external_id: str = ""
    email: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> list[Key]:
        """What it can be found by."""
        return keys_of(self.email, self.external_id)


def resolve_customers(*, workspace_id: int, refs: Sequence[CustomerRef], make: bool = True) -> list[int | Refusal]:
    """The customer of each reference, in order; unknown ones given by address or external id are made (and announced)
    unless `make` is off. A reference that was merged away gives the survivor. Refusals: `unknown_reference`,
    `customer_conflict` when two keys point to two customers, `invalid`. A fixed number of statements, safe against
    others doing the same."""
    with transaction.atomic():
        answers: list[int | Refusal | None] = [None] * len(refs)
        _by_number(workspace_id, refs, answers)
        for _ in range(MOST_TRIES):
            known = _known(workspace_id, [key for ref in refs if ref.id is None for key in ref.keys])
            missing = _by_keys(refs, answers, known, make)
            if not missing:
                break
            _make(workspace_id, missing)
    return [_unknown("") if answer is None else answer for answer in answers]


def _by_number(workspace_id: int, refs: Sequence[CustomerRef], answers: list[int | Refusal | None]) -> None:
    wanted = {ref.id for ref in refs if ref.id is not None}
    if not wanted:
        return
    survivors = survivors_of(wanted)
    places = {survivors.get(number, number) for number in wanted}
    rows = Customer.objects.filter(workspace_id=workspace_id, pk__in=places, erased_at=None)
    found = set(rows.values_list("id", flat=True))
    for index, ref in enumerate(refs):
        if ref.id is not None:
            place = survivors.get(ref.id, ref.id)
            answers[index] = place if place in found else _unknown(public_id("cus", ref.id))


def _unknown(name: str) -> Refusal:
    shown = name or "without an id, address or externalId"
    return Refusal("unknown_reference", f"There is no customer {shown} in this workspace.", {"customer": name})


def _known(workspace_id: int, keys: Sequence[Key]) -> dict[Key, int]:
    return {key: number for (_, key), number in owners_of([workspace_id], keys).items()}


def _by_keys(
    refs: Sequence[CustomerRef], answers: list[int | Refusal | None], known: Mapping[Key, int], make: bool
) -> list[dict[str, Any]]:
    """Answers what is known; the values of those to be made come back."""
    missing: list[dict[str, Any]] = []
    planned: set[Key] = set()
    for index, ref in enumerate(refs):
        if answers[index] is not None or ref.id is not None:
            continue
        owners = {known[key] for key in ref.keys if key in known}
        if len(owners) > 1:
            answers[index] = _two(sorted(owners))
        elif owners:
            answers[index] = owners.pop()
        elif not make or not ref.keys:
            answers[index] = _unknown(ref.email or ref.external_id)
        elif planned.isdisjoint(ref.keys):
            values = _values(ref)
            if isinstance(values, Refusal):
                answers[index] = values
            else:
                missing.append(values)
                planned.update(ref.keys)
    return missing


def _two(owners: Sequence[int]) -> Refusal:
    names = [public_id("cus", number) for number in owners]
    message = f"The email and the externalId point to two customers, {' and '.join(names)}; give one, or merge the two."
    return Refusal("customer_conflict", message, {"customers": names})


def _values(ref: CustomerRef) -> dict[str, Any] | Refusal:
    try:
        given = {**ref.fields, "external_id": ref.external_id, "email": ref.email}
        values = {**dict.fromkeys(COLUMNS, ""), **clean_fields(given)}
        values["metadata"] = merge_metadata({}, values.get("metadata", {}))
    except Refusal as refusal:
        return refusal
    except Wrong as wrong:
        return refused_fields({"metadata": [str(wrong)]})
    return values


def _make(workspace_id: int, missing: Sequence[dict[str, Any]]) -> None:
    columns: list[Any] = [[values[name] for values in missing] for name in COLUMNS]
    columns.append([Jsonb(values["metadata"]) for values in missing])
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [workspace_id, *columns])
        numbers = [number for (number,) in cursor.fetchall()]
    announce_many([created(Customer(pk=number, workspace_id=workspace_id), None) for number in numbers])
