"""What is answered is what the OpenAPI document says, key by key (DESIGN 7): documents that lie are worse than none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from drf_spectacular.generators import SchemaGenerator

from accounts.api import urls
from accounts.models import Workspace
from tests.api.test_walls import ENDPOINTS, IDS, OBJECTS, call
from tests.factories import (
    ApiClient,
    make_api_client,
    make_api_key,
    make_browser,
    make_customer,
    make_task,
    make_visitor,
    owner_of,
)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of accounts."""
    schema: dict[str, Any] = SchemaGenerator(patterns=urls.urlpatterns).get_schema(request=None, public=True)
    return schema


def operation(method: str, route: str) -> dict[str, Any]:
    """The description of an endpoint of `test_walls`."""
    path = "/" + route.replace("<str:", "{").replace(">", "}")
    found: dict[str, Any] = document()["paths"][path][method.lower()]
    return found


def strict(schema: Any) -> Any:
    """The schema with every object closed and every reference followed: an undeclared key is an error."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return strict(document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    closed = {key: strict(value) for key, value in schema.items() if key != "nullable"}
    if "properties" in closed and "additionalProperties" not in closed:
        closed["additionalProperties"] = False
    if schema.get("nullable"):
        return {"anyOf": [{"type": "null"}, closed]}
    return closed


def check(answer: Any, described: dict[str, Any]) -> None:
    """The answer has a described status and, where JSON is described, its shape."""
    response = described["responses"][str(answer.status_code)]
    content = response.get("content", {}).get("application/json")
    if content is not None:
        jsonschema.validate(answer.json(), strict(content["schema"]))


@pytest.fixture
def furnished(workspace: Workspace) -> Workspace:
    """Rows with every field set and rows with none, so that nulls are seen as well."""
    owner = owner_of(workspace)
    full = make_customer(
        workspace,
        external_id="A-1",
        segment="smb",
        plan="gold",
        country="DE",
        time_zone="Europe/Berlin",
        locale="de",
        owner_id=owner.pk,
        metadata={"k": "v"},
        tags=["vip"],
        stage="CUSTOMER",
        bucket="Churned",
    )
    make_visitor(workspace)
    make_task(
        workspace, customer_id=full.pk, assignee=owner.email, subjects={"customer": full.pk, "invoice": 8}, run_id=4
    )
    make_task(workspace)
    make_api_key(workspace, ["read"])
    return workspace


@pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)
def test_a_success_has_the_described_shape(
    furnished: Workspace, method: str, route: str, scope: str, body: Any
) -> None:
    for client in (make_api_client(furnished), make_browser(furnished)):
        answer = call(client, method, route, furnished, body)
        assert answer.status_code in (200, 201), answer.content
        check(answer, operation(method, route))


@pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)
def test_a_refusal_has_the_described_shape(
    furnished: Workspace, method: str, route: str, scope: str, body: Any
) -> None:
    described = operation(method, route)
    answers = [call(ApiClient(), method, route, furnished, body)]
    if scope != "read":
        answers.append(call(make_api_client(furnished, ["read"]), method, route, furnished, body))
    for answer in answers:
        assert answer.status_code in (401, 403)
        check(answer, described)


CHANGING = [(m, r, b) for m, r, _, b in ENDPOINTS if m in ("POST", "PUT", "PATCH")]


@pytest.mark.parametrize(("method", "route", "body"), CHANGING, ids=[f"{m} {r}" for m, r, _ in CHANGING])
def test_a_body_that_is_not_acceptable_has_the_described_shape(
    furnished: Workspace, api: ApiClient, method: str, route: str, body: Any
) -> None:
    described = operation(method, route)
    for wrong, status in (({"noSuchKey": 1}, 422), (b"{", 400), (b"[]", 422), (b'{"a": 1, "a": 2}', 400)):
        path = "/" + route.replace("<str:tag>", "vip")
        for name, make in OBJECTS.items():
            path = path.replace(f"<str:{name}>", make(furnished)) if f"<str:{name}>" in path else path
        answer = (
            api.generic(method, path, wrong) if isinstance(wrong, bytes) else getattr(api, method.lower())(path, wrong)
        )
        assert answer.status_code == status, (wrong, answer.content)
        if described.get("requestBody"):
            check(answer, described)


@pytest.mark.parametrize(("method", "route", "body"), CHANGING, ids=[f"{m} {r}" for m, r, _ in CHANGING])
def test_the_acceptable_body_is_the_described_one(workspace: Workspace, method: str, route: str, body: Any) -> None:
    content = operation(method, route).get("requestBody", {}).get("content", {}).get("application/json")
    sent = body(workspace) if callable(body) else body
    if content is None:
        assert sent == {}
    else:
        schema = strict(content["schema"])
        schema.pop("required", None) if method == "PATCH" else None
        jsonschema.validate(sent, schema)


def test_a_replay_has_the_same_shape(furnished: Workspace, api: ApiClient) -> None:
    described = operation("POST", "customers")
    for _ in range(2):
        check(api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k"), described)


@pytest.mark.parametrize("route", ["customers", "funnels", "stages", "tasks", "api-keys", "audit"])
def test_every_list_is_paged_as_described(furnished: Workspace, api: ApiClient, route: str) -> None:
    # CONTRACTS 1
    described = operation("GET", route)
    names = {parameter["name"] for parameter in described["parameters"]}
    assert {"limit", "cursor"} <= names
    for name in names - {"limit", "cursor"}:
        assert api.get(f"/{route}?{name}=x").status_code in (200, 404, 422), name
    check(api.get(f"/{route}?limit=1"), described)


def texts(value: Any) -> Iterator[str]:
    """All texts in an answer."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)
def test_no_answer_shows_a_secret(furnished: Workspace, method: str, route: str, scope: str, body: Any) -> None:
    # INVARIANTS X5: a canary never leaves; only the one answer that makes a key shows it, and only owners the signing secret
    from accounts.models import ApiKey

    secrets = [key.secret_sha256 for key in ApiKey.objects.all()]
    client = make_api_client(furnished)
    shown = " ".join(texts(call(client, method, route, furnished, body).json()))
    for secret in secrets:
        assert secret not in shown
    if route != "workspace":
        assert furnished.webhook_secret not in shown
    assert "password" not in shown.lower()


@pytest.mark.parametrize(("method", "route", "scope", "body"), ENDPOINTS, ids=IDS)
def test_messages_are_sentences_for_people(
    workspace: Workspace, method: str, route: str, scope: str, body: Any
) -> None:
    # CONTRACTS 1: one sentence saying what, where, how to mend
    answer = call(make_api_client(workspace, ["events"]), method, route, workspace, body)
    message = answer.json()["message"]
    assert answer.status_code == 403
    assert message[0].isupper()
    assert message.endswith(".")
    assert scope in message
