"""Time zones of workspaces."""

from __future__ import annotations

from collections.abc import Collection
from zoneinfo import ZoneInfo

from accounts.models import Workspace


def zones_of(workspaces: Collection[int]) -> dict[int, ZoneInfo]:
    """By workspace id, one query."""
    rows = Workspace.objects.filter(pk__in=workspaces).values_list("pk", "time_zone")
    return {id: ZoneInfo(zone or "UTC") for id, zone in rows}
