"""create_task: creates a task for a person of the team (ACT-11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from accounts.errors import Refusal
from accounts.services.tasks import NewTask, create_tasks
from automations.actions.outcomes import refused
from automations.engine.durations import parse_duration
from automations.engine.kinds import Config, DurationText, LocalAction, Request, TemplateText
from automations.engine.outcomes import Done, Outcome
from automations.engine.scope import Scope

LONGEST_TITLE = 200


class CreateTaskConfig(Config):
    """`assignee` is any text; the e-mail address of a member makes the task theirs."""

    message: TemplateText = Field(title="Message", min_length=1, json_schema_extra={"x-widget": "textarea"})
    title: TemplateText | None = Field(None, title="Title", description="The message's first line, when left out.")
    assignee: TemplateText | None = Field(None, title="Assignee", json_schema_extra={"x-widget": "member"})
    due_in: DurationText | None = Field(None, alias="dueIn", title="Due in", json_schema_extra={"x-widget": "duration"})


class CreateTaskOutput(Config):
    """The task that was made."""

    task: str = Field("", title="Task")
    assignee: str = Field("", title="Assignee")


class CreateTask(LocalAction):
    """All tasks of a batch are made by one bulk service."""

    key = "create_task"
    label = "Create task"
    help = "Creates a task for a person of the team."
    group = "Workflow"
    icon = "check"
    Config = CreateTaskConfig
    Output = CreateTaskOutput

    def summary(self, config: CreateTaskConfig) -> str:
        return config.title or config.message

    def sample(self) -> CreateTaskConfig:
        return CreateTaskConfig(message="Call the customer", assignee="mara@northwind.example")

    def prepare(self, config: CreateTaskConfig, scope: Scope) -> Request | Outcome:
        texts = {
            "title": scope.text(config.title or "").strip()[:LONGEST_TITLE],
            "message": scope.text(config.message).strip(),
            "assignee": scope.text(config.assignee or "").strip(),
        }
        due = parse_duration(config.due_in).after(scope.now, scope.zone) if config.due_in else None
        shown = {name: text for name, text in texts.items() if text}
        return Request(subjects=dict(scope.subjects), input=shown, data={**texts, "due_at": due})

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        answers = create_tasks([_task(request) for request in requests])
        return [
            refused(answer)
            if isinstance(answer, Refusal)
            else Done({"task": answer.public_id, "assignee": answer.assignee})
            for answer in answers
        ]


def _task(request: Request) -> NewTask:
    return NewTask(
        workspace_id=request.workspace_id,
        **request.data,
        customer_id=request.subjects.get("customer"),
        subjects=request.subjects,
        run_id=request.run_id or None,
    )


action = CreateTask()
