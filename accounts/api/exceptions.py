"""One shape for every error: `{code, message, details}` (CONTRACTS 1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from psycopg.errors import LockNotAvailable, ReadOnlySqlTransaction
from rest_framework import exceptions
from rest_framework.response import Response

from accounts.errors import Refusal
from accounts.repeating import is_contended

logger = logging.getLogger("onward.api")


def handle_exception(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Any exception of a view as an answer. What is nobody's refusal is logged and answered as 500 without its text."""
    refusal = as_refusal(exc)
    if refusal is None:
        logger.exception("An API request failed.", exc_info=exc)
        got_request_exception.send(sender=None, request=getattr(context.get("request"), "_request", None))
        refusal = Refusal(
            "server_error", "Something went wrong on our side; nothing was changed. Try again or tell us."
        )
    return Response(refusal.as_dict(), status=refusal.status, headers=_headers(exc, refusal))


def as_refusal(exc: Exception) -> Refusal | None:
    """What an exception means to the caller; None when it is our fault."""
    if isinstance(exc, Refusal):
        return exc
    if isinstance(exc, exceptions.APIException):
        return _of_framework(exc)
    if isinstance(exc, Http404):
        return Refusal("not_found", "There is nothing at this address.")
    if isinstance(exc, RequestDataTooBig):
        return Refusal("too_large", "The body is larger than 8 MB; send less at once.")
    if isinstance(exc, SuspiciousOperation):
        return Refusal("malformed", "The request cannot be read.")
    if isinstance(exc, PermissionDenied):
        return Refusal("role_missing", "This is not allowed to you.")
    if isinstance(exc, OperationalError) and (is_contended(exc) or isinstance(exc.__cause__, LockNotAvailable)):
        return Refusal("unavailable", "Others are changing the same records at this moment; send the request again.")
    if isinstance(exc, (OperationalError, InterfaceError)) or isinstance(exc.__cause__, ReadOnlySqlTransaction):
        return Refusal("unavailable", "The database is away or read-only at the moment; try again soon.")
    return None


def _of_framework(exc: exceptions.APIException) -> Refusal | None:
    if isinstance(exc, exceptions.ValidationError):
        return _invalid(exc.detail)
    if isinstance(exc, exceptions.Throttled):
        wait = max(ceil(getattr(exc, "wait", None) or 0), 1)
        return Refusal("rate_limited", f"Too many requests; wait {wait} s.", {"retryAfter": wait})
    if isinstance(exc, exceptions.MethodNotAllowed):
        return Refusal(
            "method_not_allowed", f"{exc.args[0] if exc.args else 'This method'} is not offered at this address."
        )
    for kind, code, message in _PLAIN:
        if isinstance(exc, kind):
            return Refusal(code, message)
    return None


_PLAIN: list[tuple[type[exceptions.APIException], str, str]] = [
    (exceptions.NotFound, "not_found", "There is nothing at this address."),
    (exceptions.UnsupportedMediaType, "media_type", "Send the body as application/json."),
    (exceptions.ParseError, "malformed", "The body cannot be read."),
    (exceptions.NotAcceptable, "not_acceptable", "This address answers in application/json."),
    (exceptions.NotAuthenticated, "unauthenticated", "Send an API key in the header Authorization: Bearer <key>."),
    (exceptions.AuthenticationFailed, "unauthenticated", "This API key or session is not valid."),
    (exceptions.PermissionDenied, "role_missing", "This is not allowed to you."),
]


def _invalid(detail: Any) -> Refusal:
    fields: dict[str, list[str]] = {}
    _flatten(detail, "", fields)
    name, messages = next(iter(fields.items()), ("", ["The request is not acceptable."]))
    return Refusal("invalid", f"{name}: {messages[0]}" if name else messages[0], {"fields": fields})


def _flatten(detail: Any, path: str, fields: dict[str, list[str]]) -> None:
    """Nested errors become `lines[2].amount`."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            _flatten(value, _below(path, key), fields)
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for index, value in enumerate(detail):
            if isinstance(value, str):
                fields.setdefault(path, []).append(str(value))
            elif value:
                _flatten(value, f"{path}[{index}]", fields)
    else:
        fields.setdefault(path, []).append(str(detail))


def _below(path: str, key: object) -> str:
    if isinstance(key, int):  # an item of a list
        return f"{path}[{key}]"
    if key == "non_field_errors":
        return path
    return f"{path}.{key}" if path else str(key)


def _headers(exc: Exception, refusal: Refusal) -> dict[str, str]:
    if refusal.status == 401:
        return {"WWW-Authenticate": 'Bearer realm="onward"'}
    if refusal.status == 503:
        return {"Retry-After": "5"}
    if refusal.status == 429:
        return {"Retry-After": str(refusal.details.get("retryAfter", 1))}
    return {}


def unknown_address(request: HttpRequest, exception: Exception | None = None, path: str | None = None) -> JsonResponse:
    """Everything under `/api/v1/` that is no endpoint; the last entry of the project's addresses."""
    refusal = Refusal("not_found", f"There is nothing at {request.path[:200]}; see /api/docs/.")
    return JsonResponse(refusal.as_dict(), status=refusal.status)
