"""Rows that an address or a query parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db.models import QuerySet

from accounts.api.base import Request, actor_of
from accounts.errors import not_found
from accounts.ids import PREFIXES, parse_id
from billing.models import BillingObject

Row = TypeVar("Row", bound=BillingObject)


def rows_of(request: Request, model: type[Row]) -> QuerySet[Row]:
    """The workspace's objects of a kind."""
    return model._default_manager.filter(workspace_id=actor_of(request).workspace_id)


def find(request: Request, model: type[Row], name: str) -> Row:
    """The object of an address; unknown and foreign ones are 404."""
    row = rows_of(request, model).filter(pk=parse_id(model.id_prefix, name)).first()
    if row is None:
        raise not_found(PREFIXES[model.id_prefix], name)
    return row


def narrowed(request: Request, rows: QuerySet[Row], references: Mapping[str, tuple[str, str]]) -> QuerySet[Row]:
    """Only those with the query's `externalId`, and those that belong to what its references name: parameter ->
    (prefix, column)."""
    wanted: dict[str, Any] = {}
    if request.query_params.get("externalId"):
        wanted["external_id"] = request.query_params["externalId"]
    for name, (prefix, column) in references.items():
        value = request.query_params.get(name)
        if value:
            wanted[column] = parse_id(prefix, value)
    return rows.filter(**wanted)
