"""Saving never disturbs what runs, refuses what has no shape, and loses nobody's work (C-28, DEF-01, DEF-25)."""

from __future__ import annotations

import json

import pytest
from django.db import IntegrityError, transaction

from accounts.errors import Refusal
from accounts.models import Audit, Workspace
from automations.models import Automation, Version
from automations.services.drafts import (
    check_draft,
    check_text,
    create_automation,
    delete_automation,
    discard_draft,
    read_draft,
    save_draft,
    update_automation,
)
from automations.services.texts import definition_of, stored, yaml_of
from tests.automations import TAGGING, WAITING, fresh, made, published, started, text, versions
from tests.factories import actor_of

pytestmark = pytest.mark.django_db


def test_a_definition_becomes_an_automation_in_state_draft(workspace: Workspace) -> None:
    # DEF-01, DEF-02, DEF-09
    draft = create_automation(actor=actor_of(workspace), body=text(name="Welcome"), fmt="yaml")
    automation = fresh(draft.automation)
    assert (automation.name, automation.state, automation.trigger_key) == ("Welcome", "DRAFT", "sign")
    assert versions(automation) == {1: "draft"}
    assert draft.revision == 1
    assert [node.type for node in draft.definition.nodes] == ["add_tag"]
    assert Audit.objects.filter(object=automation.public_id, action="automation.create").count() == 1


def test_reading_back_returns_what_was_written(workspace: Workspace) -> None:
    # DEF-01: name, trigger and steps exactly; the source text is kept (CONTRACTS 4)
    body = text(TAGGING, name="Exactly")
    draft = create_automation(actor=actor_of(workspace), body=body, fmt="yaml")
    again = read_draft(actor=actor_of(workspace), automation_id=draft.automation.pk)
    assert again.definition == draft.definition
    assert yaml_of(again.version) == body


def test_a_draft_without_steps_is_stored_with_its_problem(workspace: Workspace) -> None:
    # DEF-01: one lacking steps can be saved as a draft
    draft = create_automation(actor=actor_of(workspace), body="name: Empty\ntrigger: {type: manual}\n", fmt="yaml")
    assert [problem.code for problem in draft.problems] == ["no_steps"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("trigger: {type: manual}\nsteps: []\n", "invalid_definition"),  # no name
        ("name: x\nsteps: []\n", "invalid_definition"),  # no trigger
        ("- a list\n", "invalid_definition"),
        ("name: x\ntrigger: {type: manual}\nsteps: [{type: juggle}]\n", "invalid_definition"),
        ("name: x\ntrigger: {type: manual}\nstepps: []\n", "invalid_definition"),
        ("name: x\nname: y\ntrigger: {type: manual}\n", "duplicate_key"),
        ("name: &a x\ntrigger: {type: manual}\ndescription: *a\n", "alias_refused"),
        ("name: [unclosed\n", "malformed"),
        ("name: x\ntrigger: " + "{a: " * 200 + "1" + "}" * 200 + "\n", "too_deep"),
        ("name: " + "x" * 600_000, "too_large"),
    ],
)
def test_a_text_without_a_shape_is_refused_and_nothing_is_stored(workspace: Workspace, body: str, code: str) -> None:
    # CONTRACTS 4, shape errors
    with pytest.raises(Refusal) as refused:
        create_automation(actor=actor_of(workspace), body=body, fmt="yaml")
    assert refused.value.code == code
    assert refused.value.details["problems"]
    assert not Automation.objects.filter(workspace=workspace).exists()


def test_a_bad_save_leaves_the_draft_as_it_was(workspace: Workspace) -> None:
    # RELIABILITY: nothing half-written
    automation = made(workspace)
    before = Version.objects.get(automation=automation)
    with pytest.raises(Refusal):
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body="name: [", fmt="yaml")
    after = Version.objects.get(automation=automation)
    assert (after.sha256, after.updated_at) == (before.sha256, before.updated_at)
    assert fresh(automation).draft_revision == 1


def test_a_stale_save_is_a_conflict(workspace: Workspace) -> None:
    # DESIGN 5.5: drafts carry a revision
    automation = made(workspace)
    save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(), fmt="yaml", revision=1)
    with pytest.raises(Refusal) as refused:
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(), fmt="yaml", revision=1)
    assert refused.value.code == "draft_conflict"
    assert refused.value.details == {"revision": 2, "yours": 1}


