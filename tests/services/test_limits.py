"""Plan limits: automations on a stage and in all, and how deep; data, and never in the way of runs (LIM-01 to 06, 10 to 15)."""

from __future__ import annotations

import pytest

from accounts.errors import Refusal
from accounts.models import Funnel, Plan, Workspace
from automations.models import Automation
from automations.services.drafts import check_draft, save_draft
from automations.services.limits import use_of_limits
from automations.services.publish import activate
from tests.automations import fresh, made, published, started, text
from tests.factories import actor_of, make_workspace
from tests.worker.living import pass_time

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


@pytest.fixture
def funnel(workspace: Workspace) -> str:
    """The slug of the default funnel."""
    return str(Funnel.objects.get(workspace=workspace).slug)


def on(plan: str, workspace: Workspace) -> Workspace:
    Workspace.objects.filter(pk=workspace.pk).update(plan=plan)
    workspace.refresh_from_db()
    return workspace


def scoped(*stages: str) -> str:
    return f"settings: {{scope: [{', '.join(stages)}]}}"


def steps(count: int) -> str:
    return "steps: [" + ", ".join(f"{{type: action, action: add_tag, tag: t{number}}}" for number in range(count)) + "]"


def make(workspace: Workspace, *stages: str, count: int = 1) -> Automation:
    return made(workspace, steps(count), more=scoped(*stages) if stages else "")


def refused(call) -> dict:
    with pytest.raises(Refusal) as caught:
        call()
    assert caught.value.code == "plan_limit"
    return caught.value.details


@pytest.mark.parametrize(("plan", "allowed"), [("FREE", 0), ("HOBBY", 1), ("PRO", 5)])
def test_each_stage_counts_for_itself(workspace: Workspace, funnel: str, plan: str, allowed: int) -> None:
    # LIM-01, LIM-02, LIM-03
    on(plan, workspace)
    for _number in range(allowed):
        make(workspace, f"{funnel}/TRIAL")
    details = refused(lambda: make(workspace, f"{funnel}/TRIAL"))
    assert (details["plan"], details["limit"], details["stage"]) == (plan, allowed, f"{funnel}/TRIAL")
    assert Automation.objects.filter(workspace=workspace).count() == allowed
    if allowed:
        assert make(workspace, f"{funnel}/CUSTOMER").stages


def test_an_automation_on_two_stages_counts_on_both(workspace: Workspace, funnel: str) -> None:
    # MIS-06
    on("HOBBY", workspace)
    make(workspace, f"{funnel}/TRIAL", f"{funnel}/CUSTOMER")
    assert refused(lambda: make(workspace, f"{funnel}/CUSTOMER"))["stage"] == f"{funnel}/CUSTOMER"
    assert refused(lambda: make(workspace, f"{funnel}/TRIAL"))["stage"] == f"{funnel}/TRIAL"


@pytest.mark.parametrize(("plan", "allowed"), [("FREE", False), ("HOBBY", True), ("PRO", True)])
def test_global_automations_have_limits_of_their_own(workspace: Workspace, plan: str, allowed: bool) -> None:
    # C-17: none on FREE, unlimited otherwise
    on(plan, workspace)
    if not allowed:
        assert refused(lambda: make(workspace))["limit"] == 0
        return
    for _number in range(7):
        make(workspace)
    assert Automation.objects.filter(workspace=workspace).count() == 7


@pytest.mark.parametrize(("plan", "deepest"), [("HOBBY", 3), ("PRO", 5)])
def test_depth_is_checked_when_it_is_activated(workspace: Workspace, funnel: str, plan: str, deepest: int) -> None:
    # LIM-05, LIM-06
    on(plan, workspace)
    fits = make(workspace, f"{funnel}/TRIAL", count=deepest)
    deep = make(workspace, f"{funnel}/CUSTOMER", count=deepest + 1)
    assert activate(actor=actor_of(workspace), automation_id=fits.pk).state == "ACTIVE"
    details = refused(lambda: activate(actor=actor_of(workspace), automation_id=deep.pk))
    assert (details["limit"], details["depth"]) == (deepest, deepest + 1)
    assert fresh(deep).state == "DRAFT"


