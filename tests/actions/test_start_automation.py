"""start_automation: one event for one automation, with its cause, once, and never in a circle (TRG-03, DESIGN 5.1)."""

from __future__ import annotations

import pytest

from accounts.models import Customer, Workspace
from automations.models import Automation, Event, Run
from automations.services.pause import pause_automation
from tests.automations import TAGGING, fresh, made, published
from tests.factories import actor_of
from tests.worker.living import happen, log_of, settle, the_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def starter(workspace: Workspace, key: str, **parts: str) -> Automation:
    body = (
        f"steps: [{{id: go, type: action, action: start_automation, automation: {key}, payload: {{reason: no-reply}}}}]"
    )
    return published(workspace, body, **parts)


def test_the_other_automation_starts_for_the_same_customer(workspace: Workspace, customer: Customer) -> None:
    target = published(workspace, TAGGING, trigger="{type: manual}", more="key: win-back")
    first = starter(workspace, "win-back")
    happen(customer)
    settle()
    run, cause = the_run(target), the_run(first)
    assert (run.customer_id, run.status, run.event.cause_run) == (customer.pk, "COMPLETED", cause.pk)
    [row] = log_of(cause)
    assert row.output == {"event": f"evt_{run.event_id}", "automation": target.public_id}


def test_its_trigger_data_is_the_payload(workspace: Workspace, customer: Customer) -> None:
    body = 'steps: [{id: tag, type: action, action: add_tag, tag: "{{trigger.reason}}"}]'
    target = published(workspace, body, trigger="{type: manual}", more="key: win-back")
    starter(workspace, "win-back")
    happen(customer)
    settle()
    [row] = log_of(the_run(target))
    assert row.output["tag"] == "no-reply"


def test_an_automation_on_an_event_can_be_started_too(workspace: Workspace, customer: Customer) -> None:
    target = published(workspace, TAGGING, trigger="{type: event, event: left}", more="key: win-back")
    starter(workspace, "win-back")
    happen(customer)
    settle()
    assert the_run(target).status == "COMPLETED"


def test_its_entry_filter_still_decides(workspace: Workspace, customer: Customer) -> None:
    published(
        workspace, "filter: customer.segment == 'vip'\n" + TAGGING, trigger="{type: manual}", more="key: win-back"
    )
    starter(workspace, "win-back")
    happen(customer)
    settle()
    assert Run.objects.count() == 1


def test_a_name_that_is_unknown_is_a_problem_and_a_failure(
    workspace: Workspace, customer: Customer, other: Workspace
) -> None:
    target = published(workspace, TAGGING, trigger="{type: manual}", more="key: win-back")
    first = starter(workspace, "win-back")
    Automation.objects.filter(pk=target.pk).update(key="renamed")
    published(other, TAGGING, trigger="{type: manual}", more="key: win-back")
    happen(customer)
    settle()
    [row] = log_of(the_run(first))
    assert (row.status, row.error["code"]) == ("failed", "unknown_automation")
    assert Run.objects.count() == 1


@pytest.mark.parametrize("state", ["DRAFT", "PAUSED"])
def test_only_an_active_automation_is_started(workspace: Workspace, customer: Customer, state: str) -> None:
    make = made if state == "DRAFT" else published
    target = make(workspace, TAGGING, trigger="{type: manual}", more="key: win-back")
    if state == "PAUSED":
        pause_automation(actor=actor_of(workspace), automation_id=target.pk)
    first = starter(workspace, "win-back")
    happen(customer)
    settle()
    [row] = log_of(the_run(first))
    assert (row.status, row.error["code"]) == ("failed", "wrong_state")


def test_it_does_not_start_itself(workspace: Workspace, customer: Customer) -> None:
    # DESIGN 5.1: a run's own effects never restart its automation
    made(workspace, TAGGING, trigger="{type: manual}", more="key: me-2")
    automation = starter(workspace, "me-2")
    Automation.objects.filter(key="me-2").update(key="")
    Automation.objects.filter(pk=automation.pk).update(key="me-2")
    happen(customer)
    settle()
    [row] = log_of(the_run(automation))
    assert (row.status, row.error["code"]) == ("failed", "self_caused")


def test_a_circle_of_two_ends_by_itself(workspace: Workspace, customer: Customer) -> None:
    # DESIGN 5.1: a chain deeper than eight starts nothing
    one = published(workspace, TAGGING, trigger="{type: event, event: sign}", more="key: one")
    two = starter(workspace, "one", trigger="{type: manual}", more="key: two")
    from automations.services.drafts import save_draft
    from automations.services.publish import activate
    from tests.automations import text

    body = text(
        "steps: [{id: go, type: action, action: start_automation, automation: two}]",
        trigger="{type: event, event: sign}",
        more="key: one",
    )
    save_draft(actor=actor_of(workspace), automation_id=one.pk, body=body, fmt="yaml")
    activate(actor=actor_of(workspace), automation_id=one.pk)
    happen(customer)
    settle()
    assert 2 <= Run.objects.count() <= 10
    assert {run.status for run in Run.objects.filter(automation__in=[one, two])} <= {"COMPLETED", "FAILED"}
    assert max(Event.objects.values_list("depth", flat=True)) <= 9


def test_the_event_exists_once_for_a_visit(workspace: Workspace, customer: Customer) -> None:
    published(workspace, TAGGING, trigger="{type: manual}", more="key: win-back")
    first = starter(workspace, "win-back")
    happen(customer)
    settle()
    run = the_run(first)
    event = Event.objects.get(source="manual")
    assert (event.key, event.only_automation is not None) == (f"exec_{run.pk}.1", True)
    assert fresh(run).status == "COMPLETED"
