"""The pages of runs: where one stands and why, what started it, and its steps in order (CONTRACTS 10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.keyset import KeysetChangeList, filter_by
from accounts.adminsite.look import (
    NONE,
    code,
    folded,
    id_link,
    lasting,
    link,
    list_address,
    moment,
    pill,
    pretty,
    row_link,
    state_pill,
    table,
)
from accounts.adminsite.record import Block, Fact, RecordAdmin, shown_at
from accounts.clock import evaluation_now
from accounts.models import Audit, Task
from automations.adminsite.timeline import Labels, read_line
from automations.adminsite.words import DELIVERIES, delivery_kind, run_pill, standing, subject_link
from automations.models import Automation, Delivery, Run
from automations.models.delivery import OPEN_STATES

ROWS = 100
STATUSES = {
    "RUNNING": "Running",
    "WAITING_FOR_EVENT": "Waiting for an event",
    "COMPLETED": "Completed",
    "CANCELLED": "Cancelled",
    "FAILED": "Failed",
}


class RunChangeList(KeysetChangeList):
    """Says whose runs they are, when a link led here."""

    @property
    def narrowed_to(self) -> str:
        """One query, and only then."""
        wanted = self.params.get("automation__id__exact", "")
        name = Automation.objects.filter(pk=wanted).values_list("name", flat=True).first() if wanted.isdigit() else None
        return f"Runs of “{name}”." if name else ""


@admin.register(Run)
class RunAdmin(RecordAdmin):
    """Runs; the newest hundred rows of the log stand on the page of each."""

    prefix, section, place = "exec", "Automations", 20
    about = "One walk of one customer through one automation, step by step."
    empty_text = "No runs yet. One begins when an event that an active automation listens to passes its filter."
    search_help_text = "An id such as exec_12."
    list_display = (
        "public_id",
        "standing",
        "automation",
        "customer",
        "at_step",
        "next_at",
        shown_at("started_at", "started"),
    )
    related = ("automation", "customer")
    list_filter = (filter_by("status", STATUSES),)
    page_template = "admin/automations/run.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """A page shows more of what belongs to the run than a list, which needs neither state nor graph."""
        rows = super().get_queryset(request)
        match = request.resolver_match
        if match is not None and match.url_name and match.url_name.endswith("_changelist"):
            return rows.defer("state", "answer", "automation__description")
        return rows.select_related("version", "event", "workspace").defer("version__source")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        """The list that says whose runs they are."""
        return RunChangeList

    @admin.display(description="state")
    def standing(self, run: Run) -> SafeString:
        """A pill."""
        return run_pill(run)

    @admin.display(description="step")
    def at_step(self, run: Run) -> Any:
        """Where an unfinished run stands, and where one failed."""
        return run.step if run.step and (run.ended_at is None or run.status == "FAILED") else NONE

    @admin.display(description="next")
    def next_at(self, run: Run) -> SafeString:
        """When the clock moves it on."""
        return moment(run.due_at)

    def badges(self, row: Run) -> list[SafeString]:
        """Where it stands; a test run says that it is one."""
        return [run_pill(row), *([pill("Test", "draft", "pencil")] if row.mode == "test" else [])]

    def facts(self, row: Run) -> list[Fact]:
        """What it is a run of, about whom, and since when."""
        found = [
            Fact("Automation", format_html("{}, {}", row_link(row.automation), _version_link(row))),
            Fact("Started by", _start(row)),
            Fact("Customer", row_link(row.customer) if row.customer else None),
            Fact("About", _subjects(row)),
            Fact("Started", moment(row.started_at)),
            Fact("Ended", _end(row)),
            Fact("Goal reached", moment(row.goal_reached_at) if row.goal_reached_at else None),
            Fact("Steps", row.steps_executed),
        ]
        return [fact for fact in found if fact.value not in (None, "")]

    def context(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        """The page, with the log and where the run stands in it."""
        labels = Labels.of(row.version.definition)
        deliveries = list(Delivery.objects.filter(workspace_id=row.workspace_id, run_id=row.pk).order_by("-pk")[:ROWS])
        waiting_for = next(
            (one for one in deliveries if one.visit == row.seq and one.state in (*OPEN_STATES, "REVIEW")), None
        )
        before = request.GET.get("before", "")
        number = int(before) if before.isascii() and before.isdigit() and len(before) < 10 else None
        return {
            **super().context(request, row),
            "notice": standing(row, labels.name(row.step), waiting_for, evaluation_now()),
            "line": read_line(row, labels, deliveries, number),
            "before": number,
            "here": _here(row, labels),
            "blocks": list(_blocks(row, labels, deliveries)),
        }


def _version_link(run: Run) -> SafeString:
    return row_link(run.version, f"version {run.version.number}")


def _start(run: Run) -> SafeString:
    text = format_html("<code>{}</code> {}", run.event.name, row_link(run.event, f"evt_{run.event_id}"))
    if run.event.cause_run is None:
        return text
    return format_html("{}, brought about by {}", text, id_link(f"exec_{run.event.cause_run}"))


def _subjects(run: Run) -> Any:
    others = [subject_link(kind, number) for kind, number in run.subjects.items() if kind != "customer"]
    return SafeString(", ".join(others)) if others else None


def _end(run: Run) -> Any:
    if run.ended_at is None:
        return None
    return format_html("{}, after {}", moment(run.ended_at), lasting(run.ended_at - run.started_at))


def _here(run: Run, labels: Labels) -> dict[str, str] | None:
    """The step that an unfinished run stands on: the end of the line."""
    if run.ended_at is not None or run.step is None:
        return None
    node = labels.nodes.get(run.step, {})
    return {"step": run.step, "name": labels.name(run.step), "kind": labels.kind(str(node.get("type", "")))}


def _blocks(run: Run, labels: Labels, deliveries: Sequence[Delivery]) -> Iterable[Block]:
    rows = (_delivery_cells(one, labels) for one in deliveries)
    heads = ("Delivery", "State", "Step", "To", "Subject", "Made")
    more = None
    if len(deliveries) == ROWS:
        more = link(list_address(Delivery, run__id__exact=run.pk), "All of them")
    yield Block("Deliveries", table(heads, rows, "Nothing was or is to be done outside."), name="deliveries", more=more)
    tasks = Task.objects.filter(run_id=run.pk).order_by("-pk")[:ROWS]
    asked = [(row_link(one), "Done" if one.state == "done" else "Open", one.assignee or NONE) for one in tasks]
    if asked:
        yield Block("Tasks", table(("Task", "State", "For"), asked, ""))
    done = Audit.objects.filter(workspace_id=run.workspace_id, object=f"exec_{run.pk}").order_by("-pk")[:ROWS]
    people = [
        (moment(one.at), one.actor, row_link(one, one.action), (one.after or {}).get("reason") or NONE) for one in done
    ]
    if people:
        yield Block("What people did", table(("When", "Who", "What", "Why"), people, ""))
    yield Block("Stored state", _stored(run), folded=True, name="state")


def _delivery_cells(one: Delivery, labels: Labels) -> tuple[Any, ...]:
    return (
        format_html("{} {}", row_link(one), delivery_kind(one)),
        state_pill(DELIVERIES, one.state),
        labels.name(one.step),
        one.to or NONE,
        one.subject or NONE,
        moment(one.sent_at),
    )


def _stored(run: Run) -> SafeString:
    """The columns that the worker goes by, for those who look for a fault."""
    plain = {
        "status": run.status, "parked on": run.parked_on, "end reason": run.end_reason, "step": run.step,
        "visit": run.seq, "tries of it": run.attempt, "wait name": run.wait_name, "wait key": run.wait_key,
        "routed from": run.wait_since, "workers lost": run.lost or None,
    }  # fmt: skip
    times = {"due": run.due_at, "entered": run.entered_at, "recorded": run.recorded_at}
    rows = [(name, code(str(value))) for name, value in plain.items() if value is not None]
    rows += [(name, moment(value)) for name, value in times.items() if value is not None]
    json = (("State", run.state), ("Answer", run.answer), ("Held", run.held), ("Error", run.error))
    parts = [table(("Column", "Value"), rows, ""), *(folded(name, pretty(value)) for name, value in json if value)]
    return SafeString("".join(parts))


def of_customer(customer: Any) -> Iterable[Block]:
    """What this app knows of a customer: the newest runs, and the way to the others. One query."""
    runs = Run.objects.filter(customer=customer).select_related("automation").order_by("-pk")[:10]
    rows = (
        (row_link(run), run_pill(run), row_link(run.automation), moment(run.started_at), moment(run.ended_at))
        for run in runs
    )
    heads = ("Run", "State", "Automation", "Started", "Ended")
    more = link(list_address(Run, customer__id__exact=customer.pk), "All runs")
    yield Block("Runs", table(heads, rows, "No automation has acted on them yet."), name="runs", more=more)