def test_a_global_automation_may_be_deeper(workspace: Workspace) -> None:
    # LIM-15
    automation = make(workspace, count=6)
    assert activate(actor=actor_of(workspace), automation_id=automation.pk).state == "ACTIVE"


def test_a_split_adds_no_depth(workspace: Workspace, funnel: str) -> None:
    # LIM-11, C-16: SEND, WAIT, split, SEND | SEND is depth 3
    on("HOBBY", workspace)
    body = (
        "steps:\n  - {type: action, action: add_tag, tag: a}\n  - {type: delay, duration: 1d}\n"
        "  - type: percentage_split\n    percent: 50\n"
        "    a: [{type: action, action: add_tag, tag: b}]\n    b: [{type: action, action: add_tag, tag: c}]\n"
    )
    automation = made(workspace, body, more=scoped(f"{funnel}/TRIAL"))
    assert check_draft(actor=actor_of(workspace), automation_id=automation.pk).depth == 3
    assert activate(actor=actor_of(workspace), automation_id=automation.pk).state == "ACTIVE"


def test_limits_are_data(workspace: Workspace, funnel: str) -> None:
    # LIM-14
    on("HOBBY", workspace)
    make(workspace, f"{funnel}/TRIAL")
    Plan.objects.filter(pk="HOBBY").update(stage_automations=2)
    assert make(workspace, f"{funnel}/TRIAL").stages


def test_a_downgrade_stops_no_run_and_lets_nothing_new_in(workspace: Workspace, funnel: str) -> None:
    # LIM-13
    body = "steps: [{id: pause, type: delay, duration: 3d}]"
    here = [
        published(workspace, body, more=scoped(f"{funnel}/TRIAL"), trigger=f"{{type: event, event: e{number}}}")
        for number in range(2)
    ]
    [run] = started(here[0], event="e0")
    on("HOBBY", workspace)
    refused(lambda: make(workspace, f"{funnel}/TRIAL"))
    save_draft(
        actor=actor_of(workspace),
        automation_id=here[1].pk,
        body=text(body, more=scoped(f"{funnel}/TRIAL")),
        fmt="yaml",
    )
    refused(lambda: activate(actor=actor_of(workspace), automation_id=here[1].pk))
    pass_time("+3d")
    assert fresh(run).status == "COMPLETED"
    assert fresh(here[1]).state == "ACTIVE"


def test_an_automation_is_not_counted_against_itself(workspace: Workspace, funnel: str) -> None:
    on("HOBBY", workspace)
    automation = published(workspace, steps(1), more=scoped(f"{funnel}/TRIAL"))
    save_draft(
        actor=actor_of(workspace),
        automation_id=automation.pk,
        body=text(steps(2), more=scoped(f"{funnel}/TRIAL")),
        fmt="yaml",
    )
    assert activate(actor=actor_of(workspace), automation_id=automation.pk).state == "ACTIVE"


def test_another_workspaces_automations_do_not_count(workspace: Workspace, funnel: str) -> None:
    other = make_workspace()
    on("HOBBY", workspace)
    on("HOBBY", other)
    there = str(Funnel.objects.get(workspace=other).slug)
    make(other, f"{there}/TRIAL")
    assert make(workspace, f"{funnel}/TRIAL").stages


def test_use_is_counted_by_stage(workspace: Workspace, funnel: str) -> None:
    # LIM-14: the interface shows use against limit
    make(workspace, f"{funnel}/TRIAL", f"{funnel}/CUSTOMER")
    make(workspace, f"{funnel}/TRIAL")
    make(workspace)
    use = use_of_limits(workspace.pk)
    counts = {row["stage"]: row["automations"] for row in use["stages"]}
    assert (counts[f"{funnel}/TRIAL"], counts[f"{funnel}/CUSTOMER"], use["global"]) == (2, 1, 1)


def test_the_scope_of_the_active_version_counts_until_another_is_activated(workspace: Workspace, funnel: str) -> None:
    # CONTRACTS 3: copies are those of the active version
    automation = published(workspace, steps(1), more=scoped(f"{funnel}/TRIAL"))
    before = automation.stages
    save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(steps(1)), fmt="yaml")
    assert fresh(automation).stages == before
    assert activate(actor=actor_of(workspace), automation_id=automation.pk).stages == []
