"""Delays, waits and percentage splits, tried from outside (STP-03, 05, 12 to 19, 21 to 23)."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from automations.models import StepLog
from tests.api.outside import YAML, Outside
from tests.factories import unique
from tests.requirements.flows import MAIL, TASK, deliveries, flow
from tests.requirements.shop import post, say, visit_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def parked(onward: Outside, *steps: str, **payload: Any) -> tuple[str, dict[str, Any]]:
    """An ACTIVE automation and the customer whose run now rests in it."""
    automation = onward.activate(flow(*steps))
    ana = onward.customer()
    onward.emit("sign", ana["id"], payload=payload)
    onward.work()
    return automation, ana


def test_stp_03_a_delay_parks_with_a_wake_time(onward: Outside) -> None:  # STP-03
    onward.pass_time("2030-01-15T10:00:00Z")
    automation, _ = parked(onward, "{id: rest, type: delay, duration: 5m}", TASK)
    found = onward.execution(automation)
    assert (found["parkedOn"], found["currentStepId"]) == ("timer", "rest")
    assert found["nextStepAt"].startswith("2030-01-15T10:05:")
    onward.pass_time("+4m")
    assert onward.tasks() == []
    onward.pass_time("+1m")
    assert onward.tasks() == ["Look"]


@pytest.mark.parametrize("form", ["type: delay", "type: wait", "type: action, action: delay"])
def test_stp_05_every_spelling_of_a_delay_parks_alike(onward: Outside, form: str) -> None:  # STP-05
    onward.pass_time("2030-01-15T10:00:00Z")
    automation, _ = parked(onward, f"{{id: rest, {form}, duration: 90m}}", TASK)
    found = onward.execution(automation)
    assert (found["parkedOn"], found["currentStepId"], found["nextStepAt"][:16]) == (
        "timer",
        "rest",
        "2030-01-15T11:30",
    )
    onward.pass_time("+90m")
    assert onward.execution(automation)["status"] == "completed"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_stp_12_months_days_hours_and_minutes(onward: Outside, zone: str) -> None:  # STP-12
    assert onward.api.patch("/workspace", {"timeZone": zone}).status_code == 200
    onward.pass_time("2030-01-15T10:00:00Z")
    automation, _ = parked(onward, "{id: rest, type: WAIT, months: 1, days: 2, hours: 3, minutes: 4}", TASK)
    assert onward.execution(automation)["nextStepAt"][:16] == "2030-02-17T13:04"
    onward.pass_time("2030-02-17T13:03:00Z")
    assert onward.tasks() == []
    onward.pass_time("2030-02-17T13:05:00Z")
    assert onward.tasks() == ["Look"]


@pytest.mark.parametrize("parts", ["months: 1", "days: 2", "hours: 3", "minutes: 4", "days: 1, minutes: 1"])
def test_stp_12_any_combination(onward: Outside, parts: str) -> None:  # STP-12
    answer = onward.api.post("/automations/validate", flow(f"{{type: WAIT, {parts}}}", TASK), content_type=YAML)
    assert answer.json()["valid"], answer.json()


@pytest.mark.parametrize("parts", ["days: 0", "months: 0, days: 0, hours: 0, minutes: 0", "duration: 0m"])
def test_stp_12_nothing_at_all_is_no_wait(onward: Outside, parts: str) -> None:  # STP-12
    answer = onward.api.post("/automations/validate", flow(f"{{type: WAIT, {parts}}}", TASK), content_type=YAML)
    assert (answer.status_code, answer.json().get("valid", False)) in ((200, False), (422, False))


UNTIL = "{{id: until, type: WAIT_UNTIL, event: {0}{1}}}"


@pytest.mark.parametrize("event", ["pricing_clicked", "demo_booked", "pageview"])
def test_stp_13_16_and_17_an_event_of_this_profile(onward: Outside, event: str) -> None:  # STP-13 STP-16 STP-17
    automation, ana = parked(onward, UNTIL.format(event, ""), TASK)
    assert onward.execution(automation)["parkedOn"] == "event"
    onward.emit(event, onward.customer()["id"], payload={"path": "/"})
    onward.work()
    assert onward.execution(automation)["currentStepId"] == "until"
    onward.emit(event, ana["id"], payload={"path": "/"})
    onward.work()
    assert visit_of(onward, automation, "until")["output"]["outcome"] == "event"
    assert onward.execution(automation)["status"] == "completed"


def other_mail(onward: Outside, customer: dict[str, Any]) -> str:
    """A mail of another campaign to the same customer."""
    onward.activate(flow(MAIL, event="campaign", name="Campaign"))
    onward.emit("campaign", customer["id"])
    onward.work()
    return str(deliveries(onward)[0]["id"])


@pytest.mark.parametrize("event", ["email_opened", "email_clicked"])
def test_stp_14_and_15_the_latest_mail_of_the_run(onward: Outside, event: str) -> None:  # STP-14 STP-15
    automation, ana = parked(onward, MAIL, UNTIL.format(event, ""), TASK)
    [own] = deliveries(onward)
    foreign = other_mail(onward, ana)
    onward.emit(event, ana["id"], delivery=foreign)
    onward.work()
    assert onward.tasks() == []
    onward.emit(event, ana["id"], delivery=own["id"])
    onward.work()
    assert (onward.tasks(), onward.execution(automation)["status"]) == (["Look"], "completed")


@pytest.mark.parametrize("event", ["email_opened", "email_clicked"])
def test_stp_14_and_15_widened_to_any_mail(onward: Outside, event: str) -> None:  # STP-14 STP-15
    _, ana = parked(onward, MAIL, UNTIL.format(event, ", emails: any"), TASK)
    onward.emit(event, ana["id"], delivery=other_mail(onward, ana))
    onward.work()
    assert onward.tasks() == ["Look"]


@pytest.mark.parametrize("event", ["email_opened", "email_clicked"])
def test_stp_14_and_15_a_run_without_a_mail_hears_any(onward: Outside, event: str) -> None:  # STP-14 STP-15
    _, ana = parked(onward, UNTIL.format(event, ""), TASK)
    onward.emit(event, ana["id"], delivery=other_mail(onward, ana))
    onward.work()
    assert onward.tasks() == ["Look"]


def test_stp_18_a_time_out_goes_on_too(onward: Outside) -> None:  # STP-18
    automation, _ = parked(onward, UNTIL.format("demo_booked", ", timeout: 7d"), TASK)
    onward.pass_time("+167h")
    assert onward.tasks() == []
    onward.pass_time("+1h")
    assert onward.tasks() == ["Look"]
    assert visit_of(onward, automation, "until")["output"]["outcome"] == "timeout"


def test_stp_18_without_one_it_waits_for_ever(onward: Outside) -> None:  # STP-18
    automation, ana = parked(onward, UNTIL.format("demo_booked", ""), TASK)
    assert onward.execution(automation)["nextStepAt"] is None
    onward.pass_time("+300d")
    assert (onward.tasks(), onward.execution(automation)["parkedOn"]) == ([], "event")
    onward.emit("demo_booked", ana["id"])
    onward.work()
    assert onward.tasks() == ["Look"]


SPLIT = "{{id: split, type: CONDITIONAL_SPLIT, condition: {0}, a: [{1}], b: [{2}]}}"


@pytest.mark.parametrize(("opened", "way"), [(True, "A"), (False, "B")])
@pytest.mark.parametrize("condition", ["wait.outcome == 'event'", "email_opened == true"])
def test_stp_19_which_came_first(onward: Outside, condition: str, opened: bool, way: str) -> None:  # STP-19
    split = SPLIT.format(condition, say("A", "to_a"), say("B", "to_b"))
    _, ana = parked(onward, MAIL, UNTIL.format("email_opened", ", timeout: 2d"), split)
    [own] = deliveries(onward)
    if opened:
        onward.emit("email_opened", ana["id"], delivery=own["id"])
        onward.work()
    else:
        onward.pass_time("+2d")
    assert onward.tasks() == [way]


def split(percent: int) -> str:
    """A percentage split of which neither arm does anything but bear a log entry."""
    return f"{{id: half, type: PERCENTAGE_SPLIT, percent: {percent}}}"


def crowd(onward: Outside, automation: str, count: int) -> dict[str, str]:
    """Which branch each new customer's run takes, by execution."""
    people = [{"email": f"{unique('one')}@example.com"} for _ in range(count)]
    post(onward, "/events", {"events": [{"name": "sign", "customer": one} for one in people]}, 202)
    onward.work()
    return branches(onward)


