"""Events in and out: `POST /events`, `GET /events`, `GET /events/evt_9` (CONTRACTS 7, 8; PRI-13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

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
    stamp,
)
from accounts.api.bodies import raw_body
from accounts.api.idempotency import key_of
from accounts.api.rendering import written
from accounts.api.requests import Reading
from accounts.errors import invalid, not_found
from accounts.ids import parse_id, public_id, read_id
from automations.models import Evaluation, Event, EventContent, Run
from automations.services.intake import SMALL, Early, look_ahead, post_events
from automations.services.intake_customers import alongside

PREFIXES = {
    "customer": "cus",
    "invoice": "inv",
    "subscription": "sub",
    "payment": "pay",
    "delivery": "dlv",
}


class EventIn(StrictSerializer):
    """One event; the body may also be `{"events": [...]}` with up to 1,000 of them."""

    id = serializers.CharField(required=False, help_text="Your own id: the same one twice is recorded once.")
    name = serializers.CharField(help_text="A name of the catalogue, or one of your own.")
    customer = serializers.JSONField(required=False)
    invoice = serializers.JSONField(required=False)
    subscription = serializers.JSONField(required=False)
    payment = serializers.JSONField(required=False)
    delivery = serializers.CharField(required=False)
    payload = serializers.DictField(required=False)
    occurred_at = TimeField(required=False)


class EventOut(serializers.Serializer[Any]):
    """An event that was recorded."""

    id = serializers.CharField()
    name = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # the answer's key, not the argument of a field
    key = serializers.CharField()
    origin = serializers.CharField()
    subject = serializers.DictField(child=serializers.CharField())
    cause = serializers.CharField(allow_null=True)
    occurredAt = serializers.CharField()
    recordedAt = serializers.CharField()
    routedAt = serializers.CharField(allow_null=True)


class DecisionOut(serializers.Serializer[Any]):
    """What became of the event at one automation."""

    automation = serializers.CharField()
    version = serializers.IntegerField()
    priority = serializers.IntegerField(allow_null=True)
    outcome = serializers.ChoiceField(choices=["started", "skipped"])
    gate = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    execution = serializers.CharField(allow_null=True)


class OneEventOut(EventOut):
    """With its data, and why each listening automation did or did not start."""

    payload = serializers.DictField()
    trigger = serializers.DictField()
    decisions = DecisionOut(many=True)
    values = serializers.DictField()
    default = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class Events(ApiView):
    """Posting and listing."""

    scopes = {"GET": "read", "POST": "events"}
    filters = ("name", "customer", "source")
    early: Early | None = None

    def ahead(self, request: Request) -> Reading | None:
        """The customer of a single event, which most requests bring."""
        if request.method == "POST" and request._request.content_type == "application/json" and _is_small(request):
            self.early = look_ahead(raw_body(request))
        return alongside(self.early.ref) if self.early is not None else None

    @describe(
        "events_list",
        "Events, newest first",
        answer=page("events", EventOut),
        query=["name", "customer", "source"],
        paged=True,
    )
    def get(self, request: Request) -> Response:
        """By name, source or customer."""
        return list_response(request, _filtered(request), "events", events_json)

    @describe(
        "events_create",
        "Record events",
        request=EventIn,
        answer=OpenApiResponse(OpenApiTypes.OBJECT, description="Id and status of each event, in order."),
        status=202,
        codes=[
            "unknown_key",
            "unknown_event",
            "unknown_reference",
            "customer_conflict",
            "event_conflict",
            "limit_exceeded",
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """One or many, all or none."""
        early = None if self.early is None else replace(self.early, row=request.alongside)
        body = request.data if early is None else early.body
        recorded = post_events(actor=actor_of(request), body=body, idempotency_key=key_of(request), early=early)
        if "events" not in body:
            return written({"id": public_id("evt", recorded[0].id), "status": recorded[0].status}, status=202)
        rows = [
            {"index": index, "id": public_id("evt", item.id), "status": item.status}
            for index, item in enumerate(recorded)
        ]
        return written({"events": rows}, status=202)


def _is_small(request: Request) -> bool:
    """By what it says of itself: nothing is read of others."""
    length = request.META.get("CONTENT_LENGTH") or ""
    return length.isdecimal() and len(length) < 8 and 0 < int(length) <= SMALL


def _filtered(request: Request) -> QuerySet[Event]:
    events = Event.objects.filter(workspace_id=actor_of(request).workspace_id).select_related("routed")
    query = request.query_params
    if query.get("name"):
        events = events.filter(name=query["name"])
    if query.get("source"):
        events = events.filter(source=query["source"])
    if query.get("customer"):
        customer = read_id("cus", query["customer"])
        if customer is None:
            raise invalid("customer", "is written as cus_7.")
        events = events.filter(customer_id=customer)
    return events


class OneEvent(ApiView):
    """One event with its decisions."""

    scope = "read"

    @describe("events_read", "An event, its data and what became of it", answer=OneEventOut)
    def get(self, request: Request, event: str) -> Response:
        """Decisions of automations that did not simply start come from the evaluation, the others from their runs."""
        workspace_id = actor_of(request).workspace_id
        events = Event.objects.filter(workspace_id=workspace_id, pk=parse_id("evt", event))
        found = events.select_related("routed").first()
        if found is None:
            raise not_found("event", event)
        return Response({**events_json([found])[0], **_content(found), **_outcome(found)})


urlpatterns = [path("events", Events.as_view()), path("events/<str:event>", OneEvent.as_view())]


def events_json(rows: Sequence[Event]) -> list[dict[str, Any]]:
    """A page of events; no further query."""
    return [
        {
            "id": public_id("evt", row.pk),
            "name": row.name,
            "source": row.source,
            "key": row.key,
            "origin": row.origin,
            "subject": {name: public_id(PREFIXES[name], id) for name, id in row.subjects.items() if name in PREFIXES},
            "cause": public_id("exec", row.cause_run) if row.cause_run else None,
            "occurredAt": stamp(row.occurred_at),
            "recordedAt": stamp(row.recorded_at),
            "routedAt": stamp(row.routed_at),
        }
        for row in rows
    ]


def _content(event: Event) -> dict[str, Any]:
    content = EventContent.objects.filter(event_id=event.pk, recorded_at=event.recorded_at).first()
    if content is None:  # its partition was dropped (DESIGN 6)
        return {"payload": {}, "trigger": {}}
    return {"payload": content.payload, "trigger": {**content.snapshot, **content.payload}}


def _outcome(event: Event) -> dict[str, Any]:
    evaluation = Evaluation.objects.filter(event_id=event.pk, recorded_at=event.recorded_at).first()
    rows: list[dict[str, Any]] = evaluation.decisions if evaluation else []
    runs = Run.objects.filter(workspace_id=event.workspace_id, event_id=event.pk, mode="live").select_related("version")
    started = {public_id("auto", run.automation_id): run for run in runs.order_by("pk")}
    decisions = [
        {**row, "execution": public_id("exec", started[row["automation"]].pk) if row["automation"] in started else None}
        for row in rows
        if "automation" in row
    ]
    told = {row["automation"] for row in decisions}
    decisions += [_started(name, run) for name, run in started.items() if name not in told]
    return {
        "decisions": decisions,
        "values": evaluation.values if evaluation else {},
        "default": next((row["default"] for row in rows if "default" in row), None),
        "error": next((row["error"] for row in rows if "error" in row), None),
    }


def _started(automation: str, run: Run) -> dict[str, Any]:
    return {
        "automation": automation,
        "version": run.version.number,
        "priority": None,
        "outcome": "started",
        "gate": None,
        "reason": None,
        "execution": public_id("exec", run.pk),
    }
