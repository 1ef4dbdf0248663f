"""Executions: lists, one with its log, and cancelling (CONTRACTS 9)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_date, parse_datetime

from accounts.api.base import ApiView, Request, Response, actor_of, describe, page, parse
from accounts.api.pagination import list_response
from accounts.errors import invalid
from accounts.ids import parse_id
from automations.api.execution_serializers import (
    CancelIn,
    CancelledOut,
    CancelManyIn,
    ExecutionDetailOut,
    ExecutionOut,
    StepOut,
)
from automations.api.execution_shapes import execution_json, executions_json, steps_json
from automations.api.pairs import read_pair, write_pair
from automations.models import Run
from automations.services.cancel import cancel_run, cancel_runs, preview_cancel
from automations.services.executions import (
    STEPS_PAGE,
    RunFilter,
    deliveries_of,
    filtered,
    find_run,
    listed,
    read_status,
    steps_of,
)
from automations.services.find import find_automation

PAGE = page("executions", ExecutionOut)
QUERY = ("status", "customer", "step", "from", "to")


def run_filter(values: Any, automation_id: int | None = None) -> RunFilter:
    """The filter of a query or a body; `invalid` names what cannot be read. Ids that do not exist find nothing."""
    statuses: tuple[str, ...] = ()
    if values.get("status"):
        found = read_status(values["status"])
        if found is None:
            raise invalid("status", "must be running, completed, failed or cancelled, or a stored status.")
        statuses = found
    if automation_id is None and values.get("automation"):
        automation_id = parse_id("auto", values["automation"])
    return RunFilter(
        statuses=statuses,
        automation_id=automation_id,
        customer_id=parse_id("cus", values["customer"]) if values.get("customer") else None,
        step=values.get("step") or "",
        since=_moment("from", values.get("from")),
        until=_moment("to", values.get("to")),
    )


def _moment(name: str, value: Any) -> datetime | None:
    if not value or isinstance(value, datetime):
        return value or None
    try:
        found = parse_datetime(value)
        if found is None and (day := parse_date(value)) is not None:
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        found = None
    if found is None:
        raise invalid(name, "must be an ISO time such as 2026-11-20T09:00:00Z.")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Executions(ApiView):
    """All executions of the workspace."""

    scope = "read"
    filters = ("automation", *QUERY)

    @describe(
        "executions_list",
        "Executions, newest first",
        answer=PAGE,
        query=["automation", *QUERY],
        paged=True,
        codes=["invalid", "unknown_key"],
    )
    def get(self, request: Request) -> Response:
        wanted = run_filter(request.query_params)
        runs = listed(filtered(actor_of(request), wanted))
        if wanted.automation_id is not None:
            return _event_page(request, runs)
        return list_response(request, runs, "executions", executions_json)


class AutomationExecutions(ApiView):
    """The executions of one automation, in the order of the index that holds them: by event (EXE-08)."""

    scope = "read"
    filters = QUERY

    @describe(
        "automations_executions",
        "Executions of an automation, newest first",
        answer=PAGE,
        query=QUERY,
        paged=True,
        codes=["invalid", "unknown_key"],
    )
    def get(self, request: Request, automation: str) -> Response:
        actor = actor_of(request)
        found = find_automation(actor, parse_id("auto", automation))
        runs = listed(filtered(actor, run_filter(request.query_params, found.pk)))
        return _event_page(request, runs)


def _event_page(request: Request, runs: QuerySet[Run]) -> Response:
    cursor = request.query_params.get("cursor")
    if cursor:
        event, run = read_pair(cursor)
        runs = runs.filter(Q(event_id__lte=event) & (Q(event_id__lt=event) | Q(pk__lt=run)))
    limit = page_limit(request)
    rows = list(runs.order_by("-event_id", "-pk")[: limit + 1])
    more, rows = len(rows) > limit, rows[:limit]
    following = write_pair(rows[-1].event_id, rows[-1].pk) if more else None
    return Response({"executions": executions_json(rows), "nextCursor": following})


def page_limit(request: Request) -> int:
    """`limit` of the query; the cursor is read elsewhere."""
    text = request.query_params.get("limit", "25")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100):
        raise invalid("limit", "must be a number from 1 to 100")
    return int(text)


def steps_page(run: Run, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Up to 200 rows of the log and the cursor of the next ones."""
    rows = steps_of(run, read_pair(cursor) if cursor else None)
    more, rows = len(rows) > STEPS_PAGE, rows[:STEPS_PAGE]
    following = write_pair(rows[-1].seq, rows[-1].attempt) if more else None
    return steps_json(run, rows, deliveries_of(run, rows)), following


class ExecutionView(ApiView):
    """One execution with its log."""

    scope = "read"

    @describe("executions_read", "Read an execution with its step log", answer=ExecutionDetailOut)
    def get(self, request: Request, execution: str) -> Response:
        run = find_run(actor_of(request), parse_id("exec", execution))
        return Response(execution_json(run, *steps_page(run, None)))


class ExecutionSteps(ApiView):
    """The log, page by page."""

    scope = "read"

    @describe(
        "executions_steps",
        "The step log of an execution, oldest first, 200 rows a page",
        answer=page("steps", StepOut),
        paged=True,
        codes=["invalid"],
    )
    def get(self, request: Request, execution: str) -> Response:
        run = find_run(actor_of(request), parse_id("exec", execution))
        steps, following = steps_page(run, request.query_params.get("cursor"))
        return Response({"steps": steps, "nextCursor": following})


class ExecutionCancel(ApiView):
    """Cancels one execution (PAU-11)."""

    scope = "operate"

    @describe(
        "executions_cancel",
        "Cancel an execution that has not ended",
        request=CancelIn,
        answer=ExecutionDetailOut,
        codes=["wrong_state", "unknown_key"],
    )
    def post(self, request: Request, execution: str) -> Response:
        actor = actor_of(request)
        number = parse_id("exec", execution)
        cancel_run(actor=actor, run_id=number, **parse(request, CancelIn))
        run = find_run(actor, number)
        return Response(execution_json(run, *steps_page(run, None)))


class ExecutionsCancel(ApiView):
    """Cancels many executions, after a look at how many there are."""

    scope = "operate"

    @describe(
        "executions_cancel_many",
        "Cancel the unfinished executions that a filter covers; `confirm` is the number that the preview answered",
        request=CancelManyIn,
        answer=CancelledOut,
        codes=["choice_required", "unknown_key"],
    )
    def post(self, request: Request) -> Response:
        actor = actor_of(request)
        values = parse(request, CancelManyIn)
        wanted = run_filter(values["filter"])
        if values["preview"]:
            return Response(preview_cancel(actor=actor, filter=wanted))
        reason = values.get("reason", "")
        done = cancel_runs(actor=actor, filter=wanted, confirm=values.get("confirm"), reason=reason)
        return Response(done)
