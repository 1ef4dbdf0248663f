"""Draft, active, inactive: activating, what becomes of runs in flight, restoring, duplicating (VER-01 to 10, DEF-28)."""

from __future__ import annotations

import pytest
from django.db import connection

from accounts.errors import Refusal
from accounts.models import Audit, Workspace
from automations.models import Run
from automations.services.drafts import create_automation, read_draft, save_draft
from automations.services.inflight import follow_marks
from automations.services.publish import activate, duplicate, preview_activation, restore_version
from automations.services.texts import definition_of, yaml_of
from tests.automations import LISTENING, TAGGING, WAITING, fresh, made, published, queue, started, text, versions
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import happen, pass_time, settle, steps_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def edit(automation, body: str = TAGGING, **parts) -> None:
    save_draft(actor=actor_of(automation.workspace), automation_id=automation.pk, body=text(body, **parts), fmt="yaml")


def test_activating_puts_the_draft_in_force(workspace: Workspace) -> None:
    # VER-02, VER-03, C-28
    automation = published(workspace, name="First")
    edit(automation, WAITING, name="Second")
    automation = activate(actor=actor_of(workspace), automation_id=automation.pk)
    assert versions(automation) == {1: "inactive", 2: "active"}
    assert (automation.state, automation.name) == ("ACTIVE", "Second")
    assert automation.active_version is not None
    assert automation.active_version.number == 2
    assert Audit.objects.filter(object=automation.public_id, action="automation.activate").count() == 2


def test_errors_refuse_activation_and_list_every_problem(workspace: Workspace) -> None:
    # DEF-25, DEF-01: an automation without steps is refused at activation, naming the missing part
    automation = made(workspace, "steps: []")
    with pytest.raises(Refusal) as refused:
        activate(actor=actor_of(workspace), automation_id=automation.pk)
    assert refused.value.code == "invalid_definition"
    assert [problem["code"] for problem in refused.value.details["problems"]] == ["no_steps"]
    assert (fresh(automation).state, versions(automation)) == ("DRAFT", {1: "draft"})


def test_warnings_do_not_refuse(workspace: Workspace) -> None:
    body = "filter: seats > 5\n" + TAGGING
    automation = made(workspace, body)
    problems = read_draft(actor=actor_of(workspace), automation_id=automation.pk).problems
    assert {problem.severity for problem in problems} <= {"warning", "info"}
    assert activate(actor=actor_of(workspace), automation_id=automation.pk).state == "ACTIVE"


def test_an_inactive_version_cannot_be_activated_and_the_advice_is_to_restore(workspace: Workspace) -> None:
    # VER-07
    automation = published(workspace)
    with pytest.raises(Refusal) as refused:
        activate(actor=actor_of(workspace), automation_id=automation.pk)
    assert refused.value.code == "wrong_state"
    assert "restore" in refused.value.message


def test_runs_in_flight_stay_on_their_version_and_new_ones_follow_the_new(workspace: Workspace) -> None:
    # VER-04, VER-09
    automation = published(workspace, WAITING)
    [old] = started(automation)
    edit(automation, "steps: [{id: other, type: action, action: add_tag, tag: other}]")
    activate(actor=actor_of(workspace), automation_id=automation.pk)
    [new] = started(automation)
    pass_time("+3d")
    assert (steps_of(old), fresh(old).version.number) == (["pause", "after"], 1)
    assert (steps_of(new), fresh(new).version.number) == (["other"], 2)
    assert {run.status for run in Run.objects.filter(automation=automation)} == {"COMPLETED"}


def test_runs_in_flight_can_be_cancelled_by_publishing(workspace: Workspace) -> None:
    # RUN-27: cancelled_on_publish
    automation = published(workspace, WAITING)
    runs = started(automation, 3)
    edit(automation, WAITING)
    automation = activate(actor=actor_of(workspace), automation_id=automation.pk, runs="cancel")
    assert {(fresh(run).status, fresh(run).end_reason) for run in runs} == {("CANCELLED", "cancelled_on_publish")}
    [new] = started(automation)
    assert fresh(new).status == "RUNNING"
    follow_marks()
    assert fresh(automation).cancel_mark is None


def test_an_exit_of_an_older_version_still_ends_its_runs(workspace: Workspace) -> None:
    # DESIGN 5.5: runs keep the version they started on
    automation = published(workspace, "exits: [{event: left}]\n" + WAITING)
    [run] = started(automation)
    edit(automation, WAITING)
    activate(actor=actor_of(workspace), automation_id=automation.pk)
    happen(run.customer, "left")
    settle()
    assert (fresh(run).status, fresh(run).end_reason) == ("CANCELLED", "left")


