"""Keys, sessions and scopes (EXE-09, CONTRACTS 8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.api import authentication
from accounts.clock import real_now
from accounts.models import ApiKey, Membership, RateBucket, Workspace
from accounts.permissions import ROLES, SCOPES
from tests.factories import (
    ApiClient,
    make_api_client,
    make_api_key,
    make_browser,
    make_customer,
    make_member,
    make_user,
    make_workspace,
    owner_of,
)

PLAIN = {"cursor_factory": psycopg.Cursor, "context": None}  # for a connection that is not Django's


def test_no_key_a_wrong_one_and_a_right_one(workspace: Workspace) -> None:
    # EXE-09
    _, text = make_api_key(workspace)
    assert ApiClient().get("/customers").status_code == 401
    assert ApiClient(text[:-1] + ("a" if text[-1] != "a" else "b")).get("/customers").status_code == 401
    assert ApiClient(text).get("/customers").status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer ow_x_y", "Bearer " + "ow_" + "a" * 500, "Basic abc"]
)
def test_a_header_that_is_no_key_is_401(db: None, header: str) -> None:
    # EXE-09
    answer = Client().get("/api/v1/customers", HTTP_AUTHORIZATION=header)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_revoked_and_an_expired_key_say_so(workspace: Workspace, api: ApiClient) -> None:
    # CONTRACTS 1
    key, text = make_api_key(workspace, ["read"])
    assert ApiClient(text).get("/limits").status_code == 200
    assert api.delete(f"/api-keys/{key.public_id}").status_code == 200
    refused = ApiClient(text).get("/limits")
    assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")
    late, text = make_api_key(workspace, ["read"], expires_at=real_now() + timedelta(hours=1))
    ApiKey.objects.filter(pk=late.pk).update(expires_at=real_now() - timedelta(seconds=1))
    refused = ApiClient(text).get("/limits")
    assert (refused.status_code, refused.json()["code"]) == (401, "key_expired")


def test_a_key_of_another_workspace_finds_nothing(api: ApiClient, other: Workspace) -> None:
    # EXE-09
    foreign = make_customer(other)
    assert api.get(f"/customers/{foreign.public_id}").status_code == 404


def test_a_key_shows_its_secret_once(api: ApiClient) -> None:
    # CONTRACTS 8
    made = api.post("/api-keys", {"name": "CRM", "scopes": ["read", "events"]})
    assert made.status_code == 201, made.content
    key = made.json()
    assert key["secret"].startswith(f"ow_{key['prefix']}_")
    listed = api.get("/api-keys").content.decode() + api.get(f"/api-keys/{key['id']}").content.decode()
    assert key["secret"] not in listed
    assert key["secret"].split("_", 2)[2] not in listed
    row = ApiKey.objects.get(prefix=key["prefix"])
    assert len(row.secret_sha256) == 64
    assert key["secret"] not in str(vars(row))


def test_the_secret_is_not_kept_for_replays_either(api: ApiClient) -> None:
    # CONTRACTS 8: shown once
    body = {"name": "CRM", "scopes": ["read"]}
    first = api.post("/api-keys", body, HTTP_IDEMPOTENCY_KEY="k")
    again = api.post("/api-keys", body, HTTP_IDEMPOTENCY_KEY="k")
    assert first.json()["secret"]
    assert again.json() == {**first.json(), "secret": None}


def test_a_key_gets_no_more_than_its_maker_has(workspace: Workspace) -> None:
    # CONTRACTS 8
    narrow = make_api_client(workspace, scopes=["read", "admin"])
    refused = narrow.post("/api-keys", {"name": "more", "scopes": ["read", "publish"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert refused.json()["details"]["scopes"] == ["publish"]
    assert narrow.post("/api-keys", {"name": "same", "scopes": ["read"]}).status_code == 201


@pytest.mark.parametrize("scopes", [[], ["everything"], ["read", "root"]])
def test_a_key_needs_known_scopes(api: ApiClient, scopes: list[str]) -> None:
    answer = api.post("/api-keys", {"name": "x", "scopes": scopes})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_key_cannot_be_made_expired(api: ApiClient) -> None:
    answer = api.post("/api-keys", {"name": "x", "scopes": ["read"], "expiresAt": "2001-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "expiresAt" in answer.json()["details"]["fields"]


def test_last_use_is_noted_to_the_minute(workspace: Workspace) -> None:
    key, text = make_api_key(workspace, ["read"])
    client = ApiClient(text)
    client.get("/limits")
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    client.get("/limits")
    key.refresh_from_db()
    assert key.last_used_at == first
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=long_ago)
    client.get("/limits")
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at > long_ago


def test_key_use_and_rate_cost_one_statement(workspace: Workspace) -> None:
    # PERFORMANCE W6: what every request pays before its own work
    client = make_api_client(workspace, ["admin"])
    client.get("/api-keys/key_0")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get("/api-keys/key_0").status_code == 404
    assert len(captured) == 1, captured.captured_queries


def test_a_browser_acts_in_its_only_workspace(workspace: Workspace) -> None:
    client = ApiClient()
    client.force_login(owner_of(workspace))
    assert client.get("/workspace").json()["slug"] == workspace.slug


def test_a_browser_with_several_workspaces_must_choose(workspace: Workspace, other: Workspace) -> None:
    # CONTRACTS 8
    person = owner_of(workspace)
    Membership.objects.create(workspace=other, user=person, role="viewer")
    client = ApiClient()
    client.force_login(person)
    refused = client.get("/workspace")
    assert (refused.status_code, refused.json()["code"]) == (409, "choice_required")
    assert set(refused.json()["details"]["workspaces"]) == {workspace.slug, other.slug}
    assert client.get("/workspace", HTTP_ONWARD_WORKSPACE=other.slug).json()["slug"] == other.slug
    session = client.session
    session["workspace"] = workspace.slug
    session.save()
    assert client.get("/workspace").json()["slug"] == workspace.slug
    assert client.get("/workspace", HTTP_ONWARD_WORKSPACE=other.slug).json()["slug"] == other.slug
    viewer = client.patch("/workspace", {"name": "x"}, HTTP_ONWARD_WORKSPACE=other.slug)
    assert (viewer.status_code, viewer.json()["code"]) == (403, "role_missing")


def test_a_foreign_workspace_is_unknown(workspace: Workspace, other: Workspace) -> None:
    client = ApiClient()
    client.force_login(owner_of(workspace))
    for slug in (other.slug, "no-such-workspace"):
        answer = client.get("/workspace", HTTP_ONWARD_WORKSPACE=slug)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_person_without_workspace_is_told(db: None) -> None:
    client = ApiClient()
    client.force_login(make_user())
    answer = client.get("/workspace")
    assert (answer.status_code, answer.json()["code"]) == (403, "role_missing")


def test_a_browser_needs_its_csrf_token_to_change_things(workspace: Workspace) -> None:
    # CONTRACTS 8
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner_of(workspace))
    assert client.get("/api/v1/workspace").status_code == 200
    answer = client.patch("/api/v1/workspace", {"name": "x"}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")


def test_a_key_needs_no_csrf_token(workspace: Workspace) -> None:
    _, text = make_api_key(workspace)
    client = Client(enforce_csrf_checks=True, HTTP_AUTHORIZATION=f"Bearer {text}")
    answer = client.patch("/api/v1/workspace", {"name": "New"}, content_type="application/json")
    assert answer.status_code == 200


def test_an_inactive_person_is_out(workspace: Workspace) -> None:
    person = make_member(workspace, "editor")
    client = ApiClient()
    client.force_login(person)
    assert client.get("/workspace").status_code == 200
    person.is_active = False
    person.save()
    assert client.get("/workspace").status_code == 401


@pytest.mark.parametrize("role", list(ROLES))
def test_a_role_has_its_scopes_and_no_others(workspace: Workspace, role: str) -> None:
    # CONTRACTS 8, the table
    client = make_browser(workspace, role)
    trials = {
        "read": client.get("/customers"),
        "customers": client.post("/customers", {}),
        "operate": client.post("/tasks", {}),
        "edit": client.post("/funnels", {}),
        "admin": client.patch("/workspace", {}),
    }
    for scope, answer in trials.items():
        assert (answer.status_code == 403) == (scope not in ROLES[role]), (role, scope, answer.content)


def test_the_table_of_roles_is_that_of_the_contract() -> None:
    # CONTRACTS 8
    assert ROLES["viewer"] == {"read"}
    assert ROLES["operator"] == {"read", "events", "customers", "billing", "operate"}
    assert ROLES["editor"] == ROLES["operator"] | {"edit"}
    assert ROLES["publisher"] == ROLES["editor"] | {"publish"}
    assert ROLES["owner"] == set(SCOPES)


def test_rate_headers_count_down(workspace: Workspace) -> None:
    # CONTRACTS 1
    key, text = make_api_key(workspace)
    client = ApiClient(text)
    first = client.get("/limits")
    assert first["RateLimit-Limit"] == "500"
    assert int(first["RateLimit-Remaining"]) == 499
    assert int(first["RateLimit-Reset"]) >= 0
    RateBucket.objects.filter(caller=key.public_id).update(tokens=20, at=real_now() + timedelta(hours=1))
    assert int(client.get("/limits")["RateLimit-Remaining"]) == 19


def test_an_empty_bucket_is_429_and_fills_again(workspace: Workspace) -> None:
    # CONTRACTS 1
    key, text = make_api_key(workspace)
    client = ApiClient(text)
    client.get("/limits")
    # A bucket whose time lies ahead does not fill: the test needs no luck with the clock.
    RateBucket.objects.filter(caller=key.public_id).update(tokens=0.5, at=real_now() + timedelta(hours=1))
    refused = client.get("/limits")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused["Retry-After"] == "1"
    assert refused["RateLimit-Remaining"] == "0"
    again = client.get("/limits")
    assert again.status_code == 429, "being refused does not cost tokens, but there is none yet either"
    assert RateBucket.objects.get(caller=key.public_id).tokens == 0.5
    RateBucket.objects.filter(caller=key.public_id).update(at=real_now() - timedelta(seconds=10))
    full = client.get("/limits")
    assert full.status_code == 200
    assert full["RateLimit-Remaining"] == "499", "never more than the bucket holds"


def test_keys_and_browsers_have_buckets_of_their_own(workspace: Workspace) -> None:
    key, text = make_api_key(workspace)
    browser = make_browser(workspace)
    ApiClient(text).get("/limits")
    RateBucket.objects.filter(caller=key.public_id).update(tokens=0, at=real_now() + timedelta(hours=1))
    assert ApiClient(text).get("/limits").status_code == 429
    assert browser.get("/limits").status_code == 200
    assert RateBucket.objects.filter(caller=owner_of(workspace).public_id).exists()


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_died_meanwhile_is_made_anew() -> None:
    # RELIABILITY 6: admission is the first statement of a request and finds it out
    _, text = make_api_key(make_workspace(), ["read"])
    client = ApiClient(text)
    assert client.get("/limits").status_code == 200
    with psycopg.connect(**{**connection.get_connection_params(), **PLAIN}) as other:
        assert connection.connection is not None
        other.execute("select pg_terminate_backend(%s, 10000)", [connection.connection.info.backend_pid])
    with CaptureQueriesContext(connection) as captured:
        assert client.get("/limits").status_code == 200
    assert not any(query["sql"] == "SELECT 1" for query in captured)


@pytest.mark.django_db(transaction=True)
def test_what_is_no_lost_connection_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def too_long(prefix: str, secret: str, reading: object) -> None:
        asked.append(prefix)
        raise OperationalError("canceling statement due to statement timeout")

    _, text = make_api_key(make_workspace(), ["read"])
    monkeypatch.setattr(authentication, "_ask", too_long)
    assert ApiClient(text).get("/limits").status_code == 503
    assert len(asked) == 1
