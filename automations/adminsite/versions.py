"""Versions of automations, each as its text; what was published never changes (VER-08)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.keyset import filter_by
from accounts.adminsite.look import code, row_link, state_pill
from accounts.adminsite.record import Block, Notice, RecordAdmin, shown_at
from automations import models
from automations.adminsite.words import VERSIONS
from automations.services.texts import yaml_of

ROWS = 100


@admin.register(models.Version)
class VersionAdmin(RecordAdmin):
    """Versions, each as its text."""

    section, place = "Automations", 60
    about = "What automations said, version by version; what was published never changes."
    list_display = ("name", "number", "condition", "author", shown_at("activated_at", "activated"), "workspace")
    related = ("automation", "author", "workspace")
    list_filter = (filter_by("state", {"draft": "Draft", "active": "Active", "inactive": "Replaced"}),)
    shown = ("automation", "author", "created_at", "activated_at", "sha256")
    labels: ClassVar[dict[str, str]] = {"created_at": "Made", "activated_at": "Activated", "sha256": "SHA-256"}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Lists need no graphs."""
        rows = super().get_queryset(request)
        match = request.resolver_match
        listing = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer("definition", "source") if listing else rows

    @admin.display(description="automation")
    def name(self, version: models.Version) -> str:
        """Whose version it is."""
        return version.automation.name

    @admin.display(description="state")
    def condition(self, version: models.Version) -> SafeString:
        """A pill."""
        return state_pill(VERSIONS, version.state)

    def heading(self, row: models.Version) -> str:
        """The automation and the number."""
        return f"{row.automation.name}, version {row.number}"

    def badges(self, row: models.Version) -> list[SafeString]:
        """Whether it runs."""
        return [state_pill(VERSIONS, row.state)]

    def sha256(self, version: models.Version) -> SafeString:
        """Of the graph; the beginning is enough to tell two apart."""
        return code(version.sha256[:16] + "…")

    def notice(self, row: models.Version) -> Notice:
        """Whether and where it can be changed."""
        if row.state == "draft":
            page = row_link(row.automation, "the page of the automation")
            return Notice("idle", format_html("This is the draft; it is edited on {}.", page), "pencil")
        return Notice(
            "idle",
            "This version was published: it cannot be changed any more, and runs keep the version they began with.",
        )

    def blocks(self, row: models.Version) -> Iterable[Block]:
        """The version as YAML."""
        yield Block("Definition", format_html('<pre class="data yaml">{}</pre>', yaml_of(row)), name="definition")
