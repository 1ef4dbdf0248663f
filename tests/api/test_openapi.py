"""The OpenAPI document: made without a warning, valid, and true (CONTRACTS 8)."""

from __future__ import annotations

import io
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from drf_spectacular.drainage import GENERATOR_STATS

from accounts.errors import STATUS
from tests.factories import ApiClient


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document as the command writes it; a warning or an error of the generator fails it."""
    GENERATOR_STATS.reset()
    out = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    found: dict[str, Any] = yaml.safe_load(out.getvalue())
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation."""
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post", "put", "patch", "delete") and path.startswith("/api/v1/")
    ]


def test_it_is_made_without_a_warning(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    assert len(operations(document)) > 50


def test_operations_have_names_of_their_own_and_a_line_in_words(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(operation.get("summary") for _, _, operation in operations(document))


def test_every_operation_says_how_it_fails(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        codes = {int(code) for code in operation["responses"]}
        assert {401, 403, 404, 429} <= codes, (method, path)
        assert codes & {200, 201, 202, 204}, (method, path)
        for code in codes:
            if code >= 400:
                schema = operation["responses"][str(code)]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (method, path, code)
                assert code in STATUS.values()


def test_every_change_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    # CONTRACTS 1
    for path, method, operation in operations(document):
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        if method != "get" and operation.get("requestBody"):
            assert "Idempotency-Key" in names, (method, path)


def test_definitions_may_be_sent_as_yaml(document: dict[str, Any]) -> None:
    # CONTRACTS 4
    for path, method in (("/api/v1/automations", "post"), ("/api/v1/automations/{automation}/draft", "put")):
        sent = document["paths"][path][method]["requestBody"]["content"]
        assert set(sent) == {"application/json", "application/yaml"}


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
@pytest.mark.django_db
def test_it_is_served(path: str) -> None:
    assert ApiClient().get(path).status_code == 200
