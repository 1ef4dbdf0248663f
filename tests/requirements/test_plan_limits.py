"""Limits of the plans, tried over REST: one test for each requirement LIM-01 to 06 and 10 to 15."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Plan, Workspace
from tests.api.outside import YAML, Outside
from tests.requirements.flows import PAUSE, TAG, enter, flow, mail

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def on_plan(onward: Outside, plan: str) -> None:
    Workspace.objects.filter(pk=onward.workspace.pk).update(plan=plan)


def scope(onward: Outside, stage: str = "TRIAL") -> str:
    """The head of an automation of that stage."""
    funnel = onward.api.get("/funnels").json()["funnels"][0]["slug"]
    return f"settings: {{scope: [{funnel}/{stage}]}}\n"


def create(onward: Outside, head: str, *steps: str) -> Any:
    return onward.api.post("/automations", flow(*(steps or (TAG,)), head=head), content_type=YAML)


def line(length: int) -> list[str]:
    """So many steps one after the other."""
    return [f"{{id: s{number}, type: action, action: add_tag, tag: t{number}}}" for number in range(length)]


def activate(onward: Outside, made: Any) -> Any:
    assert made.status_code == 201, made.content
    return onward.api.post(f"/automations/{made.json()['id']}/activate")


@pytest.mark.parametrize(("plan", "limit"), [("FREE", 0), ("HOBBY", 1), ("PRO", 5)])
def test_lim_01_to_03_automations_of_a_stage(onward: Outside, plan: str, limit: int) -> None:  # LIM-01, LIM-02, LIM-03
    on_plan(onward, plan)
    for _ in range(limit):
        assert create(onward, scope(onward)).status_code == 201
    refused = create(onward, scope(onward))
    assert (refused.status_code, refused.json()["code"]) == (403, "plan_limit")
    assert (refused.json()["details"]["limit"], f"allows {limit}" in refused.json()["message"]) == (limit, True)
    other = create(onward, scope(onward, "CUSTOMER"))
    assert (other.status_code == 201) is (limit > 0)  # the count starts anew


def test_lim_04_depth_does_not_apply_without_automations(onward: Outside) -> None:  # LIM-04
    on_plan(onward, "FREE")
    limits = onward.api.get("/limits").json()
    assert (limits["stageAutomations"], limits["globalAutomations"], limits["stageDepth"]) == (0, 0, None)


@pytest.mark.parametrize(("plan", "limit"), [("HOBBY", 3), ("PRO", 5)])
def test_lim_05_and_06_depth(onward: Outside, plan: str, limit: int) -> None:  # LIM-05, LIM-06
    on_plan(onward, plan)
    fits = activate(onward, create(onward, scope(onward), *line(limit)))
    assert fits.status_code == 200, fits.content
    deep = activate(onward, create(onward, scope(onward, "CUSTOMER"), *line(limit + 1)))
    assert (deep.status_code, deep.json()["code"]) == (403, "plan_limit")
    assert deep.json()["details"] == {"plan": plan, "limit": limit, "depth": limit + 1}


def depth_of(onward: Outside, *steps: str) -> int:
    answer = onward.api.post("/automations/validate", flow(*steps), content_type=YAML).json()
    assert answer["valid"], answer
    return int(answer["depth"])


@pytest.mark.parametrize(("yes", "no"), [(2, 4), (4, 2), (0, 3), (1, 1)])
def test_lim_10_the_longest_path(onward: Outside, yes: int, no: int) -> None:  # LIM-10
    arms = [
        ", ".join(f"{{id: {name}{number}, type: action, action: add_tag, tag: x}}" for number in range(count))
        for name, count in (("y", yes), ("n", no))
    ]
    split = f"{{id: c, type: condition, if: trigger.x == 1, then: [{arms[0]}], else: [{arms[1]}]}}"
    assert depth_of(onward, split) == max(yes, no)
    assert depth_of(onward, *line(1), split) == max(yes, no) + 1


@pytest.mark.parametrize(
    "kind", ["condition, if: trigger.x == 1, then: [%s], else: [%s]", "percentage_split, percent: 50, a: [%s], b: [%s]"]
)
def test_lim_11_a_split_weighs_nothing(onward: Outside, kind: str) -> None:  # LIM-11
    split = f"{{id: c, type: {kind % (mail('yes'), mail('no'))}}}"
    assert depth_of(onward, mail("first"), PAUSE, split) == 3
    on_plan(onward, "HOBBY")
    answer = activate(onward, create(onward, scope(onward), mail("first"), PAUSE, split))
    assert answer.status_code == 200, answer.content


@pytest.mark.parametrize("last", ["condition, if: email_opened == true", "condition, if: profile.plan == 'pro'"])
def test_lim_12_the_trial_examples(onward: Outside, last: str) -> None:  # LIM-12
    wait = "{{id: w{0}, type: delay, duration: 1d}}"
    split = f"{{id: c, type: {last}, then: [{mail('a')}], else: [{mail('b')}]}}"
    steps = [mail("m1"), wait.format(1), mail("m2"), wait.format(2), split]
    made = create(onward, scope(onward), *steps)
    on_plan(onward, "HOBBY")
    assert activate(onward, made).json()["details"] == {"plan": "HOBBY", "limit": 3, "depth": 5}
    on_plan(onward, "PRO")
    assert activate(onward, made).status_code == 200


def test_lim_13_a_downgrade_stops_no_run(onward: Outside) -> None:  # LIM-13
    ids = [str(create(onward, scope(onward), PAUSE, TAG).json()["id"]) for _ in range(4)]
    for name in ids:
        assert onward.api.post(f"/automations/{name}/activate").status_code == 200
    enter(onward)
    on_plan(onward, "HOBBY")
    refused = create(onward, scope(onward))
    assert (refused.status_code, refused.json()["code"]) == (403, "plan_limit")
    onward.api.put(f"/automations/{ids[0]}/draft", flow(TAG, head=scope(onward)), content_type=YAML)
    again = onward.api.post(f"/automations/{ids[0]}/activate")
    assert (again.status_code, again.json()["code"]) == (403, "plan_limit")
    onward.pass_time("+2d")
    assert [onward.execution(name)["status"] for name in ids] == ["completed"] * 4


def test_lim_14_limits_are_rows(onward: Outside) -> None:  # LIM-14
    on_plan(onward, "HOBBY")
    create(onward, scope(onward))
    assert create(onward, scope(onward)).status_code == 403
    Plan.objects.filter(pk="HOBBY").update(stage_automations=2)
    assert create(onward, scope(onward)).status_code == 201
    limits = onward.api.get("/limits").json()
    used = {row["stage"].split("/")[1]: row["automations"] for row in limits["usage"]["automations"]["stages"]}
    assert (limits["stageAutomations"], used["TRIAL"], used["CUSTOMER"]) == (2, 2, 0)


@pytest.mark.parametrize("plan", ["PRO", "HOBBY"])
def test_lim_15_global_automations_have_limits_of_their_own(onward: Outside, plan: str) -> None:  # LIM-15
    on_plan(onward, plan)
    answer = activate(onward, create(onward, "", *line(6)))
    assert (answer.status_code, answer.json()["scope"]) == (200, "global")