def test_what_an_automation_hears_follows_its_active_version(workspace: Workspace) -> None:
    automation = published(workspace, "exits: [{event: left}]\ngoal: {event: bought, within: 5d}\n" + TAGGING)
    assert set(automation.listens) >= {"sign", "left", "bought"}
    edit(automation, trigger="{type: event, event: other}")
    assert "sign" in fresh(automation).listens
    automation = activate(actor=actor_of(workspace), automation_id=automation.pk)
    assert set(automation.listens) == {"other"}


def test_the_preview_says_where_runs_stand_and_changes_nothing(workspace: Workspace) -> None:
    # DESIGN 5.5: publishing shows how many runs stand on each step
    automation = published(workspace, WAITING)
    started(automation, 2)
    edit(automation, LISTENING)
    before = fresh(automation).updated_at
    preview = preview_activation(actor=actor_of(workspace), automation_id=automation.pk)
    assert preview.runs_by_step == {"pause": 2}
    assert not preview.problems
    assert (fresh(automation).updated_at, versions(automation)) == (before, {1: "active", 2: "draft"})


def test_a_draft_that_somebody_saved_meanwhile_is_not_activated(workspace: Workspace) -> None:
    automation = published(workspace)
    edit(automation, WAITING)
    seen = fresh(automation).draft_revision
    edit(automation, LISTENING)
    with pytest.raises(Refusal) as refused:
        activate(actor=actor_of(workspace), automation_id=automation.pk, revision=seen)
    assert refused.value.code == "draft_conflict"
    assert versions(automation) == {1: "active", 2: "draft"}


def test_existing_records_are_enrolled_when_asked_for_and_only_once(workspace: Workspace) -> None:
    # DESIGN 5.1, enrolExisting
    keep = [make_customer(workspace, segment="vip") for _ in range(3)]
    make_customer(workspace, segment="other")
    automation = made(
        workspace, 'filter: customer.segment == "vip"\n' + TAGGING, trigger="{type: event, event: customer.created}"
    )
    settle()
    preview = preview_activation(actor=actor_of(workspace), automation_id=automation.pk)
    assert preview.would_enrol == 3
    for _again in range(2):
        activate(actor=actor_of(workspace), automation_id=automation.pk, enrol_existing=True)
        settle()
    runs = Run.objects.filter(automation=automation)
    assert sorted(run.customer_id for run in runs) == sorted(customer.pk for customer in keep)


def test_without_being_asked_for_nobody_is_enrolled(workspace: Workspace) -> None:
    make_customer(workspace)
    settle()
    automation = published(workspace, trigger="{type: event, event: customer.created}")
    settle()
    assert not Run.objects.filter(automation=automation).exists()


def test_a_schedule_has_its_next_fire_time_once_active(workspace: Workspace) -> None:
    # DEF-21: Monday 09:00 in the workspace's zone
    automation = made(
        workspace,
        "steps: [{type: action, action: create_task, message: Look}]",
        trigger='{type: schedule, cron: "0 9 * * 1"}',
    )
    assert automation.next_fire_at is None
    automation = activate(actor=actor_of(workspace), automation_id=automation.pk)
    assert automation.next_fire_at is not None
    assert (automation.next_fire_at.weekday(), automation.next_fire_at.hour) == (0, 9)


def test_a_restored_version_is_a_draft_until_it_is_activated(workspace: Workspace) -> None:
    # VER-06
    automation = published(workspace, TAGGING, name="Old")
    edit(automation, WAITING, name="New")
    activate(actor=actor_of(workspace), automation_id=automation.pk)
    draft = restore_version(actor=actor_of(workspace), automation_id=automation.pk, number=1)
    assert versions(automation) == {1: "inactive", 2: "active", 3: "draft"}
    first = automation.versions.get(number=1)
    assert definition_of(draft.version) == definition_of(first)
    assert yaml_of(draft.version) == yaml_of(first)
    assert fresh(automation).name == "New"
    assert activate(actor=actor_of(workspace), automation_id=automation.pk).name == "Old"


