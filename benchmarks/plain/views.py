"""The bare view of W6: reads a body of JSON and inserts one row. No authentication, no checks, no middleware."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.plain.models import Event


def insert(request: HttpRequest) -> HttpResponse:
    """One row."""
    body = json.loads(request.body)
    event = Event.objects.create(name=body["name"], payload=body.get("payload", {}))
    answer = f'{{"id": {event.pk}}}'
    headers = {"Content-Length": str(len(answer))}  # else gunicorn sends it in chunks
    return HttpResponse(answer, content_type="application/json", status=202, headers=headers)


urlpatterns = [path("api/v1/events", insert)]
