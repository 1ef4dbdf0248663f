"""References to billing objects, resolved in bulk (CONTRACTS 7: an id, or `{"externalId": "A-17"}`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Model, Q

Ref = int | Mapping[str, str]


def resolve(
    model: type[Model], workspace_id: int, refs: Sequence[Ref], columns: Mapping[str, str]
) -> list[Mapping[str, int] | None]:
    """One query. `columns` maps subject names to the columns that hold them (`{"customer": "customer_id"}`); what is null
    is left out. None for each reference that the workspace has no object for."""
    ids = [ref for ref in refs if isinstance(ref, int)]
    outside = [ref["externalId"] for ref in refs if isinstance(ref, Mapping) and ref.get("externalId")]
    wanted = Q(pk__in=ids) | Q(external_id__in=outside)
    rows = model._default_manager.filter(wanted, workspace_id=workspace_id).values(
        "id", "external_id", *columns.values()
    )
    found: dict[Any, Mapping[str, int]] = {}
    for row in rows:
        subjects = {name: row[column] for name, column in columns.items() if row[column] is not None}
        found[row["id"]] = found[row["external_id"]] = subjects
    return [found.get(_key(ref)) for ref in refs]


def _key(ref: Ref) -> int | str | None:
    """The key of a reference in what was found; an empty external id names nothing."""
    return ref if isinstance(ref, int) else ref.get("externalId") or None
