"""Every exception becomes `{code, message, details}` (CONTRACTS 1)."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError, connection
from django.http import Http404
from django.test import Client, RequestFactory
from psycopg.errors import ReadOnlySqlTransaction
from rest_framework import exceptions

from accounts.api.exceptions import as_refusal, handle_exception, unknown_address
from accounts.api.urls import fallback
from accounts.errors import STATUS, Refusal
from tests.factories import ApiClient, make_api_key, make_workspace


def read_only() -> InternalError:
    error = InternalError("cannot execute UPDATE in a read-only transaction")
    error.__cause__ = ReadOnlySqlTransaction()
    return error


EXPECTED: list[tuple[Exception, str]] = [
    (Refusal("has_runs", "m"), "has_runs"),
    (Http404(), "not_found"),
    (exceptions.NotFound(), "not_found"),
    (exceptions.MethodNotAllowed("PUT"), "method_not_allowed"),
    (exceptions.UnsupportedMediaType("text/plain"), "media_type"),
    (exceptions.ParseError(), "malformed"),
    (exceptions.NotAcceptable(), "not_acceptable"),
    (exceptions.NotAuthenticated(), "unauthenticated"),
    (exceptions.AuthenticationFailed(), "unauthenticated"),
    (exceptions.PermissionDenied(), "role_missing"),
    (exceptions.Throttled(wait=0.2), "rate_limited"),
    (exceptions.ValidationError({"a": ["wrong"]}), "invalid"),
    (PermissionDenied(), "role_missing"),
    (RequestDataTooBig(), "too_large"),
    (SuspiciousOperation(), "malformed"),
    (OperationalError("server closed the connection"), "unavailable"),
    (InterfaceError("connection already closed"), "unavailable"),
    (read_only(), "unavailable"),
]


@pytest.mark.parametrize(("error", "code"), EXPECTED, ids=[f"{type(e).__name__}-{c}" for e, c in EXPECTED])
def test_an_exception_means_a_code(error: Exception, code: str) -> None:
    answer = handle_exception(error, {})
    assert answer.status_code == STATUS[code]
    assert answer.data["code"] == code
    assert set(answer.data) == {"code", "message", "details"}
    assert answer.data["message"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), InternalError("x"), exceptions.APIException()])
def test_our_own_faults_are_nobodys_refusal(error: Exception) -> None:
    assert as_refusal(error) is None


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (Refusal("unauthenticated", "m"), "WWW-Authenticate", 'Bearer realm="onward"'),
        (Refusal("key_revoked", "m"), "WWW-Authenticate", 'Bearer realm="onward"'),
        (OperationalError(), "Retry-After", "5"),
        (exceptions.Throttled(wait=0.002), "Retry-After", "1"),
        (exceptions.Throttled(wait=2.5), "Retry-After", "3"),
        (exceptions.Throttled(), "Retry-After", "1"),
    ],
)
def test_an_answer_says_how_to_go_on(error: Exception, header: str, value: str) -> None:
    # CONTRACTS 1: 429 with Retry-After
    assert handle_exception(error, {}).headers[header] == value


@pytest.mark.parametrize(
    ("detail", "fields"),
    [
        ({"a": ["x", "y"]}, {"a": ["x", "y"]}),
        ({"a": {"b": ["x"]}}, {"a.b": ["x"]}),
        ({"a": [{}, {"b": ["x"]}]}, {"a[1].b": ["x"]}),
        ({"non_field_errors": ["x"]}, {"": ["x"]}),
        ({"a": {"non_field_errors": ["x"]}}, {"a": ["x"]}),
        ({"a": {1: {"b": ["x"]}}}, {"a[1].b": ["x"]}),
        (["x"], {"": ["x"]}),
        ({"a": [[{"b": ["x"]}]]}, {"a[0][0].b": ["x"]}),
    ],
)
def test_nested_errors_become_paths(detail: Any, fields: dict[str, list[str]]) -> None:
    refusal = as_refusal(exceptions.ValidationError(detail))
    assert refusal is not None
    assert refusal.details == {"fields": fields}
    assert "x" in refusal.message


def test_our_own_fault_is_logged_once_and_answered_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="onward.api"):
        answer = handle_exception(RuntimeError("password=hunter2"), {})
    assert answer.status_code == 500
    assert "hunter2" not in str(answer.data)
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_an_unknown_address_is_json() -> None:
    answer = unknown_address(RequestFactory().get("/api/v1/nowhere"), path="nowhere")
    assert answer.status_code == 404
    assert b"/api/v1/nowhere" in answer.content


@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/v1/invoices//finalize", "/api/v1/", "/api/v1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_while_developing_too_and_without_a_token(settings: LazySettings, path: str, method: str) -> None:
    """There an address of ours stands in the place of the framework's page, and its guard against forged forms before it."""
    settings.DEBUG, settings.ROOT_URLCONF = True, (fallback,)
    answer = Client(enforce_csrf_checks=True).generic(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_a_read_only_database_is_503() -> None:
    # CONTRACTS 1: database away or read-only
    _, text = make_api_key(make_workspace())
    client = ApiClient(text)
    assert client.get("/limits").status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("set default_transaction_read_only = on")
    try:
        answer = client.post("/tasks", {"title": "t"})
    finally:
        with connection.cursor() as cursor:
            cursor.execute("set default_transaction_read_only = off")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"] == "5"
    assert client.get("/limits").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_lost_database_is_503_and_comes_back() -> None:
    # CONTRACTS 1
    _, text = make_api_key(make_workspace())
    client = ApiClient(text)
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = "no_such_database"
    try:
        answer = client.get("/limits")
    finally:
        connection.settings_dict["NAME"] = name
        connection.close()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert client.get("/limits").status_code == 200
