"""`/funnels` and `/stages` (CONTRACTS 8)."""

from __future__ import annotations

from rest_framework import serializers

from accounts.api import shapes
from accounts.api.base import (
    ApiView,
    Request,
    Response,
    StrictSerializer,
    actor_of,
    describe,
    list_response,
    page,
    parse,
)
from accounts.errors import Refusal, not_found
from accounts.ids import parse_id, read_id
from accounts.models import Funnel, Stage
from accounts.services.stages import create_funnel, create_stage, rename_funnel, update_stage


class FunnelIn(StrictSerializer):
    """A new funnel; without `slug` it is made of the name."""

    name = serializers.CharField(max_length=200)
    slug = serializers.CharField(required=False, max_length=60)


class FunnelChange(StrictSerializer):
    """Slugs stay: definitions name them."""

    name = serializers.CharField(max_length=200)


class StageNew(StrictSerializer):
    """A new stage, after the last one. `funnel` is an id or a slug."""

    funnel = serializers.CharField(max_length=60)
    slug = serializers.CharField(max_length=60)
    name = serializers.CharField(required=False, max_length=200)
    buckets = serializers.ListField(child=serializers.CharField(max_length=60), required=False, max_length=50)


class StageChange(StrictSerializer):
    """Past entries keep the bucket they carry."""

    name = serializers.CharField(max_length=200)
    buckets = serializers.ListField(child=serializers.CharField(max_length=60), max_length=50)


def find_funnel(request: Request, name: str) -> Funnel:
    """By id."""
    row = Funnel.objects.filter(workspace_id=actor_of(request).workspace_id, pk=parse_id("fun", name)).first()
    if row is None:
        raise not_found("funnel", name)
    return row


def find_stage(request: Request, name: str) -> Stage:
    """By id, with its funnel."""
    rows = Stage.objects.filter(workspace_id=actor_of(request).workspace_id, pk=parse_id("stg", name))
    row = rows.select_related("funnel").first()
    if row is None:
        raise not_found("stage", name)
    return row


class Funnels(ApiView):
    """All funnels, and making one."""

    scopes = {"GET": "read", "POST": "edit"}

    @describe("funnels_list", "Funnels with their stages", answer=page("funnels", shapes.FunnelOut), paged=True)
    def get(self, request: Request) -> Response:
        """Oldest first."""
        rows = Funnel.objects.filter(workspace_id=actor_of(request).workspace_id)
        return list_response(request, rows, "funnels", shapes.funnels, ascending=True)

    @describe(
        "funnels_create", "Make a funnel", request=FunnelIn, answer=shapes.FunnelOut, status=201, codes=("conflict",)
    )
    def post(self, request: Request) -> Response:
        """It has no stages at first."""
        funnel = create_funnel(actor=actor_of(request), **parse(request, FunnelIn))
        return Response(shapes.funnels([funnel])[0], status=201)


class OneFunnel(ApiView):
    """A funnel."""

    scopes = {"GET": "read", "PATCH": "edit"}

    @describe("funnels_read", "A funnel with its stages", answer=shapes.FunnelOut)
    def get(self, request: Request, funnel: str) -> Response:
        """By id."""
        return Response(shapes.funnels([find_funnel(request, funnel)])[0])

    @describe("funnels_update", "Rename a funnel", request=FunnelChange, answer=shapes.FunnelOut)
    def patch(self, request: Request, funnel: str) -> Response:
        """Only the name can change."""
        values = parse(request, FunnelChange, partial=True)
        row = find_funnel(request, funnel)
        if "name" in values:
            row = rename_funnel(actor=actor_of(request), funnel=row, name=values["name"])
        return Response(shapes.funnels([row])[0])


class Stages(ApiView):
    """All stages, and making one."""

    scopes = {"GET": "read", "POST": "edit"}
    filters = ("funnel",)

    @describe("stages_list", "Stages", answer=page("stages", shapes.StageOut), query=filters, paged=True)
    def get(self, request: Request) -> Response:
        """In the order in which they were made; `funnel` is a slug."""
        rows = Stage.objects.filter(workspace_id=actor_of(request).workspace_id).select_related("funnel")
        funnel = request.query_params.get("funnel")
        if funnel:
            rows = rows.filter(funnel__slug=funnel)
        return list_response(request, rows, "stages", shapes.stages, ascending=True)

    @describe(
        "stages_create",
        "Make a stage",
        request=StageNew,
        answer=shapes.StageOut,
        status=201,
        codes=("conflict", "unknown_reference"),
    )
    def post(self, request: Request) -> Response:
        """It stands after the last stage of its funnel."""
        values = parse(request, StageNew)
        name = values.pop("funnel")
        number = read_id("fun", name)
        wanted = {"slug": name} if number is None else {"pk": number}
        funnel = Funnel.objects.filter(workspace_id=actor_of(request).workspace_id, **wanted).first()
        if funnel is None:
            raise Refusal("unknown_reference", f"There is no funnel “{name}” in this workspace.", {"funnel": name})
        stage = create_stage(actor=actor_of(request), funnel=funnel, **values)
        return Response(shapes.stages([stage])[0], status=201)


class OneStage(ApiView):
    """A stage."""

    scopes = {"GET": "read", "PATCH": "edit"}

    @describe("stages_read", "A stage", answer=shapes.StageOut)
    def get(self, request: Request, stage: str) -> Response:
        """By id."""
        return Response(shapes.stages([find_stage(request, stage)])[0])

    @describe("stages_update", "Change a stage", request=StageChange, answer=shapes.StageOut)
    def patch(self, request: Request, stage: str) -> Response:
        """Its name and its buckets."""
        values = parse(request, StageChange, partial=True)
        row = update_stage(actor=actor_of(request), stage=find_stage(request, stage), changes=values)
        return Response(shapes.stages([row])[0])