def branches(onward: Outside) -> dict[str, str]:
    """The ports of all visits to the split, by execution, read in one go."""
    rows = StepLog.objects.filter(workspace_id=onward.workspace.pk, step="half").values_list("run_id", "port")
    return {f"exec_{run}": str(port) for run, port in rows}


@pytest.mark.parametrize(("percent", "branch"), [(0, "b"), (100, "a")])
def test_stp_21_none_and_all(onward: Outside, percent: int, branch: str) -> None:  # STP-21
    automation = onward.activate(flow(split(percent)))
    assert set(crowd(onward, automation, 10).values()) == {branch}


def test_stp_21_thirty_of_a_hundred_over_ten_thousand_runs() -> None:  # STP-21
    from automations.steps.percentage_split import bucket

    share = sum(bucket(f"exec_{number}", "half") < 30 for number in range(1, 10_001)) / 10_000
    assert abs(share - 0.30) <= 0.02


def test_stp_22_an_outsider_computes_the_branch(onward: Outside) -> None:  # STP-22, C-20
    automation = onward.activate(flow(split(30)))
    found = crowd(onward, automation, 100)
    assert len(found) == 100
    expected = {
        name: "a" if int(hashlib.sha256(f"{name}half".encode()).hexdigest(), 16) % 100 < 30 else "b" for name in found
    }
    assert found == expected
    assert set(found.values()) == {"a", "b"}


def test_stp_23_a_profile_keeps_its_branch(onward: Outside) -> None:  # STP-23
    automation = onward.activate(flow(split(50)))
    people = [onward.customer()["id"] for _ in range(6)]
    for _ in range(3):
        post(onward, "/events", {"events": [{"name": "sign", "customer": name} for name in people]}, 202)
        onward.work()
    rows, found = onward.executions(automation, "?limit=100"), branches(onward)
    assert len(rows) == len(found) == 18
    taken: dict[str, set[str]] = {}
    for row in rows:
        taken.setdefault(row["profileId"], set()).add(found[row["id"]])
    assert [len(ways) for ways in taken.values()] == [1] * 6
