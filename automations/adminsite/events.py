"""Events: what they said, what they started, and why others did not start (PRI-13)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.look import NONE, code, data, id_link, moment, pill, pretty, row_link, table
from accounts.adminsite.record import Block, RecordAdmin, shown_at
from automations import models
from automations.adminsite.words import run_pill, subject_link

ROWS = 100


@admin.register(models.Event)
class EventAdmin(RecordAdmin):
    """Events, with their content and what became of them at each automation that heard them."""

    prefix, section, place = "evt", "Automations", 40
    about = "What happened, who said so, and what became of it at each automation."
    empty_text = "No events yet. They come from POST /api/v1/events, from billing, and from schedules."
    search_help_text = "An id such as evt_12, or the key that its source gave it."
    list_display = ("name", "public_id", "source", "whose", "fate", shown_at("occurred_at", "happened"), "workspace")
    related = ("workspace", "routed")
    shown = (
        "source",
        "key",
        "subjects",
        "origin",
        "cause_run",
        "depth",
        "only_automation",
        "occurred_at",
        "recorded_at",
        "routed_at",
    )
    labels: ClassVar[dict[str, str]] = {
        "subjects": "About", "cause_run": "Brought about by", "depth": "Chain of causes", "occurred_at": "Happened",
        "recorded_at": "Recorded", "routed_at": "Routed", "only_automation": "Only for",
    }  # fmt: skip

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the key that the source gave it."""
        return queryset.filter(key=term)

    @admin.display(description="customer")
    def whose(self, event: models.Event) -> SafeString:
        """Whom it is about."""
        return id_link(f"cus_{event.customer_id}") if event.customer_id else NONE

    @admin.display(description="state")
    def fate(self, event: models.Event) -> SafeString:
        """Whether a worker has seen it."""
        return pill("Routed", "idle", "tick") if event.routed_at else pill("Not routed yet", "wait", "hourglass")

    def routed_at(self, event: models.Event) -> Any:
        """When the routers were done with it."""
        return moment(event.routed_at) if event.routed_at else None

    def heading(self, row: models.Event) -> str:
        """Its name."""
        return row.name

    def badges(self, row: models.Event) -> list[SafeString]:
        """Whether it was routed."""
        return [self.fate(row)]

    def key(self, event: models.Event) -> SafeString:
        """As its source gave it."""
        return code(event.key)

    def subjects(self, event: models.Event) -> Any:
        """Everything that it is about."""
        return SafeString(", ".join(subject_link(kind, number) for kind, number in event.subjects.items()))

    def depth(self, event: models.Event) -> Any:
        """How long the chain of causes is; nothing for one at its beginning."""
        return event.depth or None

    def only_automation(self, event: models.Event) -> Any:
        """A schedule's or a person's event is for one automation."""
        return id_link(f"auto_{event.only_automation}") if event.only_automation else None

    def blocks(self, row: models.Event) -> Iterable[Block]:
        """The runs that it started, why others did not start, and what it said: four queries."""
        runs = models.Run.objects.filter(workspace_id=row.workspace_id, event_id=row.pk)
        if row.only_automation:
            runs = runs.filter(automation_id=row.only_automation)
        found = runs.select_related("automation", "customer").order_by("-pk")[:ROWS]
        started = ((row_link(run), run_pill(run), row_link(run.automation), row_link(run.customer)) for run in found)
        yield Block(
            "Runs that it started", table(("Run", "State", "Automation", "Customer"), started, "None."), name="runs"
        )
        yield from _evaluation(row)
        content = models.EventContent.objects.filter(event_id=row.pk, recorded_at=row.recorded_at).first()
        if content is None:
            yield Block("Content", format_html('<p class="none">{}</p>', "It is no longer kept."))
            return
        if content.payload:
            yield Block("Payload, as it was sent", data(content.payload))
        yield Block("Snapshot, the objects as they were", pretty(content.snapshot), folded=bool(content.payload))


def _evaluation(event: models.Event) -> Iterable[Block]:
    found = models.Evaluation.objects.filter(event_id=event.pk, recorded_at=event.recorded_at).first()
    if found is None:
        return
    numbers = [str(one.get("automation", "")).removeprefix("auto_") for one in found.decisions]
    names = dict(
        models.Automation.objects.filter(workspace_id=event.workspace_id, pk__in=[n for n in numbers if n.isdigit()])
        .values_list("pk", "name")
    )  # fmt: skip
    rows = (_decision(one, names) for one in found.decisions)
    heads = ("Automation", "Outcome", "Stopped at", "Why")
    yield Block("Why not, or why", table(heads, rows, "No automation listened."), name="decisions")
    if found.values:
        yield Block("Values that the filters read", data(found.values))


def _decision(one: dict[str, Any], names: dict[int, str]) -> tuple[Any, ...]:
    if "default" in one:
        return ("Default billing settings", one["default"], NONE, NONE)
    if "error" in one:
        return (NONE, pill("Failed", "bad", "fail"), NONE, one["error"])
    public = str(one.get("automation", ""))
    number = public.removeprefix("auto_")
    name = names.get(int(number)) if number.isdigit() else None
    run = one.get("execution")
    outcome = id_link(run) if run else pill(str(one.get("outcome", "")).capitalize(), "idle", "skip")
    version = f", version {one['version']}" if one.get("version") else ""
    return (
        format_html("{}{}", id_link(public, name or public), version),
        outcome,
        one.get("gate") or NONE,
        one.get("reason") or NONE,
    )