def test_without_a_revision_the_last_write_wins(workspace: Workspace) -> None:
    automation = made(workspace)
    for name in ("One", "Two"):
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(name=name), fmt="yaml")
    assert read_draft(actor=actor_of(workspace), automation_id=automation.pk).definition.name == "Two"
    assert fresh(automation).draft_revision == 3


def test_saving_an_active_automation_touches_only_its_draft(workspace: Workspace) -> None:
    # VER-01, VER-08, C-28
    automation = published(workspace, TAGGING, name="Runs")
    active = fresh(automation).active_version
    draft = save_draft(
        actor=actor_of(workspace), automation_id=automation.pk, body=text(WAITING, name="Edited"), fmt="yaml"
    )
    automation = fresh(automation)
    assert (automation.state, automation.name, automation.active_version) == ("ACTIVE", "Runs", active)
    assert versions(automation) == {1: "active", 2: "draft"}
    assert draft.version.number == 2
    assert fresh(active).sha256 == active.sha256
    [run] = started(automation)
    assert (run.version_id, run.status) == (active.pk, "COMPLETED")


def test_the_database_refuses_to_change_an_activated_version(workspace: Workspace) -> None:
    # VER-08
    version = published(workspace).active_version
    assert version is not None
    for change in ({"definition": {}}, {"source": "x"}, {"number": 9}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Version.objects.filter(pk=version.pk).update(**change)


def test_steps_keep_their_ids_when_a_text_without_ids_is_applied_again(workspace: Workspace) -> None:
    # DESIGN 4: applying YAML without ids aligns it with the previous version
    first = "steps: [{type: action, action: add_tag, tag: a}, {type: action, action: add_tag, tag: b}]"
    automation = published(workspace, first)
    before = {node.config["tag"]: node.id for node in definition_of(automation.active_version).nodes}
    turned = "steps: [{type: action, action: add_tag, tag: b}, {type: delay, duration: 1h}, {type: action, action: add_tag, tag: a}]"
    draft = save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(turned), fmt="yaml")
    after = {node.config["tag"]: node.id for node in draft.definition.nodes if node.type == "add_tag"}
    assert after == before


def test_problems_name_the_line_of_the_text_that_was_written(workspace: Workspace) -> None:
    # DEF-25: all together, with key path and line, and nothing is saved as active
    body = (
        "name: Bad\ntrigger:\n  type: event\n  event: payment.faild\nsteps:\n"
        "  - {id: one, type: delay, duration: 3x}\n  - {id: two, type: action, action: start_automation, automation: nowhere}\n"
    )
    check = check_text(actor=actor_of(workspace), body=body, fmt="yaml")
    found = {problem.code: (problem.line, problem.path) for problem in check.problems}
    assert found["unknown_event"] == (4, "trigger.event")
    assert found["bad_duration"][0] == 6
    assert found["unknown_automation"][0] == 7
    assert not check.valid
    assert not Automation.objects.filter(workspace=workspace).exists()


def test_a_stored_draft_is_checked_with_the_lines_of_its_text(workspace: Workspace) -> None:
    automation = made(workspace, "steps:\n  - type: delay\n    duration: 3x")
    [problem] = check_draft(actor=actor_of(workspace), automation_id=automation.pk).problems
    assert (problem.code, problem.line) == ("bad_duration", 5)


def test_validation_knows_what_the_workspace_has(workspace: Workspace, other: Workspace) -> None:
    # another workspace's automation is as unknown as none
    made(other, name="Elsewhere", more="key: elsewhere")
    made(workspace, name="Here", more="key: here")
    steps = "steps: [{type: action, action: start_automation, automation: %s}]"
    here = check_text(actor=actor_of(workspace), body=text(steps % "here"), fmt="yaml")
    elsewhere = check_text(actor=actor_of(workspace), body=text(steps % "elsewhere"), fmt="yaml")
    assert here.valid
    assert [problem.code for problem in elsewhere.problems] == ["unknown_automation"]


def test_a_key_is_taken_once_in_a_workspace(workspace: Workspace, other: Workspace) -> None:
    made(workspace, more="key: dunning")
    with pytest.raises(Refusal) as refused:
        made(workspace, more="key: dunning")
    assert (refused.value.code, list(refused.value.details["fields"])) == ("invalid", ["key"])
    assert made(other, more="key: dunning").key == "dunning"


