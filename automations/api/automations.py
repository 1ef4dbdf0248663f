"""Automations, their drafts and versions (CONTRACTS 8)."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes

from accounts.api.base import (
    ApiView,
    JsonParser,
    Request,
    Response,
    YamlParser,
    actor_of,
    describe,
    list_response,
    page,
    parse,
    sends_yaml,
    text_body,
    wants_yaml,
)
from accounts.errors import Refusal, not_found
from accounts.ids import parse_id
from automations.api.serializers import (
    AutomationChangeIn,
    AutomationMadeOut,
    AutomationOut,
    CheckOut,
    DefinitionIn,
    DraftOut,
    DuplicateIn,
    VersionOut,
    VersionRowOut,
)
from automations.api.shapes import (
    automation_json,
    automations_json,
    draft_json,
    problems_json,
    version_json,
    versions_json,
)
from automations.models import Version
from automations.services import drafts
from automations.services.drafts import Check, Draft
from automations.services.find import automations_of, find_automation, find_version
from automations.services.publish import duplicate, restore_version
from automations.services.texts import yaml_of

BOTH = ("application/json", "application/yaml")
SHAPE = ("malformed", "too_deep", "duplicate_key", "alias_refused", "too_large", "media_type", "invalid_definition")
ETAG = OpenApiParameter(
    "If-Match", OpenApiTypes.STR, OpenApiParameter.HEADER, description="The revision that was read."
)


def definition_body(request: Request) -> tuple[str, str]:
    """The body as text, and whether it is `yaml` or `json` by its media type."""
    kind = (request.content_type or "").split(";")[0].strip().lower()
    if sends_yaml(request):
        return text_body(request), "yaml"
    if kind in ("", "application/json", "text/json") or kind.endswith("+json"):
        return text_body(request), "json"
    raise Refusal("media_type", "Send the definition as application/json or application/yaml.", {"sent": kind[:80]})


def revision_of(request: Request) -> int | None:
    """The revision that `If-Match` names; None without it, and a revision that cannot be when it is none of ours."""
    text = request.headers.get("If-Match")
    if text is None or text.strip() == "*":
        return None
    number = text.strip().removeprefix("W/").strip('"')
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else -1


class Definitions(ApiView):
    """Base of endpoints that take a definition."""

    parser_classes = [JsonParser, YamlParser]


class Automations(Definitions):
    """All automations of the workspace."""

    scopes = {"GET": "read", "POST": "edit"}
    filters = ("state", "trigger", "key")

    @describe(
        "automations_list",
        "Automations, newest first",
        answer=page("automations", AutomationOut),
        query=["state", "trigger", "key"],
        paged=True,
        codes=["invalid", "unknown_key"],
    )
    def get(self, request: Request) -> Response:
        rows = automations_of(actor_of(request))
        for parameter, field in (("state", "state"), ("trigger", "trigger_key"), ("key", "key")):
            if value := request.query_params.get(parameter):
                rows = rows.filter(**{field: value.upper() if parameter == "state" else value})
        return list_response(request, rows, "automations", automations_json)

    @describe(
        "automations_create",
        "Create an automation from a definition",
        request=DefinitionIn,
        answer=AutomationMadeOut,
        status=201,
        codes=[*SHAPE, "plan_limit"],
        media=BOTH,
    )
    def post(self, request: Request) -> Response:
        body, fmt = definition_body(request)
        draft = drafts.create_automation(actor=actor_of(request), body=body, fmt=fmt)
        data = {**automation_json(draft.automation), "problems": problems_json(draft.problems)}
        return Response(data, status=201, headers={"ETag": f'"{draft.revision}"'})


class Validate(Definitions):
    """Validation of a text that is not stored."""

    scope = "read"

    @describe(
        "automations_validate_text",
        "Validate a definition without storing it",
        request=DefinitionIn,
        answer=CheckOut,
        codes=SHAPE,
        media=BOTH,
    )
    def post(self, request: Request) -> Response:
        body, fmt = definition_body(request)
        return check_response(drafts.check_text(actor=actor_of(request), body=body, fmt=fmt))


def check_response(check: Check) -> Response:
    """`{valid, problems, depth}`."""
    return Response({"valid": check.valid, "problems": problems_json(check.problems), "depth": check.depth})


class AutomationView(ApiView):
    """One automation."""

    scopes = {"GET": "read", "PATCH": "edit", "DELETE": "edit"}

    @describe("automations_read", "Read an automation", answer=AutomationOut)
    def get(self, request: Request, automation: str) -> Response:
        found = find_automation(actor_of(request), parse_id("auto", automation))
        return Response(automation_json(found))

    @describe(
        "automations_update",
        "Rename an automation, or move it in the order of its trigger",
        request=AutomationChangeIn,
        answer=AutomationOut,
        codes=["unknown_key", "role_missing"],
    )
    def patch(self, request: Request, automation: str) -> Response:
        number = parse_id("auto", automation)
        values = parse(request, AutomationChangeIn, partial=True)
        changed = drafts.update_automation(actor=actor_of(request), automation_id=number, **values)
        return Response(automation_json(changed))

    @describe("automations_delete", "Delete an automation that never had a run", status=204, codes=["has_runs"])
    def delete(self, request: Request, automation: str) -> Response:
        drafts.delete_automation(actor=actor_of(request), automation_id=parse_id("auto", automation))
        return Response(status=204)


class DraftView(Definitions):
    """The draft of an automation; its `ETag` is the revision."""

    scopes = {"GET": "read", "PUT": "edit", "DELETE": "edit"}

    @describe("drafts_read", "Read the draft, as JSON or (Accept: application/yaml) as YAML", answer=DraftOut)
    def get(self, request: Request, automation: str) -> Response | HttpResponse:
        draft = drafts.read_draft(actor=actor_of(request), automation_id=parse_id("auto", automation))
        return draft_response(request, draft)

    @describe(
        "drafts_save",
        "Store the draft; it may hold problems",
        request=DefinitionIn,
        answer=DraftOut,
        codes=[*SHAPE, "draft_conflict"],
        query=[ETAG],
        media=BOTH,
    )
    def put(self, request: Request, automation: str) -> Response | HttpResponse:
        number = parse_id("auto", automation)
        body, fmt = definition_body(request)
        draft = drafts.save_draft(
            actor=actor_of(request), automation_id=number, body=body, fmt=fmt, revision=revision_of(request)
        )
        return draft_response(request, draft)

    @describe("drafts_discard", "Throw the draft away", status=204, codes=["wrong_state"])
    def delete(self, request: Request, automation: str) -> Response:
        drafts.discard_draft(actor=actor_of(request), automation_id=parse_id("auto", automation))
        return Response(status=204)


def draft_response(request: Request, draft: Draft, status: int = 200) -> Response | HttpResponse:
    """The draft in the form that `Accept` asks for."""
    headers = {"ETag": f'"{draft.revision}"'}
    if wants_yaml(request):
        return yaml_response(draft.version, headers)
    return Response(draft_json(draft), status=status, headers=headers)


def yaml_response(version: Version, headers: dict[str, str] | None = None) -> HttpResponse:
    """A version as YAML text."""
    return HttpResponse(yaml_of(version), content_type="application/yaml; charset=utf-8", headers=headers)


class ValidateDraft(ApiView):
    """Validation of what is stored."""

    scope = "read"

    @describe("drafts_validate", "Validate the draft", answer=CheckOut, codes=["media_type"])
    def post(self, request: Request, automation: str) -> Response:
        number = parse_id("auto", automation)
        return check_response(drafts.check_draft(actor=actor_of(request), automation_id=number))


class Duplicate(ApiView):
    """A second automation with the same steps."""

    scope = "edit"

    @describe(
        "automations_duplicate",
        "Copy an automation, with another trigger where one is given",
        request=DuplicateIn,
        answer=AutomationMadeOut,
        status=201,
        codes=["unknown_key", "plan_limit", "invalid_definition"],
    )
    def post(self, request: Request, automation: str) -> Response:
        number = parse_id("auto", automation)
        draft = duplicate(actor=actor_of(request), automation_id=number, **parse(request, DuplicateIn))
        return Response({**automation_json(draft.automation), "problems": problems_json(draft.problems)}, status=201)


class Versions(ApiView):
    """All versions of an automation."""

    scope = "read"

    @describe("versions_list", "Versions, newest first", answer=page("versions", VersionRowOut), paged=True)
    def get(self, request: Request, automation: str) -> Response:
        found = find_automation(actor_of(request), parse_id("auto", automation))
        rows = Version.objects.filter(automation=found).select_related("author").defer("definition", "source")
        return list_response(request, rows, "versions", versions_json, field="number")


class VersionView(ApiView):
    """One version."""

    scope = "read"

    @describe("versions_read", "Read a version, as JSON or (Accept: application/yaml) as YAML", answer=VersionOut)
    def get(self, request: Request, automation: str, number: str) -> Response | HttpResponse:
        found = find_automation(actor_of(request), parse_id("auto", automation))
        version = find_version(found, version_number(found.public_id, number))
        return yaml_response(version) if wants_yaml(request) else Response(version_json(version))


def version_number(automation: str, text: str) -> int:
    """The number in an address; anything else is a version that does not exist."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise not_found("version", f"{automation} {text[:40]}")
    return int(text)


class Restore(ApiView):
    """An old version copied into the draft."""

    scope = "edit"

    @describe(
        "versions_restore",
        "Copy a version into the draft",
        answer=DraftOut,
        status=201,
        codes=["wrong_state"],
    )
    def post(self, request: Request, automation: str, number: str) -> Response | HttpResponse:
        auto = parse_id("auto", automation)
        draft = restore_version(actor=actor_of(request), automation_id=auto, number=version_number(automation, number))
        return draft_response(request, draft, status=201)