def test_restoring_replaces_a_draft_that_is_there(workspace: Workspace) -> None:
    automation = published(workspace)
    edit(automation, WAITING)
    restore_version(actor=actor_of(workspace), automation_id=automation.pk, number=1)
    assert versions(automation) == {1: "active", 2: "draft"}
    with pytest.raises(Refusal) as refused:
        restore_version(actor=actor_of(workspace), automation_id=automation.pk, number=2)
    assert refused.value.code == "wrong_state"
    with pytest.raises(Refusal) as refused:
        restore_version(actor=actor_of(workspace), automation_id=automation.pk, number=9)
    assert refused.value.code == "not_found"


def test_a_duplicate_has_the_same_steps_and_another_trigger(workspace: Workspace) -> None:
    # DEF-28, DEF-27
    automation = published(workspace, WAITING, name="Trial", more="key: trial")
    copy = duplicate(
        actor=actor_of(workspace), automation_id=automation.pk, trigger={"type": "event", "event": "subscription_paid"}
    )
    assert automation.active_version is not None
    first, second = definition_of(automation.active_version), copy.definition
    assert (second.nodes, second.edges) == (first.nodes, first.edges)
    assert (copy.automation.state, copy.automation.trigger_key, copy.automation.key) == (
        "DRAFT",
        "subscription_paid",
        "",
    )
    assert copy.automation.name == "Trial (copy)"
    activate(actor=actor_of(workspace), automation_id=copy.automation.pk)
    [one] = started(automation)
    [two] = started(copy.automation, event="subscription_paid")
    assert (one.automation_id, two.automation_id) == (automation.pk, copy.automation.pk)


def test_a_duplicate_with_an_impossible_trigger_is_refused(workspace: Workspace) -> None:
    automation = published(workspace)
    with pytest.raises(Refusal) as refused:
        duplicate(actor=actor_of(workspace), automation_id=automation.pk, trigger={"type": "wishful"})
    assert refused.value.code == "invalid_definition"
    assert automation.workspace.pk
    assert type(automation).objects.filter(workspace=workspace).count() == 1


@pytest.mark.parametrize("role", ["viewer", "operator", "editor"])
def test_publishing_needs_its_role(workspace: Workspace, role: str) -> None:
    # CONTRACTS 8, roles
    automation = made(workspace)
    for attempt in (activate, preview_activation):
        with pytest.raises(Refusal) as refused:
            attempt(actor=actor_of(workspace, role), automation_id=automation.pk)
        assert refused.value.code == "role_missing"
    assert fresh(automation).state == "DRAFT"


def test_moving_runs_is_not_offered_yet(workspace: Workspace) -> None:
    automation = made(workspace)
    with pytest.raises(Refusal) as refused:
        activate(actor=actor_of(workspace), automation_id=automation.pk, runs="move")
    assert refused.value.code == "invalid"


def test_a_foreign_automation_is_not_there(workspace: Workspace, other: Workspace) -> None:
    automation = made(other)
    for attempt in (activate, preview_activation, duplicate):
        with pytest.raises(Refusal) as refused:
            attempt(actor=actor_of(workspace), automation_id=automation.pk)
        assert refused.value.code == "not_found"
    assert fresh(automation).state == "DRAFT"


def test_publishing_waits_for_routers_and_routers_see_the_new_state() -> None:
    # DESIGN 5.1, against races: activation holds the automation's lock exclusively
    workspace = make_workspace()
    automation = made(workspace)
    activate(actor=actor_of(workspace), automation_id=automation.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and mode = 'ExclusiveLock'"
        )
        assert cursor.fetchone()[0] >= 1


def test_a_queued_mail_of_a_run_cancelled_by_publishing_is_cancelled(workspace: Workspace) -> None:
    # DESIGN 5.3
    automation = published(workspace, WAITING)
    [run] = started(automation)
    waiting, sending = queue(run), queue(run, "UNKNOWN", visit=2)
    edit(automation, WAITING)
    activate(actor=actor_of(workspace), automation_id=automation.pk, runs="cancel")
    assert (fresh(waiting).state, fresh(sending).state) == ("CANCELLED", "UNKNOWN")


def test_the_definition_may_come_as_data(workspace: Workspace) -> None:
    data = {
        "name": "As data",
        "trigger": {"type": "manual"},
        "nodes": [{"id": "tag", "type": "add_tag", "config": {"tag": "x"}}],
        "edges": [{"from": "trigger", "port": "next", "to": "tag"}],
    }
    draft = create_automation(actor=actor_of(workspace), body=data)
    assert activate(actor=actor_of(workspace), automation_id=draft.automation.pk).state == "ACTIVE"
