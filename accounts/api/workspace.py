"""`/workspace`, `/limits`, `/api-keys`, `/audit` (CONTRACTS 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework import serializers

from accounts.api import shapes
from accounts.api.base import (
    ApiView,
    Request,
    Response,
    StrictSerializer,
    TimeField,
    actor_of,
    describe,
    list_response,
    page,
    parse,
)
from accounts.errors import not_found
from accounts.ids import parse_id
from accounts.models import ApiKey, Audit, Workspace
from accounts.permissions import SCOPES
from accounts.services.keys import create_api_key, revoke_api_key
from accounts.services.workspaces import limits_of, update_workspace

Usage = Callable[[int], dict[str, Any]]
_usages: dict[str, Usage] = {}


def add_usage(name: str, usage: Usage) -> None:
    """Upper apps say what is used of a limit: `usage(workspace_id)` answers plain JSON data, shown under `usage`
    (LIM-14)."""
    _usages[name] = usage


class WorkspaceChange(StrictSerializer):
    """Absent fields stay; `defaults` is merged key by key."""

    name = serializers.CharField(max_length=200)
    currency = serializers.CharField(max_length=3)
    time_zone = serializers.CharField(max_length=60)
    plan = serializers.CharField(max_length=20)
    defaults = serializers.DictField(child=serializers.JSONField(allow_null=True))
    rotate_webhook_secret = serializers.BooleanField()


class ApiKeyIn(StrictSerializer):
    """Scopes are at most those of the asker."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=SCOPES), min_length=1, max_length=len(SCOPES))
    expires_at = TimeField(required=False, allow_null=True)


class LimitsOut(shapes.Out):
    """Limits of the plan; null is unlimited. `usage` says what is used of them."""

    plan = serializers.CharField()
    name = serializers.CharField()
    stageAutomations = serializers.IntegerField(allow_null=True)
    stageDepth = serializers.IntegerField(allow_null=True)
    globalAutomations = serializers.IntegerField(allow_null=True)
    globalDepth = serializers.IntegerField(allow_null=True)
    monthlyEmails = serializers.IntegerField(allow_null=True)
    usage = serializers.DictField()


class OneWorkspace(ApiView):
    """The workspace of the caller."""

    scopes = {"GET": "read", "PATCH": "admin"}

    @describe("workspace_read", "The workspace", answer=shapes.WorkspaceOut)
    def get(self, request: Request) -> Response:
        """With its signing secret for those who may change it."""
        actor = actor_of(request)
        row = Workspace.objects.get(pk=actor.workspace_id)
        return Response(shapes.workspace(row, secret="admin" in actor.scopes))

    @describe("workspace_update", "Change the workspace", request=WorkspaceChange, answer=shapes.WorkspaceOut)
    def patch(self, request: Request) -> Response:
        """Also gives it a new signing secret."""
        row = update_workspace(actor=actor_of(request), changes=parse(request, WorkspaceChange, partial=True))
        return Response(shapes.workspace(row, secret=True))

    secret_keys = ("webhookSecret",)


class Limits(ApiView):
    """The plan's limits."""

    scope = "read"

    @describe("limits_read", "Limits of the plan, and what is used of them", answer=LimitsOut)
    def get(self, request: Request) -> Response:
        """A limit of null is none."""
        workspace_id = actor_of(request).workspace_id
        plan = limits_of(workspace_id)
        return Response(
            {
                "plan": plan.slug,
                "name": plan.name,
                "stageAutomations": plan.stage_automations,
                "stageDepth": plan.stage_depth,
                "globalAutomations": plan.global_automations,
                "globalDepth": plan.global_depth,
                "monthlyEmails": plan.monthly_emails,
                "usage": {name: usage(workspace_id) for name, usage in _usages.items()},
            }
        )


class ApiKeys(ApiView):
    """All keys, and making one."""

    scope = "admin"
    secret_keys = ("secret",)

    @describe("keys_list", "API keys, newest first", answer=page("apiKeys", shapes.ApiKeyOut), paged=True)
    def get(self, request: Request) -> Response:
        """Revoked ones too."""
        rows = ApiKey.objects.filter(workspace_id=actor_of(request).workspace_id)
        return list_response(request, rows, "apiKeys", shapes.api_keys)

    @describe(
        "keys_create",
        "Make an API key",
        request=ApiKeyIn,
        answer=shapes.ApiKeyMade,
        status=201,
        codes=("role_missing",),
    )
    def post(self, request: Request) -> Response:
        """The whole key is in this answer and nowhere else."""
        key, text = create_api_key(actor=actor_of(request), **parse(request, ApiKeyIn))
        return Response({**shapes.api_keys([key])[0], "secret": text}, status=201)


class OneApiKey(ApiView):
    """A key."""

    scope = "admin"

    @describe("keys_read", "An API key", answer=shapes.ApiKeyOut)
    def get(self, request: Request, key: str) -> Response:
        """Without its secret."""
        rows = ApiKey.objects.filter(workspace_id=actor_of(request).workspace_id, pk=parse_id("key", key))
        row = rows.first()
        if row is None:
            raise not_found("API key", key)
        return Response(shapes.api_keys([row])[0])

    @describe("keys_revoke", "Revoke an API key", answer=shapes.ApiKeyOut, codes=("idempotency_conflict",))
    def delete(self, request: Request, key: str) -> Response:
        """From the next request on it is refused."""
        row = revoke_api_key(actor=actor_of(request), key_id=parse_id("key", key))
        return Response(shapes.api_keys([row])[0])


class AuditLog(ApiView):
    """Who did what."""

    scope = "admin"
    filters = ("object", "action")

    @describe("audit_list", "Audit log, newest first", answer=page("audit", shapes.AuditOut), query=filters, paged=True)
    def get(self, request: Request) -> Response:
        """`object` is a public id."""
        rows = Audit.objects.filter(workspace_id=actor_of(request).workspace_id)
        for name in self.filters:
            value = request.query_params.get(name)
            if value:
                rows = rows.filter(**{name: value})
        return list_response(request, rows, "audit", shapes.audits)
