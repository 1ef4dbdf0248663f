"""The catalogue, and the order of exclusive triggers (CONTRACTS 6, 8)."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpResponse
from rest_framework import serializers

from accounts.api.base import ApiView, Request, Response, actor_of, describe, parse
from accounts.ids import parse_id
from automations.api.serializers import OrderIn, Out, PrioritiesOut
from automations.models import Automation
from automations.services.catalogue import catalogue
from automations.services.priorities import in_order, reorder


class CatalogueOut(Out):
    """Everything that can be used in a definition; configurations, parameters and outputs are JSON Schemas."""

    triggers = serializers.ListField(child=serializers.DictField())
    steps = serializers.ListField(child=serializers.DictField())
    actions = serializers.ListField(child=serializers.DictField())
    variables = serializers.ListField(child=serializers.DictField())
    operators = serializers.ListField(child=serializers.DictField())
    filters = serializers.ListField(child=serializers.DictField())
    queries = serializers.ListField(child=serializers.DictField())
    events = serializers.ListField(child=serializers.DictField())


class CatalogueView(ApiView):
    """Triggers, steps, actions and variables."""

    scope = "read"

    @describe("catalogue_read", "Triggers, steps, actions and variables with their schemas", answer=CatalogueOut)
    def get(self, request: Request) -> Response | HttpResponse:
        found = catalogue(actor=actor_of(request))
        headers = {"ETag": f'"{found.etag}"', "Cache-Control": "private, no-cache"}
        if f'"{found.etag}"' in request.headers.get("If-None-Match", ""):
            return HttpResponse(status=304, headers=headers)
        return Response(found.data, headers=headers)


class Priorities(ApiView):
    """The order in which automations of an exclusive trigger are asked (PRI-06 to 10)."""

    scopes = {"GET": "read", "PUT": "publish"}

    @describe("priorities_read", "The order of an exclusive trigger", answer=PrioritiesOut)
    def get(self, request: Request, trigger: str) -> Response:
        return _order(trigger, in_order(actor_of(request), trigger))

    @describe(
        "priorities_set",
        "Set the order of an exclusive trigger; names all of its automations",
        request=OrderIn,
        answer=PrioritiesOut,
        codes=["unknown_key"],
    )
    def put(self, request: Request, trigger: str) -> Response:
        order = [parse_id("auto", name) for name in parse(request, OrderIn)["order"]]
        return _order(trigger, reorder(actor=actor_of(request), trigger=trigger, order=order))


def _order(trigger: str, automations: Sequence[Automation]) -> Response:
    rows = [
        {"id": item.public_id, "name": item.name, "state": item.state, "priority": item.priority}
        for item in automations
    ]
    return Response({"trigger": trigger, "automations": rows})
