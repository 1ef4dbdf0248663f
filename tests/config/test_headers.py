"""Headers of every answer, limits of every session, and the shape of errors nobody caught."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from config import errors, sessions
from config.headers import POLICY, HeadersMiddleware


def answer(path: str, view: Callable[[HttpRequest], HttpResponse] = lambda request: HttpResponse("x")) -> HttpResponse:
    return HeadersMiddleware(view)(RequestFactory().get(path))


class TestHeaders:
    @pytest.mark.parametrize("path", ["/healthz", "/admin/login/", "/nowhere", "/api/v1/nowhere", "/api/docs/"])
    def test_every_page_has_the_strict_policy(self, path: str, db: None) -> None:
        found = Client().get(path)
        assert found.headers["Content-Security-Policy"] == POLICY
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Referrer-Policy"] == "same-origin"
        assert found.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert found.headers["X-Frame-Options"] == "DENY"
        assert "no-store" in found.headers["Cache-Control"]

    def test_the_policy_allows_no_inline_script_and_nothing_from_elsewhere(self) -> None:
        assert "unsafe" not in POLICY
        assert "http" not in POLICY
        assert "*" not in POLICY
        for rule in ("default-src 'none'", "base-uri 'none'", "object-src 'none'", "frame-ancestors 'none'"):
            assert rule in POLICY.split("; ")

    def test_a_view_may_say_how_its_answer_is_kept(self) -> None:
        found = answer("/api/v1/catalogue", lambda request: HttpResponse(headers={"Cache-Control": "private"}))
        assert found.headers["Cache-Control"] == "private"

    def test_static_files_may_be_kept(self) -> None:
        assert "Cache-Control" not in answer("/static/x.css").headers

    def test_the_documentation_of_the_interface_fetches_nothing_from_elsewhere(self, db: None) -> None:
        page = Client().get("/api/docs/").content.decode()
        assert "//cdn" not in page
        assert 'src="http' not in page
        assert "<script>" not in page

    def test_the_start_leads_to_the_admin(self) -> None:
        found = Client().get("/")
        assert (found.status_code, found.headers["Location"]) == (302, "/admin/")


class Person(AnonymousUser):
    """Somebody signed in."""

    is_authenticated = True  # type: ignore[assignment]  # the property of the parent says False


class TestSessions:
    def visit(self, session: SessionBase) -> HttpRequest:
        request = RequestFactory().get("/")
        request.session = session
        request.user = Person()
        sessions.SessionLimitsMiddleware(lambda request: HttpResponse())(request)
        return request

    def test_a_session_ends_after_seven_days_however_used(self) -> None:
        session = SessionStore()
        session["began"] = int(time.time()) - sessions.TOTAL_SECONDS - 1
        session["seen"] = int(time.time())
        request = self.visit(session)
        assert isinstance(request.user, AnonymousUser)
        assert not isinstance(request.user, Person)
        assert "began" not in request.session

    def test_use_renews_it_at_most_every_five_minutes(self) -> None:
        session = SessionStore()
        now = int(time.time())
        session["began"], session["seen"] = now - 1000, now - sessions.RENEW_SECONDS + 60
        session.modified = False
        assert self.visit(session).session.modified is False
        session["seen"], session.modified = now - sessions.RENEW_SECONDS - 1, False
        assert self.visit(session).session.modified is True

    def test_its_beginning_is_noted(self) -> None:
        assert self.visit(SessionStore()).session["began"] <= int(time.time())


class TestErrors:
    def test_an_unknown_address_of_the_interface(self, db: None) -> None:
        found = Client().get("/api/v1/nowhere")
        assert found.status_code == 404
        assert found.json() == {
            "code": "not_found",
            "message": "There is nothing at /api/v1/nowhere. The addresses are listed at /api/docs/.",
            "details": {},
        }

    def test_elsewhere_a_page(self, db: None) -> None:
        assert Client().get("/nowhere").headers["Content-Type"].startswith("text/html")

    @pytest.mark.parametrize(
        ("handler", "status", "code"),
        [
            (lambda request: errors.bad_request(request, ValueError("x")), 400, "malformed"),
            (lambda request: errors.forbidden(request, ValueError("x")), 403, "role_missing"),
            (errors.server_error, 500, "server_error"),
        ],
    )
    def test_one_shape_under_api(self, handler: Callable[[HttpRequest], HttpResponse], status: int, code: str) -> None:
        found = handler(RequestFactory().get("/api/v1/x"))
        body = json.loads(found.content)
        assert (found.status_code, body["code"], set(body)) == (status, code, {"code", "message", "details"})
        assert not handler(RequestFactory().get("/x")).headers["Content-Type"].startswith("application/json")

    def test_an_unknown_host_is_refused(self) -> None:
        found = Client(headers={"Host": "evil.example"}).get("/api/v1/customers")
        assert (found.status_code, found.json()["code"]) == (400, "malformed")
