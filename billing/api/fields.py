"""Fields of request bodies that billing needs: amounts, due dates, and references of its objects."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Model
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.actor import Actor
from accounts.api.base import Reference, TimeField
from accounts.errors import Refusal
from accounts.services.resolving import CustomerRef, resolve_customers


@extend_schema_field({"type": "string", "example": "129.00"})
class AmountField(serializers.Field[Any, Any, Any, Any]):
    """An amount as text with a point. The service reads it, for it knows the currency."""

    def to_internal_value(self, data: Any) -> str | int | Decimal:
        """Text or an exact number; never a float or anything else."""
        if isinstance(data, (str, int, Decimal)) and not isinstance(data, bool):
            return data
        raise serializers.ValidationError('Write the amount as text with a point, such as "129.00".')

    def to_representation(self, value: Any) -> Any:
        """Amounts are only read here."""
        return value


@extend_schema_field({"type": "string", "format": "date", "example": "2026-11-30"})
class DueField(serializers.Field[Any, Any, Any, Any]):
    """A date, which is due at its end where the workspace is, or an ISO time."""

    def to_internal_value(self, data: Any) -> date | datetime:
        """`2026-11-30` or `2026-11-30T12:00:00Z`, within the years that a calendar date can be moved in."""
        text = data if isinstance(data, str) else ""
        try:
            found: date = date.fromisoformat(text) if len(text) == 10 else TimeField().run_validation(text)
        except ValueError:
            raise serializers.ValidationError("Write a date such as 2026-11-30.") from None
        if not 1900 <= found.year <= 9000:
            raise serializers.ValidationError("Write a date between the years 1900 and 9000.")
        return found

    def to_representation(self, value: Any) -> Any:
        """Due dates are only read here."""
        return value


def metadata_field() -> Any:
    """Text pairs, merged key by key; null removes a key (BIL-10)."""
    return serializers.DictField(required=False, allow_null=True, child=serializers.JSONField(allow_null=True))


def external_id_field() -> Any:
    """The caller's own id of the object."""
    return serializers.CharField(required=False, allow_blank=True, max_length=200)


def customer_number(actor: Actor, ref: Reference) -> int:
    """The customer that a body names; `unknown_reference` when there is none."""
    wanted = CustomerRef(ref.number, ref.external_id, ref.email)
    found = resolve_customers(workspace_id=actor.workspace_id, refs=[wanted], make=False)[0]
    if isinstance(found, Refusal):
        raise found
    return found


def numbers(actor: Actor, model: type[Model], refs: list[Reference], what: str, prefix: str) -> list[int]:
    """The objects that a body names, in order, with one query; `unknown_reference` names the first that is missing."""
    rows = model._default_manager.filter(workspace_id=actor.workspace_id)
    ids = [ref.number for ref in refs if ref.number is not None]
    outside = [ref.external_id for ref in refs if ref.external_id]
    by_id = set(rows.filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()
    by_name = dict(rows.filter(external_id__in=outside).values_list("external_id", "pk")) if outside else {}
    found = []
    for ref in refs:
        number = ref.number if ref.number in by_id else by_name.get(ref.external_id)
        if number is None:
            raise _unknown(what, ref, prefix)
        found.append(number)
    return found


def _unknown(what: str, ref: Reference, prefix: str) -> Refusal:
    name = ref.external_id or f"{prefix}_{ref.number}"
    return Refusal("unknown_reference", f"There is no {what} “{name}” in this workspace.", {"id": name})
