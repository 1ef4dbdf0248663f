"""The base of every endpoint, on the example that its text shows (CONTRACTS 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers

from accounts.api.base import (
    ApiView,
    JsonParser,
    Reference,
    ReferenceField,
    Request,
    Response,
    StrictSerializer,
    TimeField,
    YamlParser,
    actor_of,
    describe,
    free,
    list_response,
    page,
    parse,
    sends_yaml,
    stamp,
    text_body,
    wants_yaml,
)
from accounts.api.schema import ErrorSerializer
from accounts.models import Idempotency, Tag, Workspace
from tests.factories import ApiClient, make_api_client

pytestmark = pytest.mark.django_db


class PartIn(StrictSerializer):
    amount = serializers.DecimalField(max_digits=12, decimal_places=2, required=False)
    unit_name = serializers.CharField(required=False)


class NoteIn(StrictSerializer):
    text = serializers.CharField(max_length=20)
    about = ReferenceField("cus", email=True, required=False)
    due_at = TimeField(required=False, allow_null=True)
    parts = PartIn(many=True, required=False)
    first_part = PartIn(required=False)


def shown(rows: Sequence[Tag]) -> list[dict[str, Any]]:
    return [{"id": row.pk, "text": row.slug} for row in rows]


SEEN: list[dict[str, Any]] = []


class Notes(ApiView):
    scopes = {"GET": "read", "POST": "customers"}
    scope = "admin"
    filters = ("about",)

    def get(self, request: Request) -> Response:
        rows = Tag.objects.filter(workspace_id=actor_of(request).workspace_id)
        return list_response(request, rows, "notes", shown)

    def post(self, request: Request) -> Response:
        values = parse(request, NoteIn)
        SEEN.append(values)
        note = Tag.objects.create(workspace_id=request.actor.workspace_id, slug=values["text"])
        return Response({**shown([note])[0], "secret": "shown once"}, status=201, headers={"ETag": '"1"'})

    def patch(self, request: Request) -> Response:
        return Response(sorted(parse(request, NoteIn, partial=True)))

    def delete(self, request: Request) -> HttpResponse:
        Tag.objects.all().delete()
        return HttpResponse(status=204)

    secret_keys = ("secret",)


class Texts(ApiView):
    scope = "edit"
    parser_classes = [JsonParser, YamlParser]

    def put(self, request: Request) -> HttpResponse:
        if wants_yaml(request):
            return HttpResponse(text_body(request), content_type="application/yaml")
        return Response({"yaml": sends_yaml(request), "data": request.data})


class Halfway(ApiView):
    scope = "edit"

    def post(self, request: Request) -> Response:
        Tag.objects.create(workspace_id=request.actor.workspace_id, slug="half")
        return Response({"code": "invalid", "message": "No.", "details": {}}, status=422)


class Unscoped(ApiView):
    def get(self, request: Request) -> Response:
        return Response({})


urlpatterns = [
    path("api/v1/notes", Notes.as_view()),
    path("api/v1/texts", Texts.as_view()),
    path("api/v1/halfway", Halfway.as_view()),
    path("api/v1/unscoped", Unscoped.as_view()),
]


@pytest.fixture(autouse=True)
def addresses() -> Iterator[None]:
    """The addresses of this file in place of the project's."""
    SEEN.clear()
    with override_settings(ROOT_URLCONF=__name__):
        yield


def test_the_example_works(api: ApiClient) -> None:
    made = api.post("/notes", {"text": "first", "about": "cus_7", "dueAt": "2026-11-20T10:00:00+01:00"})
    assert made.status_code == 201, made.content
    assert api.get("/notes").json() == {"notes": [{"id": made.json()["id"], "text": "first"}], "nextCursor": None}
    assert SEEN[0]["about"] == Reference(7)
    assert SEEN[0]["due_at"] == datetime(2026, 11, 20, 9, tzinfo=UTC)


def test_scopes_are_per_method_with_a_rest(workspace: Workspace) -> None:
    reader = make_api_client(workspace, ["read"])
    assert reader.get("/notes").status_code == 200
    assert reader.head("/api/v1/notes").status_code == 200
    assert reader.post("/notes", {"text": "x"}).json()["details"]["scope"] == "customers"
    assert reader.patch("/notes", {}).json()["details"]["scope"] == "admin"


def test_a_view_that_forgot_its_scope_lets_nobody_in(api: ApiClient) -> None:
    # fail closed
    api.raise_request_exception = False
    assert api.get("/unscoped").status_code == 500
    assert ApiClient().get("/unscoped").status_code == 401


