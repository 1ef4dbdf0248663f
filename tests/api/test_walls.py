"""Walls between workspaces and between roles, over every endpoint of accounts (INVARIANTS P8; RELIABILITY 46, 47, 48).

The list of endpoints is made from the addresses themselves: a new one that is not described here fails the first test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import URLPattern

from accounts.api import urls
from accounts.models import Customer, Workspace
from accounts.permissions import ROLES
from accounts.services.stages import DEFAULT_FUNNEL, find_stage
from tests.factories import ApiClient, make_api_client, make_api_key, make_browser, make_customer, make_task, unique

Body = dict[str, Any]
Maker = Callable[[Workspace], str]


def _customer(workspace: Workspace) -> str:
    return make_customer(workspace).public_id


def _funnel(workspace: Workspace) -> str:
    return find_stage(workspace.pk, "TRIAL").funnel.public_id


def _stage(workspace: Workspace) -> str:
    return find_stage(workspace.pk, "TRIAL").public_id


def _task(workspace: Workspace) -> str:
    return make_task(workspace).public_id


def _key(workspace: Workspace) -> str:
    return make_api_key(workspace, ["read"])[0].public_id


OBJECTS: dict[str, Maker] = {"customer": _customer, "funnel": _funnel, "stage": _stage, "task": _task, "key": _key}


def _into(workspace: Workspace) -> Body:
    return {"into": make_customer(workspace).public_id}


# method, address, scope, and a body that is acceptable
ENDPOINTS: list[tuple[str, str, str, Callable[[Workspace], Body] | Body]] = [
    ("GET", "customers", "read", {}),
    ("POST", "customers", "customers", lambda _: {"email": f"{unique('new')}@x.test"}),
    ("GET", "customers/<str:customer>", "read", {}),
    ("PATCH", "customers/<str:customer>", "customers", {"name": "New"}),
    ("DELETE", "customers/<str:customer>", "customers", {}),
    ("PUT", "customers/<str:customer>/stage", "customers", {"stage": "TRIAL"}),
    ("POST", "customers/<str:customer>/tags/<str:tag>", "customers", {}),
    ("DELETE", "customers/<str:customer>/tags/<str:tag>", "customers", {}),
    ("PUT", "customers/<str:customer>/consent", "customers", {"state": "unsubscribed"}),
    ("POST", "customers/<str:customer>/merge", "customers", _into),
    ("GET", "customers/<str:customer>/export", "customers", {}),
    ("GET", "funnels", "read", {}),
    ("POST", "funnels", "edit", lambda _: {"name": unique("Funnel")}),
    ("GET", "funnels/<str:funnel>", "read", {}),
    ("PATCH", "funnels/<str:funnel>", "edit", {"name": "New"}),
    ("GET", "stages", "read", {}),
    ("POST", "stages", "edit", lambda _: {"funnel": DEFAULT_FUNNEL, "slug": unique("S")}),
    ("GET", "stages/<str:stage>", "read", {}),
    ("PATCH", "stages/<str:stage>", "edit", {"buckets": ["One"]}),
    ("GET", "tasks", "read", {}),
    ("POST", "tasks", "operate", {"title": "Call"}),
    ("GET", "tasks/<str:task>", "read", {}),
    ("PATCH", "tasks/<str:task>", "operate", {"state": "done"}),
    ("GET", "workspace", "read", {}),
    ("PATCH", "workspace", "admin", {"name": "New"}),
    ("GET", "limits", "read", {}),
    ("GET", "api-keys", "admin", {}),
    ("POST", "api-keys", "admin", {"name": "New", "scopes": ["admin"]}),
    ("GET", "api-keys/<str:key>", "admin", {}),
    ("DELETE", "api-keys/<str:key>", "admin", {}),
    ("GET", "audit", "admin", {}),
]
IDS = [f"{method} {route}" for method, route, _, _ in ENDPOINTS]


def offered() -> Iterator[str]:
    """Every method of every address."""
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        view = pattern.callback.cls
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            if hasattr(view, method.lower()):
                yield f"{method} {pattern.pattern}"


def call(client: ApiClient, method: str, route: str, workspace: Workspace, body: Any, **extra: Any) -> Any:
    """The request, with objects of `workspace` in its address."""
    path = "/" + route.replace("<str:tag>", "vip")
    for name, make in OBJECTS.items():
        if f"<str:{name}>" in path:
            path = path.replace(f"<str:{name}>", make(workspace))
    if method == "GET":
        return client.get(path, **extra)
    return getattr(client, method.lower())(path, body(workspace) if callable(body) else body, **extra)


def test_every_endpoint_is_described_here() -> None:
    assert sorted(offered()) == sorted(IDS)


@pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)
def test_roles_and_scopes_decide_alike(workspace: Workspace, method: str, route: str, scope: str, body: Any) -> None:
    # INVARIANTS P8
    for role, scopes in ROLES.items():
        answer = call(make_browser(workspace, role), method, route, workspace, body)
        if scope in scopes:
            assert answer.status_code in (200, 201), (role, answer.content)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "role_missing"), role
            assert role not in answer.json()["details"]["roles"]
        client = make_api_client(workspace, scopes=sorted(scopes))
        assert (call(client, method, route, workspace, body).status_code == 403) == (scope not in scopes), role


@pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)
def test_one_scope_is_enough_and_the_others_are_not(
    workspace: Workspace, method: str, route: str, scope: str, body: Any
) -> None:
    # CONTRACTS 8
    exact = make_api_client(workspace, scopes=[scope])
    answer = call(exact, method, route, workspace, body)
    assert answer.status_code in (200, 201), answer.content
    rest = [other for other in ROLES["owner"] if other != scope]
    refused = call(make_api_client(workspace, scopes=rest), method, route, workspace, body)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)
def test_nobody_gets_in_without_a_key(workspace: Workspace, method: str, route: str, scope: str, body: Any) -> None:
    # EXE-09
    answer = call(ApiClient(), method, route, workspace, body)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


WITH_OBJECT = [(m, r, b) for m, r, _, b in ENDPOINTS if "<str:" in r]


@pytest.mark.parametrize(("method", "route", "body"), WITH_OBJECT, ids=[f"{m} {r}" for m, r, _ in WITH_OBJECT])
def test_foreign_and_unknown_ids_are_404(
    api: ApiClient, workspace: Workspace, other: Workspace, method: str, route: str, body: Any
) -> None:
    # DESIGN 3: a foreign id is a 404; RELIABILITY 46: and looks like an unknown one
    foreign = call(api, method, route, other, body(workspace) if callable(body) else body)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found"), foreign.content
    for name in ("cus_0", "cus_999999999999", "cus_99999999999999999999", "inv_1", "x", "cus_1x", "cus_-1"):
        path = "/" + route.replace("<str:tag>", "vip")
        for key in OBJECTS:
            path = path.replace(f"<str:{key}>", name.replace("cus", _PREFIX[key]))
        answer = api.generic(method, path, b"" if method == "GET" else _json(body, workspace))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (name, answer.content)


_PREFIX = {"customer": "cus", "funnel": "fun", "stage": "stg", "task": "task", "key": "key"}


def _json(body: Any, workspace: Workspace) -> bytes:
    import json

    return json.dumps(body(workspace) if callable(body) else body).encode()


def test_foreign_objects_in_bodies_and_queries_are_unknown(
    api: ApiClient, customer: Customer, other: Workspace
) -> None:
    # RELIABILITY 46: nested references
    foreign = make_customer(other)
    stage = find_stage(other.pk, "TRIAL").public_id
    path = f"/customers/{customer.public_id}"
    assert api.post(f"{path}/merge", {"into": foreign.public_id}).status_code == 422
    assert api.put(f"{path}/stage", {"stage": stage}).status_code == 404
    assert api.post("/tasks", {"title": "t", "customer": foreign.public_id}).status_code == 422
    assert api.post("/tasks", {"title": "t", "customer": {"email": foreign.email}}).status_code == 422
    assert api.post("/stages", {"funnel": _funnel(other), "slug": "X"}).status_code == 422
    make_task(other, customer_id=foreign.pk)
    assert api.get(f"/tasks?customer={foreign.public_id}").json()["tasks"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/customers", {"email": "a@x.test", "workspace": "ws_1"}),
        ("POST", "/customers", {"email": "a@x.test", "id": "cus_1"}),
        ("POST", "/customers", {"email": "a@x.test", "facts": {"stage": "CUSTOMER"}}),
        ("POST", "/customers", {"email": "a@x.test", "identifiedAt": "2020-01-01T00:00:00Z"}),
        ("POST", "/tasks", {"title": "t", "state": "done"}),
        ("POST", "/api-keys", {"name": "x", "scopes": ["read"], "prefix": "abc"}),
        ("PATCH", "/workspace", {"slug": "mine"}),
        ("PATCH", "/workspace", {"webhookSecret": "mine"}),
    ],
)
def test_nothing_else_can_be_written(api: ApiClient, method: str, path: str, body: Body) -> None:
    # RELIABILITY 48: mass assignment
    answer = getattr(api, method.lower())(path, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_key")
