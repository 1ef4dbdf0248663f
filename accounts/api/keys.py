"""Keys in the header of a request, as far as they can be told without the database (CONTRACTS 8)."""

from __future__ import annotations

from django.http import HttpRequest

ADDRESSES = "/api/v1/"


def key_text(request: HttpRequest) -> str | None:
    """What stands behind `Authorization: Bearer`; None without such a header."""
    scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def carries_key(request: HttpRequest) -> bool:
    """Whether a request to the REST interface is made with a key, good or bad: then it is nobody's session."""
    return request.path_info.startswith(ADDRESSES) and key_text(request) is not None
