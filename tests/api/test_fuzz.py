"""Bodies that make no sense: one clear error each (RELIABILITY 39, 58). `tests/fuzz/test_rest.py` tries every operation."""

from __future__ import annotations

import pytest

from accounts.models import Workspace
from tests.automations import WAITING, published, started
from tests.factories import ApiClient, make_api_client, make_customer


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
