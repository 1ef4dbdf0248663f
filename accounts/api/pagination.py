"""Lists page by key and never count: `{"<plural>": [...], "nextCursor": "..." | null}` (CONTRACTS 1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import Refusal, invalid

USUAL = 25
MOST = 100
Row = TypeVar("Row", bound=Model)


def list_response(
    request: Request,
    queryset: QuerySet[Row],
    plural: str,
    serialize: Callable[[Sequence[Row]], Sequence[dict[str, Any]]],
    *,
    ascending: bool = False,
    field: str = "id",
) -> Response:
    """One page of a query, newest first unless `ascending`. `serialize` gets all rows of the page at once, so that it
    can read what belongs to them in bulk. `field` is a unique bigint column with an index `(workspace_id, field)`."""
    limit, after = page_of(request)
    if after is not None:
        queryset = queryset.filter(**{f"{field}__{'gt' if ascending else 'lt'}": after})
    rows = list(queryset.order_by(field if ascending else f"-{field}")[: limit + 1])
    more, rows = len(rows) > limit, rows[:limit]
    cursor = write_cursor(int(getattr(rows[-1], field))) if more else None
    return Response({plural: list(serialize(rows)), "nextCursor": cursor})


def page_of(request: Request) -> tuple[int, int | None]:
    """Limit and the key to go on after; `invalid` when they cannot be read."""
    text = request.query_params.get("limit", str(USUAL))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST):
        raise invalid("limit", f"must be a number from 1 to {MOST}")
    cursor = request.query_params.get("cursor")
    return int(text), None if not cursor else read_cursor(cursor)


def write_cursor(key: int) -> str:
    """An opaque text for the place after a row."""
    return base64.urlsafe_b64encode(f"1:{key}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> int:
    """The key of a cursor that we wrote."""
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
        version, _, key = text.partition(":")
        number = int(key) if version == "1" and key.isdigit() and len(key) <= 19 else -1
    except (UnicodeError, binascii.Error, ValueError):
        number = -1
    if not 0 <= number < 2**63:
        raise Refusal(
            "invalid", "cursor: this is none of ours; begin again without it.", {"fields": {"cursor": ["unknown"]}}
        )
    return number
