"""Tables that keep the engine going, for those who look for a fault: nothing here is of use in daily work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_q.models import Failure, OrmQ, Schedule, Success

from accounts.adminsite.look import id_link
from accounts.adminsite.record import Block, RecordAdmin, shown_at
from automations import models

# django-q2's own pages let one write down any function to be called and take away what the queue does (DESIGN 5.4: its schedules are
# made by a migration and kept equal to the settings). Two of them are of use for reading. With another broker it has no page of OrmQ.
for _model in (OrmQ, Success, Failure, Schedule):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(models.Worker)
class WorkerAdmin(RecordAdmin):
    """Worker processes."""

    place = 20
    about = "Worker processes, when each gave its last sign of life, and the runs it holds."
    empty_text = "No worker has run yet. Start `manage.py work`."
    list_display = (
        "name",
        "kind",
        shown_at("started_at", "started"),
        shown_at("beat_at", "last sign of life"),
        "holds",
    )
    shown = ("kind", "started_at", "beat_at", "holding_runs")
    labels: ClassVar[dict[str, str]] = {"beat_at": "Last sign of life", "holding_runs": "Holds"}

    @admin.display(description="holds")
    def holds(self, row: models.Worker) -> str:
        """How many runs."""
        return f"{len(row.holding)} runs" if row.holding else "nothing"

    def holding_runs(self, row: models.Worker) -> SafeString:
        """Links to them."""
        return SafeString(", ".join(id_link(f"exec_{number}") for number in row.holding[:100]))

    def heading(self, row: models.Worker) -> str:
        """Host, process and a random part."""
        return row.name


@admin.register(models.EventShape)
class EventShapeAdmin(RecordAdmin):
    """Fields learned of custom events."""

    place = 30
    about = "Which fields custom events had lately; validation goes by them."
    empty_text = "No custom events yet."
    list_display = ("name", "fields_of", shown_at("seen_at", "last seen"), "workspace")
    related = ("workspace",)
    shown = ("paths", "seen_at")
    labels: ClassVar[dict[str, str]] = {"paths": "Fields", "seen_at": "Last seen"}

    @admin.display(description="fields")
    def fields_of(self, row: models.EventShape) -> str:
        """Their names."""
        return ", ".join(sorted(row.paths)[:8])

    def heading(self, row: models.EventShape) -> str:
        """The event."""
        return row.name


class OfAutomation(RecordAdmin):
    """Rows that belong to an automation."""

    related: ClassVar[tuple[str, ...]] = ("workspace", "automation")

    @admin.display(description="run")
    def run(self, row: Any) -> SafeString:
        """The run that has it."""
        return id_link(f"exec_{row.run_id}")


@admin.register(models.Entry)
class EntryAdmin(OfAutomation):
    """Re-entry keys that are taken."""

    place, title = 40, "Re-entry keys"
    about = "Who may not enter an automation again, yet or ever."
    empty_text = "Nobody is kept out."
    list_display = ("key", "automation", "run", "once", "workspace")
    shown = ("key", "automation", "run", "once")

    def heading(self, row: models.Entry) -> str:
        """The key and whose it is."""
        return f"{row.key} in {row.automation}"


@admin.register(models.SplitChoice)
class SplitChoiceAdmin(OfAutomation):
    """Branches of splits that customers keep."""

    place = 50
    about = "Which way each customer took at a percentage split; they keep it."
    empty_text = "Nobody has come to a split yet."
    list_display = ("customer", "automation", "step", "branch", "workspace")
    related = ("workspace", "automation", "customer")
    shown = ("customer", "automation", "step", "branch")

    def heading(self, row: models.SplitChoice) -> str:
        """Who went where."""
        return f"{row.customer}: {row.branch} at {row.step}"


@admin.register(models.Tally)
class TallyAdmin(OfAutomation):
    """Counts per step and day."""

    place, title = 80, "Tallies"
    about = "How many runs entered and left each step, by day."
    empty_text = "Nothing counted yet."
    list_display = ("automation", "version_id", "step", "port", "day", "count", "workspace")
    shown = ("automation", "version_id", "step", "port", "day", "count")

    def heading(self, row: models.Tally) -> str:
        """What is counted."""
        return f"{row.automation}, {row.step} {row.port}".strip()


@admin.register(models.PartitionLog)
class PartitionLogAdmin(RecordAdmin):
    """What housekeeping did."""

    place = 90
    about = "Parts of the log that were made ahead, taken off and dropped."
    list_display = ("partition", "action", "table", shown_at("at", "at"))

    def heading(self, row: models.PartitionLog) -> str:
        """What was done to which."""
        return f"{row.partition} {row.action}"


@admin.register(Schedule)
class ScheduleAdmin(RecordAdmin):
    """What the queue does by the clock."""

    place, title = 92, "Queue schedules"
    about = "What the queue calls by the clock, and when next."
    empty_text = "The queue has no schedules: start `manage.py qcluster` once, or migrate."
    list_display = ("name", "func", shown_at("next_run", "next"))
    shown = ("func", "schedule_type", "minutes", "cron", "next_run")

    def heading(self, row: Schedule) -> str:
        """Its name."""
        return str(row.name)


@admin.register(Failure)
class FailureAdmin(RecordAdmin):
    """Calls of the queue that raised."""

    place, title = 93, "Queue failures"
    about = "Calls of the queue that failed, with what they said."
    empty_text = "No call of the queue has failed."
    list_display = ("name", "func", shown_at("started", "started"), shown_at("stopped", "ended"))
    shown = ("func", "started", "stopped", "attempt_count")

    def get_queryset(self, request: Any) -> QuerySet[Any]:
        """Failed calls only: django-q2 keeps both kinds in one table."""
        return super().get_queryset(request).filter(success=False).defer("args", "kwargs", "hook")

    def heading(self, row: Failure) -> str:
        """What was called."""
        return str(row.func)

    def blocks(self, row: Failure) -> Iterable[Block]:
        """What it said."""
        yield Block("What it said", format_html('<pre class="data soft">{}</pre>', str(row.result)))
