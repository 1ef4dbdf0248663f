"""What the OpenAPI document says of an endpoint, in one decorator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers

from accounts.errors import STATUS

Handler = TypeVar("Handler", bound=Callable[..., Any])


class ErrorSerializer(serializers.Serializer[Any]):
    """Every error of every endpoint."""

    code = serializers.CharField(help_text="For programs.")
    message = serializers.CharField(help_text="For people: what, where, how to mend.")
    details = serializers.DictField(help_text="Depends on the code.")


class KeyScheme(OpenApiAuthenticationExtension):
    """API keys."""

    target_class = "accounts.api.authentication.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """As OpenAPI writes it."""
        return {"type": "http", "scheme": "bearer", "description": "An API key: `ow_<prefix>_<secret>`."}


class BrowserScheme(OpenApiAuthenticationExtension):
    """A signed-in browser."""

    target_class = "accounts.api.authentication.BrowserAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """As OpenAPI writes it."""
        return {"type": "apiKey", "in": "cookie", "name": "session", "description": "The cookie of a signed-in person."}


COMMON = ("unauthenticated", "scope_missing", "not_found", "rate_limited", "unavailable")
CHANGING = ("malformed", "idempotency_conflict", "too_large", "media_type", "invalid")
IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="1 to 255 printable characters, kept 24 hours.",
)
PAGING = (
    OpenApiParameter("limit", OpenApiTypes.INT, description="1 to 100, usually 25."),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="`nextCursor` of the page before."),
)


def describe(
    operation: str,
    summary: str,
    *,
    answer: Any = None,
    status: int = 200,
    request: Any = None,
    codes: Sequence[str] = (),
    query: Sequence[str | OpenApiParameter] = (),
    paged: bool = False,
    media: Sequence[str] = ("application/json",),
) -> Callable[[Handler], Handler]:
    """Declare one method of a view: its unique name (`customers_list`), one line, the answer's and the request's
    serializer (None: no body), error codes beyond the common ones, query parameters. `media`: what the request may be
    sent as."""
    changing = request is not None or status in (201, 202, 204)
    wanted = [*COMMON, *(CHANGING if changing else ()), *codes]
    responses: dict[Any, Any] = {status: answer if answer is not None else OpenApiResponse(description="Done.")}
    for number in sorted({STATUS[code] for code in wanted}):
        names = ", ".join(dict.fromkeys(code for code in wanted if STATUS[code] == number))
        responses[number] = OpenApiResponse(ErrorSerializer, description=names)
    parameters = [_parameter(item) for item in query] + list(PAGING if paged else ())
    decorate = extend_schema(
        operation_id=operation,
        summary=summary,
        request=dict.fromkeys(media, request) if request is not None else None,
        responses=responses,
        parameters=[*parameters, *((IDEMPOTENCY,) if changing else ())],
        tags=[operation.split("_")[0]],
    )

    def apply(handler: Handler) -> Handler:
        decorated: Handler = decorate(handler)
        return decorated

    return apply


def _parameter(item: str | OpenApiParameter) -> OpenApiParameter:
    return OpenApiParameter(item, OpenApiTypes.STR) if isinstance(item, str) else item


@cache
def page(plural: str, item: Any) -> Any:
    """The serializer of a list answer; one for all endpoints that answer with the same list."""
    name = f"{plural[0].upper()}{plural[1:]}Page"
    return inline_serializer(name, {plural: item(many=True), "nextCursor": serializers.CharField(allow_null=True)})


def free(name: str) -> Any:
    """An answer whose fields are described elsewhere (JSON Schema of the catalogue, definitions)."""
    return OpenApiResponse(OpenApiTypes.OBJECT, description=name)