@pytest.mark.parametrize(
    ("body", "key", "path", "nearest"),
    [
        ({"text": "x", "abuot": "cus_1"}, "abuot", "", "about"),
        ({"text": "x", "dueat": None}, "dueat", "", "dueAt"),
        ({"text": "x", "due_at": None}, "due_at", "", "dueAt"),
        ({"text": "x", "parts": [{}, {"unitNaem": "kg"}]}, "unitNaem", "parts", "unitName"),
        ({"text": "x", "firstPart": {"amuont": 1}}, "amuont", "firstPart", "amount"),
        ({"text": "x", "about": {"externalid": "A"}}, "externalid", "about", "externalId"),
        ({"text": "x", "zzz": 1}, "zzz", "", None),
    ],
)
def test_an_unknown_key_is_named_with_its_place(
    api: ApiClient, body: dict[str, Any], key: str, path: str, nearest: str | None
) -> None:
    # CONTRACTS 1
    answer = api.post("/notes", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_key")
    details = answer.json()["details"]
    assert (details["key"], details["path"], details["nearest"]) == (key, path, nearest)
    assert key in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": None}, "text"),
        ({"text": "x" * 21}, "text"),
        ({"text": ["x"]}, "text"),
        ({"text": "x", "about": 7}, "about"),
        ({"text": "x", "about": "inv_7"}, "about"),
        ({"text": "x", "about": {}}, "about"),
        ({"text": "x", "about": {"email": ""}}, "about"),
        ({"text": "x", "about": {"externalId": 7}}, "about"),
        ({"text": "x", "dueAt": "tomorrow"}, "dueAt"),
        ({"text": "x", "parts": {}}, "parts"),
        ({"text": "x", "parts": [{}, {"amount": "1.234"}]}, "parts[1].amount"),
        ({"text": "x", "firstPart": {"amount": "x"}}, "firstPart.amount"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(api: ApiClient, body: dict[str, Any], field: str) -> None:
    answer = api.post("/notes", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.content
    assert any(name.startswith(field) for name in answer.json()["details"]["fields"]), answer.content
    assert not Tag.objects.exists()


def test_values_arrive_in_snake_case_and_exact(api: ApiClient) -> None:
    raw = b'{"text": "x", "parts": [{"amount": 0.10, "unitName": "kg"}], "about": {"externalId": "A", "email": "a@x.test"}}'
    assert api.generic("POST", "/notes", raw).status_code == 201
    (values,) = SEEN
    assert values["parts"] == [{"amount": Decimal("0.10"), "unit_name": "kg"}]
    assert values["about"] == Reference(None, "A", "a@x.test")
    assert "due_at" not in values, "absent stays absent"


def test_patch_requires_nothing(api: ApiClient) -> None:
    assert api.patch("/notes", {}).json() == []
    assert api.patch("/notes", {"dueAt": None}).json() == ["due_at"]


def test_query_parameters_are_strict(api: ApiClient) -> None:
    answer = api.get("/notes?abuot=1")
    assert (answer.status_code, answer.json()["details"]["nearest"]) == (422, "about")
    assert api.get("/notes?about=1&limit=1").status_code == 200


def test_yaml_is_taken_where_the_view_takes_it(api: ApiClient) -> None:
    text = b"name: X\nsteps: []\n"
    for kind in ("application/yaml", "application/x-yaml", "text/yaml; charset=utf-8"):
        answer = api.generic("PUT", "/texts", text, kind)
        assert answer.json() == {"yaml": True, "data": text.decode()}
    back = api.generic("PUT", "/texts", text, "application/yaml", HTTP_ACCEPT="application/yaml")
    assert back.content == text
    assert back["Content-Type"] == "application/yaml"
    assert api.put("/texts", {"a": 1}).json() == {"yaml": False, "data": {"a": 1}}
    assert api.generic("POST", "/notes", text, "application/yaml").status_code == 415
    assert api.generic("PUT", "/texts", b"\xff", "application/yaml").json()["code"] == "malformed"


def test_the_answer_is_json_whatever_is_accepted(api: ApiClient) -> None:
    for accept in ("*/*", "text/html", "application/xml", "nonsense"):
        assert api.get("/notes", HTTP_ACCEPT=accept)["Content-Type"] == "application/json"


def test_other_answers_are_replayed_as_they_were(api: ApiClient) -> None:
    # CONTRACTS 1: also those that are not JSON
    text = b"name: X\n"
    extra = {"HTTP_ACCEPT": "application/yaml", "HTTP_IDEMPOTENCY_KEY": "k"}
    first = api.generic("PUT", "/texts", text, "application/yaml", **extra)
    again = api.generic("PUT", "/texts", text, "application/yaml", **extra)
    assert (again.content, again["Content-Type"], again["Idempotent-Replayed"]) == (text, "application/yaml", "true")
    assert first.content == again.content


def test_headers_are_replayed_and_secrets_are_not(api: ApiClient) -> None:
    first = api.post("/notes", {"text": "x"}, HTTP_IDEMPOTENCY_KEY="k")
    again = api.post("/notes", {"text": "x"}, HTTP_IDEMPOTENCY_KEY="k")
    assert (first["ETag"], again["ETag"]) == ('"1"', '"1"')
    assert (first.json()["secret"], again.json()["secret"]) == ("shown once", None)
    assert "shown once" not in Idempotency.objects.get().answer


def test_an_empty_answer_is_replayed(api: ApiClient) -> None:
    codes = [api.delete("/notes", HTTP_IDEMPOTENCY_KEY="k").status_code for _ in range(2)]
    assert codes == [204, 204]
    assert Idempotency.objects.get().answer == ""


def test_an_error_answered_halfway_writes_nothing(api: ApiClient) -> None:
    # with a key the whole request is one transaction
    assert api.post("/halfway", HTTP_IDEMPOTENCY_KEY="k").status_code == 422
    assert not Tag.objects.exists()
    assert not Idempotency.objects.exists()


def test_rate_headers_are_on_every_answer(api: ApiClient) -> None:
    # CONTRACTS 1
    for answer in (api.get("/notes"), api.post("/notes", {}), api.put("/notes", {}), api.get("/notes?x=1")):
        assert answer.has_header("RateLimit-Remaining"), answer.status_code


def test_the_document_is_made_from_the_same_declaration() -> None:
    # DESIGN 7
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.validation import validate_schema

    class NoteOut(serializers.Serializer[Any]):
        id = serializers.IntegerField()

    class Described(ApiView):
        scope = "edit"

        @describe("examples_list", "Examples", answer=page("examples", NoteOut), query=["about"], paged=True)
        def get(self, request: Request) -> Response:
            return Response({})

        @describe(
            "examples_create",
            "Make one",
            request=NoteIn,
            answer=NoteOut,
            status=201,
            codes=("wrong_state",),
            media=("application/json", "application/yaml"),
        )
        def post(self, request: Request) -> Response:
            return Response({})

        @describe("examples_free", "Anything", answer=free("What it is."))
        def patch(self, request: Request) -> Response:
            return Response({})

    schema = SchemaGenerator(patterns=[path("examples", Described.as_view())]).get_schema(request=None, public=True)
    validate_schema(schema)
    operations = schema["paths"]["/examples"]
    listed = {parameter["name"] for parameter in operations["get"]["parameters"]}
    assert listed == {"about", "limit", "cursor"}
    made = operations["post"]
    assert set(made["requestBody"]["content"]) == {"application/json", "application/yaml"}
    assert {"201", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503"} == set(made["responses"])
    assert "wrong_state" in made["responses"]["409"]["description"]
    assert {"name": "Idempotency-Key", "in": "header"}.items() <= made["parameters"][0].items()
    properties = schema["components"]["schemas"]["NoteInRequest"]["properties"]
    assert set(properties) == {"text", "about", "dueAt", "parts", "firstPart"}
    assert "oneOf" in properties["about"]
    assert set(ErrorSerializer().fields) == {"code", "message", "details"}
    assert page("examples", NoteOut) is page("examples", NoteOut), "one component for one list"


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999), st.integers(-12, 14))
def test_times_are_written_in_utc_with_milliseconds(second: int, micro: int, hours: int) -> None:
    # CONTRACTS 1
    there = datetime.fromtimestamp(second, timezone(timedelta(hours=hours))).replace(microsecond=micro)
    text = stamp(there)
    assert text is not None
    assert len(text) == len("2026-11-20T09:14:02.120Z")
    read = datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert timedelta(0) <= there - read < timedelta(milliseconds=1)
    assert stamp(None) is None


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00:00", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00:00.5+01:00", datetime(2026, 11, 20, 9, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_times_are_read_with_any_offset(text: str, utc: datetime) -> None:
    assert TimeField().run_validation(text) == utc