def test_a_discarded_draft_leaves_the_active_version(workspace: Workspace) -> None:
    automation = published(workspace)
    save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(WAITING), fmt="yaml")
    discard_draft(actor=actor_of(workspace), automation_id=automation.pk)
    assert versions(automation) == {1: "active"}
    with pytest.raises(Refusal) as refused:
        read_draft(actor=actor_of(workspace), automation_id=automation.pk)
    assert refused.value.code == "not_found"


def test_the_only_draft_cannot_be_discarded(workspace: Workspace) -> None:
    automation = made(workspace)
    with pytest.raises(Refusal) as refused:
        discard_draft(actor=actor_of(workspace), automation_id=automation.pk)
    assert refused.value.code == "wrong_state"
    assert versions(automation) == {1: "draft"}


def test_a_discarded_revision_is_never_given_again(workspace: Workspace) -> None:
    automation = published(workspace)
    first = save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(), fmt="yaml")
    discard_draft(actor=actor_of(workspace), automation_id=automation.pk)
    second = save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(), fmt="yaml")
    assert second.revision > first.revision


def test_renaming_reaches_the_draft_too(workspace: Workspace) -> None:
    automation = made(workspace)
    update_automation(actor=actor_of(workspace), automation_id=automation.pk, name="New", description="Why")
    draft = read_draft(actor=actor_of(workspace), automation_id=automation.pk)
    assert (fresh(automation).name, draft.definition.name, draft.definition.description) == ("New", "New", "Why")
    assert draft.version.sha256 == stored(draft.definition)[1]
    assert "name: New" in yaml_of(draft.version)


def test_an_automation_without_runs_can_be_deleted(workspace: Workspace) -> None:
    automation = published(workspace)
    delete_automation(actor=actor_of(workspace), automation_id=automation.pk)
    assert not Automation.objects.filter(pk=automation.pk).exists()
    assert not Version.objects.filter(automation_id=automation.pk).exists()


def test_one_that_had_runs_stays(workspace: Workspace) -> None:
    # CONTRACTS 8: 409 has_runs
    automation = published(workspace)
    started(automation)
    with pytest.raises(Refusal) as refused:
        delete_automation(actor=actor_of(workspace), automation_id=automation.pk)
    assert refused.value.code == "has_runs"
    assert fresh(automation).state == "ACTIVE"


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_editing_needs_its_role(workspace: Workspace, role: str) -> None:
    # CONTRACTS 8, roles
    automation = made(workspace)
    actor = actor_of(workspace, role)
    for attempt in (
        lambda: create_automation(actor=actor, body=text(), fmt="yaml"),
        lambda: save_draft(actor=actor, automation_id=automation.pk, body=text(), fmt="yaml"),
        lambda: discard_draft(actor=actor, automation_id=automation.pk),
        lambda: update_automation(actor=actor, automation_id=automation.pk, name="x"),
        lambda: delete_automation(actor=actor, automation_id=automation.pk),
    ):
        with pytest.raises(Refusal) as refused:
            attempt()
        assert refused.value.code == "role_missing"
    assert read_draft(actor=actor, automation_id=automation.pk).revision == 1


def test_another_workspaces_automation_is_not_there(workspace: Workspace, other: Workspace) -> None:
    automation = made(other)
    for attempt in (
        lambda: read_draft(actor=actor_of(workspace), automation_id=automation.pk),
        lambda: save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(), fmt="yaml"),
        lambda: delete_automation(actor=actor_of(workspace), automation_id=automation.pk),
        lambda: check_draft(actor=actor_of(workspace), automation_id=automation.pk),
    ):
        with pytest.raises(Refusal) as refused:
            attempt()
        assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    "body", ['{"na\\ud800me": 1}', '{"name": "x", "trigger": {"type": "\\udfff"}}', '{"\\ud800": 1, "\\ud800": 2}']
)
def test_a_refusal_quotes_no_half_characters(workspace: Workspace, body: str) -> None:
    # RELIABILITY 39: lone surrogates
    with pytest.raises(Refusal) as refused:
        check_text(actor=actor_of(workspace), body=body, fmt="json")
    assert json.dumps(refused.value.as_dict(), ensure_ascii=False).encode()
