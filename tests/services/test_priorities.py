"""The order of an exclusive trigger: per trigger and workspace, no ties, a new one last (PRI-06 to 10)."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from accounts.errors import Refusal
from accounts.models import Audit, Workspace
from automations.models import Automation
from automations.services.drafts import delete_automation, save_draft, update_automation
from automations.services.pause import pause_automation
from automations.services.priorities import in_order, reorder
from automations.services.publish import activate, duplicate
from tests.automations import fresh, made, published, text
from tests.factories import actor_of

pytestmark = pytest.mark.django_db

OVERDUE = "billing.invoice_overdue"
FAILED = "billing.subscription_payment_failed"
TASK = "steps: [{type: action, action: create_task, message: Look}]"


def exclusive(workspace: Workspace, trigger: str = OVERDUE) -> Automation:
    return published(workspace, TASK, trigger=f"{{type: event, event: {trigger}}}")


def order(workspace: Workspace, trigger: str = OVERDUE) -> list[tuple[int, int | None]]:
    return [(row.pk, row.priority) for row in in_order(actor_of(workspace), trigger)]


def test_a_new_automation_stands_last(workspace: Workspace, other: Workspace) -> None:
    # PRI-09: per trigger and workspace
    first, second = exclusive(workspace), exclusive(workspace)
    elsewhere, foreign = exclusive(workspace, FAILED), exclusive(other)
    assert order(workspace) == [(first.pk, 1), (second.pk, 2)]
    assert (elsewhere.priority, foreign.priority) == (1, 1)


def test_a_draft_has_its_place_already(workspace: Workspace) -> None:
    # PRI-10: a DRAFT is passed over and keeps its place
    draft = made(workspace, TASK, trigger=f"{{type: event, event: {OVERDUE}}}")
    later = exclusive(workspace)
    assert activate(actor=actor_of(workspace), automation_id=draft.pk).priority == 1
    assert fresh(later).priority == 2


def test_the_order_is_set_as_a_whole(workspace: Workspace) -> None:
    # PRI-08: 1, 2, 3 becomes 3, 1, 2
    one, two, three = exclusive(workspace), exclusive(workspace), exclusive(workspace)
    rows = reorder(actor=actor_of(workspace), trigger=OVERDUE, order=[three.pk, one.pk, two.pk])
    assert [row.pk for row in rows] == [three.pk, one.pk, two.pk]
    assert order(workspace) == [(three.pk, 1), (one.pk, 2), (two.pk, 3)]
    entry = Audit.objects.get(action="priorities.set")
    assert (entry.before, entry.after) == (
        {"order": [one.public_id, two.public_id, three.public_id]},
        {"order": [three.public_id, one.public_id, two.public_id]},
    )


@pytest.mark.parametrize("wrong", ["missing", "doubled", "foreign", "empty"])
def test_half_an_order_is_refused(workspace: Workspace, other: Workspace, wrong: str) -> None:
    one, two = exclusive(workspace), exclusive(workspace)
    foreign = exclusive(other)
    given = {"missing": [two.pk], "doubled": [one.pk, one.pk], "foreign": [one.pk, foreign.pk], "empty": []}[wrong]
    with pytest.raises(Refusal) as refused:
        reorder(actor=actor_of(workspace), trigger=OVERDUE, order=given)
    assert refused.value.code == "invalid"
    assert order(workspace) == [(one.pk, 1), (two.pk, 2)]


def test_the_database_knows_no_ties(workspace: Workspace) -> None:
    # PRI-09
    one, two = exclusive(workspace), exclusive(workspace)
    with pytest.raises(IntegrityError), transaction.atomic():
        Automation.objects.filter(pk=two.pk).update(priority=one.priority)


def test_pausing_keeps_the_place(workspace: Workspace) -> None:
    # PRI-10, PAU-06
    one, two = exclusive(workspace), exclusive(workspace)
    pause_automation(actor=actor_of(workspace), automation_id=one.pk)
    assert order(workspace) == [(one.pk, 1), (two.pk, 2)]


def test_one_can_be_moved_and_the_others_close_up(workspace: Workspace) -> None:
    one, two, three = exclusive(workspace), exclusive(workspace), exclusive(workspace)
    update_automation(actor=actor_of(workspace), automation_id=three.pk, priority=1)
    assert [pk for pk, _ in order(workspace)] == [three.pk, one.pk, two.pk]
    update_automation(actor=actor_of(workspace), automation_id=three.pk, priority=99)
    assert order(workspace) == [(one.pk, 1), (two.pk, 2), (three.pk, 3)]


def test_a_gap_left_by_a_deleted_one_does_no_harm(workspace: Workspace) -> None:
    one, two, three = exclusive(workspace), exclusive(workspace), exclusive(workspace)
    delete_automation(actor=actor_of(workspace), automation_id=two.pk)
    assert order(workspace) == [(one.pk, 1), (three.pk, 3)]
    assert exclusive(workspace).priority == 4
    rows = reorder(actor=actor_of(workspace), trigger=OVERDUE, order=[pk for pk, _ in reversed(order(workspace))])
    assert [row.priority for row in rows] == [1, 2, 3]


def test_a_changed_trigger_stands_last_among_its_new_ones(workspace: Workspace) -> None:
    one, two = exclusive(workspace), exclusive(workspace)
    there = exclusive(workspace, FAILED)
    body = text(TASK, trigger=f"{{type: event, event: {FAILED}}}")
    save_draft(actor=actor_of(workspace), automation_id=one.pk, body=body, fmt="yaml")
    assert order(workspace) == [(one.pk, 1), (two.pk, 2)]
    activate(actor=actor_of(workspace), automation_id=one.pk)
    assert order(workspace) == [(two.pk, 2)]
    assert order(workspace, FAILED) == [(there.pk, 1), (one.pk, 2)]


def test_a_parallel_automation_has_no_priority(workspace: Workspace) -> None:
    automation = published(workspace)
    assert (automation.exclusive, automation.priority) == (False, None)
    with pytest.raises(Refusal) as refused:
        update_automation(actor=actor_of(workspace), automation_id=automation.pk, priority=1)
    assert refused.value.code == "invalid"


def test_a_duplicate_stands_last(workspace: Workspace) -> None:
    one, _two = exclusive(workspace), exclusive(workspace)
    copy = duplicate(actor=actor_of(workspace), automation_id=one.pk)
    assert copy.automation.priority == 3


@pytest.mark.parametrize("trigger", ["invoice.paid", "custom", "nonsense"])
def test_only_exclusive_triggers_have_an_order(workspace: Workspace, trigger: str) -> None:
    with pytest.raises(Refusal) as refused:
        in_order(actor_of(workspace), trigger)
    assert refused.value.code == "not_found"


def test_ordering_needs_the_role_to_publish(workspace: Workspace) -> None:
    one = exclusive(workspace)
    with pytest.raises(Refusal) as refused:
        reorder(actor=actor_of(workspace, "editor"), trigger=OVERDUE, order=[one.pk])
    assert refused.value.code == "role_missing"
