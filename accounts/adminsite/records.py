"""Tasks for people, the audit log, and the machinery of keys and clocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from accounts import models
from accounts.adminsite.customers import TASKS
from accounts.adminsite.keyset import filter_by
from accounts.adminsite.look import NONE, id_link, lasting, plain, pretty, state_pill, table
from accounts.adminsite.record import Block, RecordAdmin, shown_at
from accounts.ids import PREFIXES

_PREFIX_OF = {name: prefix for prefix, name in PREFIXES.items()}


def subject_links(subjects: dict[str, Any]) -> SafeString:
    """`{"customer": 7, "invoice": 8}` as links, the narrowest first."""
    order = sorted(subjects.items(), key=lambda item: (item[0] == "customer", item[0]))
    ids = ((id_link(f"{_PREFIX_OF.get(kind, kind)}_{number}"),) for kind, number in order)
    return format_html_join(", ", "{}", ids)


@admin.register(models.Task)
class TaskAdmin(RecordAdmin):
    """Tasks for people."""

    prefix, section, place = "task", "Automations", 50
    about = "What automations ask people to do."
    empty_text = "No tasks. They come from the step “Create task”, and from charges that a person has to look at."
    search_help_text = "An id such as task_7."
    list_display = ("title", "status", "customer", "assignee", shown_at("due_at", "due"), "workspace")
    related = ("workspace", "customer", "assignee_user", "done_by")
    list_filter = (filter_by("state", {"open": "Open", "done": "Done"}),)
    shown = ("message", "customer", "objects", "who", "due_at", "run_id", "created_at", "done_at", "done_by")
    labels: ClassVar[dict[str, str]] = {
        "due_at": "Due", "run_id": "Asked by", "created_at": "Asked", "done_at": "Done", "objects": "About",
    }  # fmt: skip

    @admin.display(description="state")
    def status(self, task: models.Task) -> SafeString:
        """A pill."""
        return state_pill(TASKS, task.state)

    @admin.display(description="for")
    def who(self, task: models.Task) -> str:
        """The person, else what was written."""
        return str(task.assignee_user or task.assignee)

    def objects(self, task: models.Task) -> SafeString:
        """What else it is about."""
        return subject_links({kind: number for kind, number in task.subjects.items() if kind != "customer"})

    def badges(self, row: models.Task) -> list[SafeString]:
        """Open or done."""
        return [state_pill(TASKS, row.state)]


@admin.register(models.Audit)
class AuditAdmin(RecordAdmin):
    """The audit log; the database itself refuses changes."""

    section, place, title = "Settings", 90, "Audit log"
    about = "Who did what to which object; nobody can change it."
    empty_text = "Nothing yet."
    search_help_text = "An object such as auto_3 or cus_7, or an action such as automation.activate."
    list_display = ("what", "whom", "actor", shown_at("at", "when"), "workspace")
    related = ("workspace",)
    shown = ("at", "actor", "whom", "run_id")
    labels: ClassVar[dict[str, str]] = {"at": "When", "run_id": "On behalf of"}

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By object or action."""
        return queryset.filter(Q(object=term) | Q(action=term))

    @admin.display(description="action")
    def what(self, row: models.Audit) -> str:
        """`automation.activate`."""
        return row.action

    @admin.display(description="object")
    def whom(self, row: models.Audit) -> SafeString:
        """A link to the object."""
        return id_link(row.object)

    def heading(self, row: models.Audit) -> str:
        """What was done to what."""
        return f"{row.action} {row.object}"

    def blocks(self, row: models.Audit) -> Iterable[Block]:
        """What changed, side by side."""
        before, after = row.before or {}, row.after or {}
        if not (isinstance(before, dict) and isinstance(after, dict)):
            yield Block("Change", pretty({"before": before, "after": after}))
            return
        names = [*before, *(name for name in after if name not in before)]
        changes = ((name, _cell(before.get(name)), _cell(after.get(name))) for name in names)
        yield Block(
            "Change", table(("What", "Before", "After"), changes, "Nothing but the action itself was written down.")
        )


def _cell(value: Any) -> Any:
    return pretty(value) if isinstance(value, (dict, list)) and value else plain(value or NONE)


@admin.register(models.Installation)
class InstallationAdmin(RecordAdmin):
    """The one row."""

    place = 10
    about = "The random name in every delivery key, and how far the clock is moved."
    list_display = ("instance", "moved", shown_at("created_at", "created"))
    shown = ("moved", "created_at")

    @admin.display(description="clock moved by")
    def moved(self, row: models.Installation) -> str:
        """How far the evaluation clock is from the real one."""
        if not row.clock_offset:
            return "not moved"
        return f"{lasting(abs(row.clock_offset))} {'back' if row.clock_offset.days < 0 else 'ahead'}"


@admin.register(models.Provenance)
class ProvenanceAdmin(RecordAdmin):
    """The one row."""

    place, title = 12, "Provenance"
    about = "Where these data were last at work, and whether they may work here: a restored copy stands still."
    empty_text = "Nothing has worked here yet."
    list_display = ("home", shown_at("seen_at", "last at work"), shown_at("held_at", "held since"), "held_why")
    shown = ("home", "timeline", "seen_at", "held_at", "held_why")
    labels: ClassVar[dict[str, str]] = {
        "seen_at": "Last at work",
        "held_at": "Held since",
        "held_why": "Held because",
        "home": "Server and database",
    }

    def heading(self, row: models.Provenance) -> str:
        """What is asked first."""
        return "Workers are held" if row.held_at else "Workers may work"


@admin.register(models.Idempotency)
class IdempotencyAdmin(RecordAdmin):
    """Requests that carried a key. The stored answer may hold what is shown once and is not shown here."""

    place = 60
    about = "Requests that carried an Idempotency-Key, kept for a day."
    empty_text = "None in the last day."
    list_display = ("endpoint", "key", "status", shown_at("created_at", "at"), "workspace")
    related = ("workspace",)
    hidden = ("answer", "headers", "body_sha256", "workspace")


@admin.register(models.RateBucket)
class RateBucketAdmin(RecordAdmin):
    """Callers that came close to a limit."""

    place = 70
    about = "How many calls each key and person has left this second."
    empty_text = "Nobody called yet."
    list_display = ("caller", "tokens", "allowed", shown_at("at", "at"))
