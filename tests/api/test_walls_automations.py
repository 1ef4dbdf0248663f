"""Walls between workspaces and between roles, over every endpoint of automations (INVARIANTS P8; RELIABILITY 46, 47, 48)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import URLPattern

from accounts.models import Workspace
from accounts.permissions import ROLES
from automations.api import urls
from tests.automations import TAGGING, WAITING, made, published, started, text
from tests.factories import ApiClient, make_api_client, make_browser, make_customer, unique

pytestmark = pytest.mark.django_db

Body = dict[str, Any]
GRAPH: Body = {"name": "Any", "trigger": {"type": "manual"}, "nodes": [], "edges": []}
OTHERS = ("events", "mail")  # modules with tests of their own


def _body(_: Workspace) -> Body:
    return {**GRAPH, "name": unique("Any")}


def _automation(workspace: Workspace, what: str) -> str:
    """An automation in the state that the request needs."""
    if what in ("resume",):
        from automations.services.pause import pause_automation
        from tests.factories import actor_of

        automation = published(workspace)
        pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
        return automation.public_id
    if what in ("pause", "versions", "executions"):
        return published(workspace, WAITING).public_id
    if what == "trigger":
        return published(workspace, TAGGING, trigger="{type: manual}").public_id
    if what == "discard":
        automation = published(workspace)
        owner = make_api_client(workspace)
        owner.put(f"/automations/{automation.public_id}/draft", text(), content_type="application/yaml")
        return automation.public_id
    return made(workspace).public_id


def _execution(workspace: Workspace) -> str:
    name = unique("event").replace("-", "_")
    [run] = started(published(workspace, WAITING, trigger=f"{{type: event, event: {name}}}"), event=name)
    return f"exec_{run.pk}"


def _customer(workspace: Workspace) -> Body:
    return {"customer": make_customer(workspace).public_id}


OVERDUE = "billing.invoice_overdue"
ENDPOINTS: list[tuple[str, str, str, Callable[[Workspace], Body] | Body]] = [
    ("GET", "automations", "read", {}),
    ("POST", "automations", "edit", _body),
    ("POST", "automations/validate", "read", GRAPH),
    ("GET", "automations/<str:automation>", "read", {}),
    ("PATCH", "automations/<str:automation>", "edit", {"name": "New"}),
    ("DELETE", "automations/<str:automation>", "edit", {}),
    ("GET", "automations/<str:automation>/draft", "read", {}),
    ("PUT", "automations/<str:automation>/draft", "edit", _body),
    ("DELETE", "automations/<str:automation>/draft", "edit", {}),
    ("POST", "automations/<str:automation>/validate", "read", {}),
    ("POST", "automations/<str:automation>/activate", "publish", {}),
    ("POST", "automations/<str:automation>/pause", "operate", {}),
    ("POST", "automations/<str:automation>/resume", "operate", {}),
    ("POST", "automations/<str:automation>/trigger", "operate", _customer),
    ("POST", "automations/<str:automation>/test", "read", {}),
    ("POST", "automations/<str:automation>/duplicate", "edit", {}),
    ("GET", "automations/<str:automation>/versions", "read", {}),
    ("GET", "automations/<str:automation>/versions/<str:number>", "read", {}),
    ("POST", "automations/<str:automation>/versions/<str:number>/restore", "edit", {}),
    ("GET", "automations/<str:automation>/executions", "read", {}),
    ("GET", "executions", "read", {}),
    ("POST", "executions/cancel", "operate", {"filter": {}, "preview": True}),
    ("GET", "executions/<str:execution>", "read", {}),
    ("GET", "executions/<str:execution>/steps", "read", {}),
    ("POST", "executions/<str:execution>/cancel", "operate", {}),
    ("GET", "priorities/<str:trigger>", "read", {}),
    ("PUT", "priorities/<str:trigger>", "publish", {"order": []}),
    ("GET", "catalogue", "read", {}),
]
IDS = [f"{method} {route}" for method, route, _, _ in ENDPOINTS]
ALL = pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)


def offered() -> Iterator[str]:
    """Every method of every address of ours."""
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        view = pattern.callback.cls
        if view.__module__.rsplit(".", 1)[-1] in OTHERS:
            continue
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            if hasattr(view, method.lower()):
                yield f"{method} {pattern.pattern}"


def need(method: str, route: str) -> str:
    """What the automation in the address has to be."""
    last = route.rsplit("/", 1)[-1]
    if method == "DELETE" and last == "draft":
        return "discard"
    return "versions" if "versions" in route else last


def call(client: ApiClient, method: str, route: str, workspace: Workspace, body: Any) -> Any:
    """The request, with objects of `workspace` in its address."""
    path = "/" + route.replace("<str:trigger>", OVERDUE).replace("<str:number>", "1")
    if "<str:automation>" in path:
        path = path.replace("<str:automation>", _automation(workspace, need(method, route)))
    if "<str:execution>" in path:
        path = path.replace("<str:execution>", _execution(workspace))
    if method == "GET":
        return client.get(path)
    return getattr(client, method.lower())(path, body(workspace) if callable(body) else body)


def test_every_endpoint_is_described_here() -> None:
    assert sorted(offered()) == sorted(IDS)


@ALL
def test_roles_and_scopes_decide_alike(workspace: Workspace, method: str, route: str, scope: str, body: Any) -> None:
    # INVARIANTS P8; RELIABILITY 47
    for role, scopes in ROLES.items():
        answer = call(make_browser(workspace, role), method, route, workspace, body)
        if scope in scopes:
            assert answer.status_code in (200, 201, 204, 422), (role, answer.content)
            assert answer.status_code != 422 or answer.json()["code"] == "invalid_definition"
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "role_missing"), role


@ALL
def test_one_scope_is_enough_and_the_others_are_not(
    workspace: Workspace, method: str, route: str, scope: str, body: Any
) -> None:
    exact = call(make_api_client(workspace, scopes=[scope]), method, route, workspace, body)
    assert exact.status_code in (200, 201, 204), exact.content
    rest = [other for other in ROLES["owner"] if other != scope]
    refused = call(make_api_client(workspace, scopes=rest), method, route, workspace, body)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")


@ALL
def test_nobody_gets_in_without_a_key(workspace: Workspace, method: str, route: str, scope: str, body: Any) -> None:
    # EXE-09
    answer = call(ApiClient(), method, route, workspace, body)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


WITH_OBJECT = [(m, r, b) for m, r, _, b in ENDPOINTS if "<str:automation>" in r or "<str:execution>" in r]


@pytest.mark.parametrize(("method", "route", "body"), WITH_OBJECT, ids=[f"{m} {r}" for m, r, _ in WITH_OBJECT])
def test_foreign_and_unknown_ids_are_404(
    api: ApiClient, workspace: Workspace, other: Workspace, method: str, route: str, body: Any
) -> None:
    # DESIGN 3: a foreign id is a 404; RELIABILITY 46: and looks like an unknown one
    foreign = call(api, method, route, other, body(workspace) if callable(body) else body)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found"), foreign.content
    sent = json.dumps(body(workspace) if callable(body) else body).encode()
    prefix = "auto" if "<str:automation>" in route else "exec"
    for name in ("_0", "_999999999999", "_99999999999999999999", "_1x", "_-1", ""):
        path = "/" + route.replace("<str:number>", "1")
        path = path.replace("<str:automation>", prefix + name).replace("<str:execution>", prefix + name)
        answer = api.generic(method, path, b"" if method == "GET" else sent)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (name, answer.content)


def test_foreign_objects_in_bodies_and_queries_are_unknown(
    api: ApiClient, workspace: Workspace, other: Workspace
) -> None:
    # RELIABILITY 46: nested references
    stranger = make_customer(other)
    [run] = started(published(other, WAITING))
    mine = published(workspace, TAGGING, trigger="{type: manual}")
    theirs = f"auto_{run.automation_id}"
    for named in (stranger.public_id, {"email": stranger.email}):
        answer = api.post(f"/automations/{mine.public_id}/trigger", {"customer": named})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_reference")
    for body in ({"customer": stranger.public_id}, {"event": f"evt_{run.event_id}"}):
        assert api.post(f"/automations/{mine.public_id}/test", body).status_code == 404
    assert api.get(f"/executions?automation={theirs}").json()["executions"] == []
    assert api.get(f"/executions?customer=cus_{run.customer_id}").json()["executions"] == []
    preview = api.post("/executions/cancel", {"filter": {"automation": theirs}, "preview": True}).json()
    assert preview == {"runs": 0, "more": False, "byAutomation": {}}
    assert api.put(f"/priorities/{OVERDUE}", {"order": [theirs]}).status_code == 422


@pytest.mark.parametrize(
    ("act", "body"),
    [
        ("", {"name": "x", "workspace": "ws_1"}),
        ("", {"name": "x", "state": "ACTIVE"}),
        ("activate", {"state": "ACTIVE"}),
        ("pause", {"cancelMark": 1}),
        ("trigger", {"event": "evt_1"}),
        ("test", {"automation": "auto_1"}),
        ("duplicate", {"state": "ACTIVE"}),
    ],
)
def test_nothing_else_can_be_written(api: ApiClient, workspace: Workspace, act: str, body: Body) -> None:
    # RELIABILITY 48: mass assignment
    automation = made(workspace)
    address = f"/automations/{automation.public_id}" + (f"/{act}" if act else "")
    answer = api.post(address, body) if act else api.patch(address, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_key")
