"""Reading runs and their step logs (EXE-08 to 20, RUN-02 to 11). Pages go by key and never count (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.fields.json import KeyTextTransform, KeyTransform

from accounts.actor import Actor
from accounts.errors import not_found
from accounts.ids import public_id
from automations.models import Delivery, Run, StepLog

#: Spellings of a status to stored ones: the API's own and the label on the screen (C-02). Stored spellings stand for themselves.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "running": ("RUNNING", "WAITING_FOR_EVENT"),
    "waiting": ("WAITING_FOR_EVENT",),
    "waiting_for_event": ("WAITING_FOR_EVENT",),
    "completed": ("COMPLETED",),
    "success": ("COMPLETED",),
    "failed": ("FAILED",),
    "cancelled": ("CANCELLED",),
    "canceled": ("CANCELLED",),
}
STORED = ("RUNNING", "WAITING_FOR_EVENT", "COMPLETED", "CANCELLED", "FAILED")
#: The API's `status` of a stored status.
SHOWN = {
    "RUNNING": "running",
    "WAITING_FOR_EVENT": "running",
    "COMPLETED": "completed",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
}
#: Rows of the log that one page holds (CONTRACTS 9).
STEPS_PAGE = 200


def read_status(text: str) -> tuple[str, ...] | None:
    """Stored statuses for one spelling; None when it is none. `RUNNING` is the stored one alone, `running` the API's, which
    includes waiting runs."""
    if text in STORED:
        return (text,)
    return SPELLINGS.get(text.strip().lower().replace(" ", "_"))


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; empty fields do not restrict. `since` and `until` bound the time of the trigger, the latter exclusively."""

    statuses: tuple[str, ...] = ()
    automation_id: int | None = None
    customer_id: int | None = None
    step: str = ""
    since: datetime | None = None
    until: datetime | None = None


def filtered(actor: Actor, filter: RunFilter) -> QuerySet[Run]:
    """Runs of the workspace that the filter covers, without an order."""
    runs = Run.objects.filter(workspace_id=actor.workspace_id)
    if filter.statuses:
        runs = runs.filter(status__in=filter.statuses)
    if filter.automation_id is not None:
        runs = runs.filter(automation_id=filter.automation_id)
    if filter.customer_id is not None:
        runs = runs.filter(customer_id=filter.customer_id)
    if filter.step:
        runs = runs.filter(step=filter.step)
    if filter.since is not None:
        runs = runs.filter(started_at__gte=filter.since)
    if filter.until is not None:
        runs = runs.filter(started_at__lt=filter.until)
    return runs


def listed(runs: QuerySet[Run]) -> QuerySet[Run]:
    """With all that a row of a list shows, in the same query; the definition itself is not read."""
    return (
        runs.select_related("automation", "version")
        .annotate(trigger_type=KeyTextTransform("type", KeyTransform("trigger", "version__definition")))
        .annotate(trigger_event=KeyTextTransform("event", KeyTransform("trigger", "version__definition")))
        .defer("state", "answer", "automation__description", "version__definition", "version__source")
    )


def find_run(actor: Actor, run_id: int) -> Run:
    """One run with its automation, its version (definition included) and its event, or `not_found`."""
    runs = Run.objects.filter(workspace_id=actor.workspace_id, pk=run_id)
    found = runs.select_related("automation", "version", "event").defer("version__source").first()
    if found is None:
        raise not_found("execution", public_id("exec", run_id))
    return found


def steps_of(run: Run, after: tuple[int, int] | None = None, limit: int = STEPS_PAGE) -> list[StepLog]:
    """Rows of the log, oldest first, behind `after` (visit and attempt); one more than `limit` says that there are others.

    Partitioning makes (run, visit, attempt) unique only together with the time; the compare-and-set of the run row keeps
    doubles out (DESIGN 6), so the pair is a key.
    """
    rows = StepLog.objects.filter(run_id=run.pk)
    if after is not None:
        seq, attempt = after
        rows = rows.filter(Q(seq=seq, attempt__gt=attempt) | Q(seq__gt=seq))
    return list(rows.order_by("seq", "attempt", "recorded_at")[: limit + 1])


def deliveries_of(run: Run, rows: Sequence[StepLog]) -> dict[int, int]:
    """The delivery of each visit among these rows, by visit: one query."""
    visits = {row.seq for row in rows}
    found = Delivery.objects.filter(workspace_id=run.workspace_id, run_id=run.pk, visit__in=visits)
    return dict(found.order_by("-effect").values_list("visit", "pk"))
