"""Every operation with whatever its schema allows and more: never a 500, only documented answers (RELIABILITY 58)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings

from accounts.models import Workspace
from tests.automations import WAITING, published, started
from tests.factories import ApiClient, make_api_client, make_customer

schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))
schema.config.phases.coverage.enabled = False  # thousands of systematic cases, for a longer run than this one
EXAMPLES = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def names(workspace: Workspace) -> dict[str, str]:
    """Objects that exist, by the name of the parameter that takes them: a made-up one mostly ends as a 404."""
    automation = published(workspace, WAITING)
    [run] = started(automation)
    return {
        "automation": automation.public_id,
        "execution": f"exec_{run.pk}",
        "customer": make_customer(workspace).public_id,
        "event": f"evt_{run.event_id}",
        "trigger": "billing.invoice_overdue",
        "number": "1",
        "tag": "vip",
    }


@pytest.fixture
def client(workspace: Workspace) -> ApiClient:
    """A key with all scopes."""
    return make_api_client(workspace)


def send(client: ApiClient, case: Any, path: str) -> Any:
    """The case over the test client. Header values that HTTP itself cannot carry are left out."""
    headers = {
        name: str(value)
        for name, value in (case.headers or {}).items()
        if name.lower() in ("if-match", "idempotency-key") and str(value).isprintable() and str(value).isascii()
    }
    query = {name: _sendable(value) for name, value in (case.query or {}).items() if value is not None}
    body: Any = b""
    if case.method != "GET" and case.body is not schemathesis.core.NOT_SET:
        body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode("utf-8", "surrogatepass")
    return client.generic(
        case.method, path, body, case.media_type or "application/json", query_params=query, headers=headers
    )


def _sendable(value: Any) -> str:
    """Half a character cannot stand in an address."""
    return str(value).encode("utf-8", "replace").decode()


def expect_documented(case: Any, answer: Any) -> None:
    """No failure of ours, an answer that the document names, and every error in the one shape."""
    assert answer.status_code < 500, (case.method, case.path, case.body, answer.content[:500])
    documented = {int(code) for code in case.operation.definition.raw["responses"]}
    # what any request can meet before it reaches the operation
    assert answer.status_code in documented | {400, 413, 415, 422}, (case.method, case.path, answer.content[:500])
    if answer.status_code >= 400:
        assert set(answer.json()) == {"code", "message", "details"}


@pytest.mark.django_db
@schema.include(path_regex=r"^/api/v1/").parametrize()
@EXAMPLES
def test_no_request_breaks_it(case: Any, client: ApiClient, names: dict[str, str]) -> None:
    path = case.path
    for name, value in (case.path_parameters or {}).items():
        path = path.replace(f"{{{name}}}", names.get(name, str(value)))
    if not path.isprintable() or not path.isascii() or "{" in path:
        return
    expect_documented(case, send(client, case, path))


BODIES: tuple[bytes, ...] = (
    b"", b"null", b"[]", b"0", b'"x"', b"{", b"\xff", b'{"a":' * 5000, b"[" * 100_000, b'{"name":"\\u0000"}',
    b'{"name":"\\ud800"}', b'{"name": 1e400}', b'{"name": NaN}', b'{"trigger": {"type": ["event"]}}',
    b'{"name": {"a": 1}, "trigger": 3, "steps": {}}', b'{"nodes": [null], "edges": [[]], "name": "x", "trigger": {}}',
)  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/automations", "/automations/validate", "/automations/{automation}/draft", "/automations/{automation}/activate",
        "/automations/{automation}/pause", "/automations/{automation}/resume", "/automations/{automation}/trigger",
        "/automations/{automation}/test", "/automations/{automation}/duplicate", "/executions/cancel",
        "/executions/{execution}/cancel", "/priorities/{trigger}",
    ],
)  # fmt: skip
@pytest.mark.django_db
def test_bytes_that_make_no_sense_are_one_clear_error(client: ApiClient, names: dict[str, str], path: str) -> None:
    # issue: bad input: one clear error each, nothing written, never a 500
    put = path.endswith("draft") or path.startswith("/priorities")
    for body in BODIES:
        answer = client.generic("PUT" if put else "POST", path.format(**names), body)
        assert answer.status_code < 500, (body[:40], answer.content[:300])
        if answer.status_code >= 400:
            assert set(answer.json()) == {"code", "message", "details"}
        else:
            assert body == b""
