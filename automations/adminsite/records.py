"""What happened, to be read: versions, runs with their log, events with their evaluation, deliveries."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from automations import models
from automations.adminsite.keyset import ReadOnlyKeysetAdmin
from automations.services import jsontext
from automations.services.executions import STORED
from automations.services.texts import yaml_of

LOG_ROWS = 100


def pretty(value: Any) -> SafeString:
    """JSON as people read it."""
    return (
        render_to_string("admin/automations/text.html", {"text": jsontext.dumps(value)}) if value else SafeString("–")
    )


class StatusFilter(admin.SimpleListFilter):
    """By status, without asking the table which there are."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The five stored ones."""
        return [(status, status) for status in STORED]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Runs with that status."""
        return queryset.filter(status=self.value()) if self.value() in STORED else queryset


@admin.register(models.Version)
class VersionAdmin(ReadOnlyKeysetAdmin):
    """Versions, each as its text."""

    list_display = ("automation", "number", "state", "author", "activated_at")
    list_select_related = ("automation", "author")
    list_filter = ("state",)
    fields = ("automation", "number", "state", "author", "activated_at", "sha256", "text")
    readonly_fields = ("text",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Lists need no graphs."""
        return super().get_queryset(request).select_related("automation", "author")

    @admin.display(description="Definition")
    def text(self, version: models.Version) -> SafeString:
        """The version as YAML."""
        return render_to_string("admin/automations/text.html", {"text": yaml_of(version)})


@admin.register(models.Run)
class RunAdmin(ReadOnlyKeysetAdmin):
    """Runs; the newest hundred rows of the log stand below each."""

    prefix = "exec"
    list_display = ("__str__", "automation", "customer", "status", "end_reason", "step", "due_at", "started_at")
    list_select_related = ("automation", "customer")
    list_filter = (StatusFilter,)
    shown: ClassVar[tuple[str, ...]] = (
        "automation", "version", "event", "customer", "subjects", "mode", "status", "parked_on", "due_at", "step", "seq",
        "attempt", "wait_name", "wait_key", "end_reason", "error", "held", "started_at", "ended_at", "recorded_at",
        "goal_reached_at", "steps_executed", "lost",
    )  # fmt: skip
    fields = (*shown, "log", "deliveries")
    readonly_fields = (*shown, "log", "deliveries")

    @admin.display(description="Step log, newest first")
    def log(self, run: models.Run) -> SafeString:
        """Rows of the log as a table."""
        rows = models.StepLog.objects.filter(run_id=run.pk).order_by("-seq", "-attempt", "-recorded_at")[:LOG_ROWS]
        shown = [{"row": row, "texts": _texts(row)} for row in rows]
        return render_to_string("admin/automations/log.html", {"rows": shown, "most": LOG_ROWS})

    @admin.display(description="Deliveries, newest first")
    def deliveries(self, run: models.Run) -> SafeString:
        """Links to what the run sent or is to send."""
        rows = models.Delivery.objects.filter(workspace_id=run.workspace_id, run_id=run.pk).order_by("-pk")[:LOG_ROWS]
        return render_to_string("admin/automations/deliveries.html", {"rows": rows})


def _texts(row: models.StepLog) -> list[tuple[str, str]]:
    named = (("input", row.input), ("output", row.output), ("error", row.error), ("warnings", row.warnings))
    return [(name, jsontext.dumps(value)) for name, value in named if value]


@admin.register(models.Event)
class EventAdmin(ReadOnlyKeysetAdmin):
    """Events, with their content and what became of them at each automation that heard them."""

    prefix = "evt"
    list_display = ("__str__", "workspace", "source", "key", "customer_id", "origin", "occurred_at", "routed_at")
    list_select_related = ("workspace",)
    shown: ClassVar[tuple[str, ...]] = (
        "workspace", "name", "source", "key", "customer_id", "subjects", "origin", "cause_run", "depth", "occurred_at",
        "recorded_at", "routed_at", "only_automation",
    )  # fmt: skip
    fields = (*shown, "payload", "snapshot", "evaluation", "runs")
    readonly_fields = (*shown, "payload", "snapshot", "evaluation", "runs")

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the key that the source gave it."""
        return queryset.filter(key=term)

    def _content(self, event: models.Event) -> models.EventContent | None:
        return models.EventContent.objects.filter(event_id=event.pk, recorded_at=event.recorded_at).first()

    @admin.display(description="Payload")
    def payload(self, event: models.Event) -> SafeString:
        """As it was posted."""
        content = self._content(event)
        return pretty(content.payload if content else None)

    @admin.display(description="Snapshot")
    def snapshot(self, event: models.Event) -> SafeString:
        """The objects as they were."""
        content = self._content(event)
        return pretty(content.snapshot if content else None)

    @admin.display(description="Evaluation")
    def evaluation(self, event: models.Event) -> SafeString:
        """Which version stopped at which gate, and the values that the filters read."""
        found = models.Evaluation.objects.filter(event_id=event.pk, recorded_at=event.recorded_at).first()
        return pretty({"decisions": found.decisions, "values": found.values} if found else None)

    @admin.display(description="Runs")
    def runs(self, event: models.Event) -> SafeString:
        """The runs that it started."""
        rows = models.Run.objects.filter(workspace_id=event.workspace_id, event_id=event.pk)
        if event.only_automation:
            rows = rows.filter(automation_id=event.only_automation)
        return render_to_string("admin/automations/runs.html", {"rows": rows.order_by("-pk")[:LOG_ROWS]})


@admin.register(models.Delivery)
class DeliveryAdmin(ReadOnlyKeysetAdmin):
    """Deliveries with their tries; the bodies stay where they are."""

    prefix = "dlv"
    list_display = ("__str__", "run_link", "kind", "state", "to", "subject", "due_at", "sent_at")
    list_filter = ("state",)
    shown: ClassVar[tuple[str, ...]] = (
        "run_link", "visit", "effect", "key", "step", "action", "kind", "state", "customer_id", "to", "subject", "money",
        "due_at", "lease_until", "fence", "attempts", "provider_ref", "outcome", "error", "created_at", "sent_at",
        "delivered_at", "opened_at", "clicked_at", "bounced_at", "complained_at",
    )  # fmt: skip
    fields = (*shown, "tries")
    readonly_fields = (*shown, "tries")

    @admin.display(description="Run")
    def run_link(self, delivery: models.Delivery) -> SafeString:
        """The run that it belongs to."""
        address = reverse("admin:automations_run_change", args=[delivery.run_id])
        return format_html('<a href="{}">exec_{}</a>', address, delivery.run_id)

    @admin.display(description="Tries")
    def tries(self, delivery: models.Delivery) -> SafeString:
        """Every try with its outcome."""
        rows = models.DeliveryAttempt.objects.filter(delivery=delivery).order_by("number")[:LOG_ROWS]
        return render_to_string("admin/automations/tries.html", {"rows": rows})


@admin.register(models.EmailTemplate)
class EmailTemplateAdmin(ReadOnlyKeysetAdmin):
    """E-mail texts."""

    prefix = "tmpl"
    list_display = ("slug", "name", "kind", "workspace", "updated_at")
    list_select_related = ("workspace",)


@admin.register(models.Sender)
class SenderAdmin(ReadOnlyKeysetAdmin):
    """Addresses that mail may come from."""

    prefix = "snd"
    list_display = ("address", "name", "default", "verified_at", "workspace")
    list_select_related = ("workspace",)


for _model in (models.EventShape, models.Entry, models.SplitChoice, models.Worker, models.PartitionLog, models.Tally):
    admin.site.register(_model, ReadOnlyKeysetAdmin)
