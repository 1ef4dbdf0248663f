"""`/tasks` (CONTRACTS 8)."""

from __future__ import annotations

from rest_framework import serializers

from accounts.api import shapes
from accounts.api.base import (
    ApiView,
    Reference,
    ReferenceField,
    Request,
    Response,
    StrictSerializer,
    TimeField,
    actor_of,
    describe,
    list_response,
    page,
    parse,
)
from accounts.errors import Refusal, invalid, not_found
from accounts.ids import parse_id
from accounts.models import Task
from accounts.services.resolving import CustomerRef, resolve_customers
from accounts.services.tasks import NewTask, create_task, finish_task, reopen_task, update_task


class TaskIn(StrictSerializer):
    """A task made by hand."""

    title = serializers.CharField(required=False, max_length=200)
    message = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    assignee = serializers.CharField(required=False, allow_blank=True, max_length=254)
    due_at = TimeField(required=False, allow_null=True)
    customer = ReferenceField("cus", email=True, required=False)


class TaskChange(StrictSerializer):
    """`state` done finishes a task, open takes that back."""

    title = serializers.CharField(max_length=200)
    message = serializers.CharField(allow_blank=True, max_length=10_000)
    assignee = serializers.CharField(allow_blank=True, max_length=254)
    due_at = TimeField(allow_null=True)
    state = serializers.ChoiceField(choices=["open", "done"])


class Tasks(ApiView):
    """All tasks, and making one."""

    scopes = {"GET": "read", "POST": "operate"}
    filters = ("state", "customer", "assignee")

    @describe("tasks_list", "Tasks, newest first", answer=page("tasks", shapes.TaskOut), query=filters, paged=True)
    def get(self, request: Request) -> Response:
        """`state` is open or done, `customer` an id, `assignee` a text."""
        rows = Task.objects.filter(workspace_id=actor_of(request).workspace_id)
        query = request.query_params
        if query.get("state"):
            if query["state"] not in (Task.OPEN, Task.DONE):
                raise invalid("state", "must be open or done")
            rows = rows.filter(state=query["state"])
        if query.get("customer"):
            rows = rows.filter(customer_id=parse_id("cus", query["customer"]))
        if query.get("assignee"):
            rows = rows.filter(assignee__iexact=query["assignee"])
        return list_response(request, rows, "tasks", shapes.tasks)

    @describe(
        "tasks_create",
        "Make a task",
        request=TaskIn,
        answer=shapes.TaskOut,
        status=201,
        codes=("unknown_reference",),
    )
    def post(self, request: Request) -> Response:
        """Needs a title or a message."""
        values, actor = parse(request, TaskIn), actor_of(request)
        number = _customer(actor.workspace_id, values.pop("customer", None))
        subjects = {} if number is None else {"customer": number}
        wanted = NewTask(actor.workspace_id, customer_id=number, subjects=subjects, **values)
        task = create_task(actor=actor, request=wanted)
        return Response(shapes.tasks([task])[0], status=201)


def _customer(workspace_id: int, ref: Reference | None) -> int | None:
    if ref is None:
        return None
    wanted = CustomerRef(ref.number, ref.external_id, ref.email)
    answer = resolve_customers(workspace_id=workspace_id, refs=[wanted], make=False)[0]
    if isinstance(answer, Refusal):
        raise answer
    return answer


class OneTask(ApiView):
    """A task."""

    scopes = {"GET": "read", "PATCH": "operate"}

    @describe("tasks_read", "A task", answer=shapes.TaskOut)
    def get(self, request: Request, task: str) -> Response:
        """By id."""
        rows = Task.objects.filter(workspace_id=actor_of(request).workspace_id, pk=parse_id("task", task))
        row = rows.first()
        if row is None:
            raise not_found("task", task)
        return Response(shapes.tasks([row])[0])

    @describe("tasks_update", "Change, finish or reopen a task", request=TaskChange, answer=shapes.TaskOut)
    def patch(self, request: Request, task: str) -> Response:
        """Absent fields stay."""
        values, actor = parse(request, TaskChange, partial=True), actor_of(request)
        number = parse_id("task", task)
        state = values.pop("state", None)
        if values or state is None:
            row = update_task(actor=actor, task_id=number, changes=values)
        if state is not None:
            change = finish_task if state == Task.DONE else reopen_task
            row = change(actor=actor, task_id=number)
        return Response(shapes.tasks([row])[0])
