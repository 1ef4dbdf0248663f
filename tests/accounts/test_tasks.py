"""Tasks for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.actor import Actor
from accounts.announcements import Announcement
from accounts.clock import evaluation_now, set_clock
from accounts.errors import Refusal
from accounts.models import Audit, Customer, Task, Workspace
from accounts.services.tasks import NewTask, create_task, create_tasks, finish_task, reopen_task, update_task
from tests.factories import actor_of, make_customer, make_member, make_task, owner_of


def made(request: NewTask) -> Task:
    answer = create_tasks([request])[0]
    assert isinstance(answer, Task), answer
    return answer


def test_a_task_keeps_what_it_is_about(workspace: Workspace, customer: Customer) -> None:
    due = datetime(2026, 12, 1, tzinfo=UTC)
    request = NewTask(
        workspace.pk,
        message="Email failed to send",
        assignee="Support team",
        due_at=due,
        customer_id=customer.pk,
        subjects={"customer": customer.pk, "invoice": 8},
        run_id=456,
    )
    task = Task.objects.get(pk=made(request).pk)
    assert (task.title, task.message, task.assignee) == ("Email failed to send", "Email failed to send", "Support team")
    assert (task.customer_id, task.subjects, task.run_id) == (customer.pk, {"customer": customer.pk, "invoice": 8}, 456)
    assert (task.due_at, task.state, task.assignee_user) == (due, "open", None)


def test_the_first_line_of_a_long_message_is_the_title(workspace: Workspace) -> None:
    assert made(NewTask(workspace.pk, message="Call Ana\nShe asked twice.")).title == "Call Ana"
    assert made(NewTask(workspace.pk, message="x" * 300)).title == "x" * 200
    assert made(NewTask(workspace.pk, title="Given", message="Other")).title == "Given"


def test_a_members_address_makes_it_theirs(workspace: Workspace, other: Workspace) -> None:
    owner, stranger = owner_of(workspace), owner_of(other)
    assert made(NewTask(workspace.pk, message="m", assignee=f" {owner.email.upper()} ")).assignee_user_id == owner.pk
    assert made(NewTask(workspace.pk, message="m", assignee=stranger.email)).assignee_user_id is None


def test_a_task_is_dated_by_the_evaluation_clock(workspace: Workspace, real_clock: None) -> None:
    # DESIGN 5.4
    set_clock("+40d")
    assert abs((made(NewTask(workspace.pk, message="m")).created_at - evaluation_now()).total_seconds()) < 5


def test_one_bad_request_does_not_hinder_the_others(workspace: Workspace, other: Workspace) -> None:
    foreign = make_customer(other)
    requests = [
        NewTask(workspace.pk, message=""),
        NewTask(workspace.pk, message="fine"),
        NewTask(workspace.pk, message="m", customer_id=foreign.pk),
        NewTask(workspace.pk, message="NUL \x00"),
        NewTask(workspace.pk, message="x" * 10_001),
        NewTask(other.pk, message="theirs", customer_id=foreign.pk),
    ]
    codes = [answer.code if isinstance(answer, Refusal) else "" for answer in create_tasks(requests)]
    assert codes == ["invalid", "", "not_found", "invalid", "invalid", ""]
    assert sorted(Task.objects.values_list("title", flat=True)) == ["fine", "theirs"]


def test_many_tasks_cost_a_fixed_number_of_statements(workspace: Workspace, customer: Customer) -> None:
    def cost(number: int) -> int:
        request = NewTask(workspace.pk, message="m", assignee="a@x.test", customer_id=customer.pk)
        with CaptureQueriesContext(connection) as captured:
            create_tasks([request] * number)
        return len(captured)

    assert cost(1) == cost(80)


def test_finishing_is_announced_once(actor: Actor, workspace: Workspace, announced: list[Announcement]) -> None:
    task = make_task(workspace, run_id=7)
    for _ in range(2):
        done = finish_task(actor=actor, task_id=task.pk)
    assert (done.state, done.done_by_id) == ("done", actor.user_id)
    assert done.done_at is not None
    (told,) = announced
    assert (told.kind, told.data) == ("task.done", {"task": task.pk, "run": 7})
    assert Audit.objects.filter(action="task.done").count() == 1


def test_a_task_done_by_mistake_is_reopened(actor: Actor, workspace: Workspace) -> None:
    task = make_task(workspace)
    finish_task(actor=actor, task_id=task.pk)
    for _ in range(2):
        reopened = reopen_task(actor=actor, task_id=task.pk)
    assert (reopened.state, reopened.done_at, reopened.done_by) == ("open", None, None)


def test_a_task_is_changed(actor: Actor, workspace: Workspace) -> None:
    task, member = make_task(workspace), make_member(workspace)
    changed = update_task(
        actor=actor, task_id=task.pk, changes={"assignee": member.email, "due_at": None, "title": "New"}
    )
    assert (changed.title, changed.assignee_user_id) == ("New", member.pk)
    assert update_task(actor=actor, task_id=task.pk, changes={"assignee": ""}).assignee_user_id is None
    with pytest.raises(Refusal) as refused:
        update_task(actor=actor, task_id=task.pk, changes={"title": ""})
    assert refused.value.code == "invalid"


def test_a_person_needs_the_scope(workspace: Workspace) -> None:
    task, viewer = make_task(workspace), actor_of(workspace, "viewer")
    for act in (
        lambda: create_task(actor=viewer, request=NewTask(workspace.pk, message="m")),
        lambda: finish_task(actor=viewer, task_id=task.pk),
        lambda: reopen_task(actor=viewer, task_id=task.pk),
        lambda: update_task(actor=viewer, task_id=task.pk, changes={}),
    ):
        with pytest.raises(Refusal) as refused:
            act()
        assert refused.value.code == "role_missing"


def test_a_foreign_task_is_not_found(actor: Actor, other: Workspace) -> None:
    task = make_task(other)
    for act in (finish_task, reopen_task):
        with pytest.raises(Refusal) as refused:
            act(actor=actor, task_id=task.pk)
        assert refused.value.code == "not_found"


@pytest.mark.parametrize("breach", [{"state": "done"}, {"done_at": datetime(2026, 1, 1, tzinfo=UTC)}, {"state": "x"}])
def test_the_database_ties_state_and_time(workspace: Workspace, breach: dict[str, object]) -> None:
    make_task(workspace)
    with pytest.raises(IntegrityError), transaction.atomic():
        Task.objects.update(**breach)
