"""What browsers need is not done for programs, and nothing is let through by that (CONTRACTS 8, PERFORMANCE W6)."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.api.keys import carries_key
from config import browsers
from tests.factories import make_api_key, make_workspace, owner_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "header", "by_key"),
    [
        ("/api/v1/events", "Bearer ow_x", True),
        ("/api/v1/events", "bearer", True),
        ("/api/v1/events", "Basic YTpi", False),
        ("/api/v1/events", "", False),
        ("/api/v1", "Bearer ow_x", False),
        ("/admin/", "Bearer ow_x", False),
        ("/admin/api/v1/", "Bearer ow_x", False),
    ],
)
def test_only_rest_requests_with_a_key_pass_by(path: str, header: str, by_key: bool) -> None:
    request = RequestFactory().get(path, **({"HTTP_AUTHORIZATION": header} if header else {}))
    assert carries_key(request) == by_key
    seen: list[bool] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(hasattr(request, "session"))
        return HttpResponse()

    browsers.SessionMiddleware(view)(request)
    assert seen == [not by_key]


def test_a_key_beside_a_session_costs_no_look_at_the_session() -> None:
    workspace = make_workspace()
    _, text = make_api_key(workspace, ["admin"])
    client = Client(HTTP_AUTHORIZATION=f"Bearer {text}")
    client.force_login(owner_of(workspace))
    with CaptureQueriesContext(connection) as queries:
        answer = client.get("/api/v1/api-keys/key_0")
    assert (answer.status_code, len(queries), answer.cookies) == (404, 1, {})


def test_a_bad_key_beside_a_good_session_is_refused() -> None:
    client = Client(HTTP_AUTHORIZATION="Bearer ow_nothing")
    client.force_login(owner_of(make_workspace()))
    assert client.get("/api/v1/workspace").status_code == 401
    del client.defaults["HTTP_AUTHORIZATION"]
    assert client.get("/api/v1/workspace").status_code == 200


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/logout/"])
def test_a_key_is_no_way_round_the_csrf_check(path: str) -> None:
    client = Client(enforce_csrf_checks=True, HTTP_AUTHORIZATION="Bearer ow_x")
    assert client.post(path, {}).status_code == 403


def test_a_view_of_rest_that_is_not_exempt_is_checked_all_the_same() -> None:
    """No such view exists; one that is forgotten must not lie open to other sites."""
    request = RequestFactory().post("/api/v1/forgotten", HTTP_AUTHORIZATION="Bearer ow_x")
    request.COOKIES[settings.CSRF_COOKIE_NAME] = "a" * 32
    guard = browsers.CsrfViewMiddleware(lambda request: HttpResponse())
    answer = guard.process_view(request, lambda request: HttpResponse(), (), {})
    assert answer is not None
    assert answer.status_code == 403
