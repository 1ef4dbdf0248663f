"""Errors that no view answered: under `/api/` in the one shape of CONTRACTS 1, elsewhere as Django's pages."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views import defaults


def _of_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _answer(status: int, code: str, message: str) -> HttpResponse:
    return JsonResponse({"code": code, "message": message, "details": {}}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """400: the request itself cannot be read, an unknown host among it."""
    if _of_api(request):
        return _answer(400, "malformed", "The request cannot be read: check its host, headers and body.")
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """403 raised outside the REST views."""
    if _of_api(request):
        return _answer(403, "role_missing", "This is not allowed with your role or key.")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """404: no such address."""
    if _of_api(request):
        return _answer(404, "not_found", f"There is nothing at {request.path}. The addresses are listed at /api/docs/.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """500: a fault of ours; the log has it."""
    if _of_api(request):
        return _answer(500, "server_error", "Something failed on our side and was logged; try again.")
    return defaults.server_error(request)
