"""Tasks for people: made by automations and by hand (DSH, ACT `create_task`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.actor import Actor
from accounts.announcements import Announcement, announce
from accounts.clock import evaluation_now
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Customer, Membership, Task
from accounts.services.fields import Wrong, clean_text, refused_fields

LONGEST_MESSAGE = 10_000


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be made. `assignee` is any text; the e-mail address of a member makes it theirs. Without `title` the
    first line of the message is taken. `due_at` is evaluation time."""

    workspace_id: int
    message: str = ""
    title: str = ""
    assignee: str = ""
    due_at: datetime | None = None
    customer_id: int | None = None
    subjects: Mapping[str, int] = field(default_factory=dict)
    run_id: int | None = None


def create_tasks(requests: Sequence[NewTask]) -> list[Task | Refusal]:
    """Make many tasks, of any workspaces, in four statements. Answers in the order of the requests: the task, or why
    not (`invalid`, `not_found`)."""
    with transaction.atomic():
        members = _members(requests)
        customers = _customers({request.customer_id for request in requests if request.customer_id is not None})
        now = evaluation_now()
        answers = [_build(request, members, customers, now) for request in requests]
        Task.objects.bulk_create([answer for answer in answers if isinstance(answer, Task)])
    return answers


def _members(requests: Sequence[NewTask]) -> dict[tuple[int, str], int]:
    addresses = {request.assignee.strip().lower() for request in requests if "@" in request.assignee}
    if not addresses:
        return {}
    workspaces = {request.workspace_id for request in requests}
    rows = Membership.objects.filter(workspace_id__in=workspaces, user__email__in=addresses)
    return {(id, email): user for id, email, user in rows.values_list("workspace_id", "user__email", "user_id")}


def _customers(ids: Collection[int]) -> dict[int, int]:
    if not ids:
        return {}
    return dict(Customer.objects.filter(pk__in=ids).values_list("id", "workspace_id"))


def _build(
    request: NewTask, members: Mapping[tuple[int, str], int], customers: Mapping[int, int], now: datetime
) -> Task | Refusal:
    if request.customer_id is not None and customers.get(request.customer_id) != request.workspace_id:
        return not_found("customer", public_id("cus", request.customer_id))
    try:
        title, message, assignee = _texts(request)
    except Refusal as refusal:
        return refusal
    return Task(
        workspace_id=request.workspace_id,
        title=title,
        message=message,
        assignee=assignee,
        assignee_user_id=members.get((request.workspace_id, assignee.lower())),
        due_at=request.due_at,
        subjects=dict(request.subjects),
        customer_id=request.customer_id,
        run_id=request.run_id,
        created_at=now,
    )


def _texts(request: NewTask) -> tuple[str, str, str]:
    message = _text("message", request.message, LONGEST_MESSAGE)
    first = message.splitlines()[0][:200].strip() if message else ""
    title = _text("title", request.title, 200) or first
    if not title:
        raise refused_fields({"message": ["must not be empty"]})
    return title, message, _text("assignee", request.assignee, 254)


def _text(name: str, value: Any, longest: int) -> str:
    try:
        return clean_text(value, longest)
    except Wrong as wrong:
        raise refused_fields({name: [str(wrong)]}) from None


def create_task(*, actor: Actor, request: NewTask) -> Task:
    """Make one task for a person or a program."""
    actor.require("operate")
    with transaction.atomic():
        answer = create_tasks([request])[0]
        if isinstance(answer, Refusal):
            raise answer
        audit.record(actor, "task.create", answer.public_id)
    return answer


def finish_task(*, actor: Actor, task_id: int) -> Task:
    """Mark a task done; `task.done` is announced once, however often this is asked."""
    actor.require("operate")
    with transaction.atomic():
        task = _lock(actor, task_id)
        if task.state == Task.OPEN:
            task.state, task.done_at, task.done_by_id = Task.DONE, evaluation_now(), actor.user_id
            task.save(update_fields=["state", "done_at", "done_by"])
            audit.record(actor, "task.done", task.public_id)
            data = {"task": task.pk, "run": task.run_id}
            announce(Announcement("task.done", task.workspace_id, task.customer_id, data))
    return task


def reopen_task(*, actor: Actor, task_id: int) -> Task:
    """A task marked done by mistake is open again."""
    actor.require("operate")
    with transaction.atomic():
        task = _lock(actor, task_id)
        if task.state == Task.DONE:
            task.state, task.done_at, task.done_by_id = Task.OPEN, None, None
            task.save(update_fields=["state", "done_at", "done_by"])
            audit.record(actor, "task.reopen", task.public_id)
    return task


def update_task(*, actor: Actor, task_id: int, changes: Mapping[str, Any]) -> Task:
    """Change `title`, `message`, `assignee` or `due_at`."""
    actor.require("operate")
    with transaction.atomic():
        task = _lock(actor, task_id)
        for name, longest in (("title", 200), ("message", LONGEST_MESSAGE), ("assignee", 254)):
            if name in changes:
                setattr(task, name, _text(name, changes[name], longest))
        if not task.title:
            raise refused_fields({"title": ["must not be empty"]})
        if "assignee" in changes:
            probe = NewTask(task.workspace_id, assignee=task.assignee)
            task.assignee_user_id = _members([probe]).get((task.workspace_id, task.assignee.lower()))
        if "due_at" in changes:
            task.due_at = changes["due_at"]
        task.updated_at = evaluation_now()
        task.save()
        audit.record(actor, "task.update", task.public_id, after={"changed": sorted(changes)})
    return task


def _lock(actor: Actor, task_id: int) -> Task:
    tasks = Task.objects.filter(workspace_id=actor.workspace_id, pk=task_id)
    task = tasks.select_for_update(no_key=True, of=("self",)).first()
    if task is None:
        raise not_found("task", public_id("task", task_id))
    return task
