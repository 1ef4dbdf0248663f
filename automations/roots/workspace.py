"""The root `workspace` (CONTRACTS 5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field

from accounts.models import Workspace
from automations.engine.kinds import Config, Root


class WorkspaceFields(Config):
    """What `workspace.*` offers."""

    id: str = Field(title="Id")
    slug: str = Field(title="Short name")
    name: str = Field(title="Name")
    currency: str = Field(title="Currency")
    time_zone: str = Field(alias="timeZone", title="Time zone")


class WorkspaceRoot(Root):
    """Loaded by workspace id."""

    name = "workspace"
    label = "Workspace"
    prefix = "ws"
    subject = "workspace"
    Fields = WorkspaceFields

    def load(self, ids: Collection[int]) -> Mapping[int, Mapping[str, Any]]:
        """One query."""
        rows = Workspace.objects.filter(pk__in=ids).values_list("pk", "slug", "name", "currency", "time_zone")
        return {
            id: {"id": f"ws_{id}", "slug": slug, "name": name, "currency": currency, "timeZone": zone}
            for id, slug, name, currency, zone in rows
        }


workspace = WorkspaceRoot()
