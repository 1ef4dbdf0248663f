"""Triggers, tried from outside: one test for each requirement of area TRG that this stage has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.outside import YAML, Outside
from tests.factories import make_visitor, unique
from tests.requirements.flows import TASK, flow, read_customer
from tests.requirements.shop import (
    call_up,
    cancel,
    decline,
    draft,
    issue,
    issued,
    manual,
    on,
    post,
    read,
    settle_up,
    stage,
    subscribe,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
Done = tuple[str, str]  # the kind of object and its id


def test_trg_01_one_run_for_its_event_and_none_for_another(onward: Outside) -> None:  # TRG-01
    automation = onward.activate(flow(TASK))
    ana = onward.customer()["id"]
    onward.emit("sign", ana)
    onward.work()
    onward.emit("signal", ana)
    onward.work()
    assert [row["triggeredBy"] for row in onward.executions(automation)] == ["sign"]


def test_trg_02_one_run_for_its_fire_time(onward: Outside) -> None:  # TRG-02
    automation = onward.activate(f"name: S\ntrigger: {{type: schedule, interval: 2h}}\nsteps: [{TASK}]")
    at = read(onward, f"/automations/{automation}")["nextFireAt"]
    onward.pass_time("+119m")
    assert onward.executions(automation) == []
    onward.pass_time("+1m")
    onward.work()
    [row] = onward.executions(automation)
    assert row["triggeredBy"] == "schedule"
    assert read(onward, f"/events/{row['eventId']}")["occurredAt"] == at


def test_trg_03_by_hand_with_a_payload(onward: Outside) -> None:  # TRG-03
    automation = onward.activate(manual(TASK))
    payload = {"reason": "asked", "list": [1, {"deep": True}], "amount": "11.77"}
    made = call_up(onward, automation, customer=onward.customer()["id"], payload=payload)["execution"]
    onward.work()
    found = onward.execution(automation)
    assert (found["id"], found["triggeredBy"], found["trigger"]["data"]) == (made["id"], "manual", payload)


def do_issue(onward: Outside) -> Done:
    return "invoice", issue(onward, draft(onward, onward.customer()))["id"]


def do_pay(onward: Outside) -> Done:
    invoice = issued(onward, onward.customer())
    settle_up(onward, invoice)
    return "invoice", invoice["id"]


def do_decline(onward: Outside) -> Done:
    return "payment", decline(onward, issued(onward, onward.customer()))["id"]


def do_succeed(onward: Outside) -> Done:
    return "payment", settle_up(onward, issued(onward, onward.customer()), amount="29.00")["id"]


def do_overdue(onward: Outside) -> Done:
    invoice = issued(onward, onward.customer(), dueDate="2030-01-10")
    onward.work()
    onward.pass_time("2030-01-12T00:00:00Z")
    return "invoice", invoice["id"]


def do_activate(onward: Outside) -> Done:
    trial = subscribe(onward, onward.customer(), trialEnd="2030-01-01T00:00:00Z")
    assert trial["status"] == "trialing"
    onward.work()
    post(onward, f"/subscriptions/{trial['id']}/activate", status=200)
    return "subscription", trial["id"]


def do_cancel(onward: Outside) -> Done:
    running = subscribe(onward, onward.customer())
    cancel(onward, running)
    return "subscription", running["id"]


def do_create(onward: Outside) -> Done:
    return "customer", onward.customer()["id"]


CAUSES: list[Any] = [
    pytest.param("invoice.issued", do_issue, id="TRG-04"),
    pytest.param("invoice.paid", do_pay, id="TRG-05"),
    pytest.param("invoice.overdue", do_overdue, id="TRG-06"),
    pytest.param("payment.failed", do_decline, id="TRG-07"),
    pytest.param("payment.succeeded", do_succeed, id="TRG-08"),
    pytest.param("subscription.activated", do_activate, id="TRG-09"),
    pytest.param("subscription.canceled", do_cancel, id="TRG-10"),
    pytest.param("customer.created", do_create, id="TRG-11"),
]


@pytest.mark.parametrize(("event", "act"), CAUSES)
def test_trg_04_to_11_a_fact_of_the_business_starts_one_run(
    onward: Outside, event: str, act: Callable[[Outside], Done]
) -> None:  # TRG-04 TRG-05 TRG-06 TRG-07 TRG-08 TRG-09 TRG-10 TRG-11
    automation = onward.activate(on(event))
    kind, name = act(onward)
    onward.work()
    onward.pass_time("+3h")
    found = onward.execution(automation)
    assert (found["triggeredBy"], found["subject"][kind]) == (event, name)
    assert found["trigger"]["data"]["id"] == name


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_trg_07_on_any_attempt(onward: Outside, attempts: int) -> None:  # TRG-07
    automation = onward.activate(on("payment.failed"))
    invoice = issued(onward, onward.customer())
    for _ in range(attempts):
        decline(onward, invoice)
    onward.work()
    counts = [
        onward.api.get(f"/executions/{row['id']}").json()["trigger"]["data"] for row in onward.executions(automation)
    ]
    assert [data["failureCount"] for data in reversed(counts)] == list(range(1, attempts + 1))


def test_trg_05_paid_means_in_full(onward: Outside) -> None:  # TRG-05
    automation = onward.activate(on("invoice.paid"))
    invoice = issued(onward, onward.customer(), "100.00")
    settle_up(onward, invoice, amount="60.00")
    onward.work()
    assert onward.executions(automation) == []
    settle_up(onward, invoice)
    onward.work()
    assert len(onward.executions(automation)) == 1


def test_trg_06_not_before_the_due_date_and_not_when_paid(onward: Outside) -> None:  # TRG-06
    automation = onward.activate(on("invoice.overdue"))
    late, paid = (issued(onward, onward.customer(), dueDate="2030-01-10") for _ in range(2))
    settle_up(onward, paid)
    onward.work()
    onward.pass_time("2030-01-10T08:00:00Z")
    assert onward.executions(automation) == []
    onward.pass_time("2030-01-12T00:00:00Z")
    assert [row["subject"]["invoice"] for row in onward.executions(automation)] == [late["id"]]


def test_trg_10_ending_with_the_period_does_not_fire_until_it_ends(onward: Outside) -> None:  # TRG-10
    automation = onward.activate(on("subscription.canceled"))
    running = subscribe(onward, onward.customer())
    cancel(onward, running, "period_end")
    onward.work()
    assert onward.executions(automation) == []
    onward.pass_time("+32d")
    assert read(onward, f"/subscriptions/{running['id']}")["status"] == "canceled"
    assert len(onward.executions(automation)) == 1


def test_trg_11_an_anonymous_visitor_counts_once_identified(onward: Outside) -> None:  # TRG-11
    automation = onward.activate(on("customer.created"))
    visitor = make_visitor(onward.workspace)
    onward.emit("pageview", visitor.public_id, payload={"path": "/pricing"})
    onward.work()
    assert onward.executions(automation) == []
    answer = onward.api.patch(f"/customers/{visitor.public_id}", {"email": f"{unique('new')}@example.com"})
    assert answer.status_code == 200, answer.content
    onward.work()
    assert [row["profileId"] for row in onward.executions(automation)] == [visitor.public_id]


def schedule(onward: Outside, when: str) -> str:
    """An ACTIVE automation on a schedule in Berlin."""
    return onward.activate(f"name: S\ntrigger: {{type: schedule, {when}, timeZone: Europe/Berlin}}\nsteps: [{TASK}]")


def fired(onward: Outside, automation: str) -> list[str]:
    """When each of its runs was due, oldest first."""
    rows = reversed(onward.executions(automation))
    return [read(onward, f"/events/{row['eventId']}")["occurredAt"] for row in rows]


def test_trg_15_one_run_for_each_mark_of_the_interval(onward: Outside) -> None:  # TRG-15
    automation = schedule(onward, "interval: 24h")
    for count in (1, 2):
        onward.pass_time("+24h")
        assert len(onward.executions(automation)) == count


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2030-01-09T12:00:00Z", "2030-01-14T08:00:00.000Z"),
        ("2030-03-27T12:00:00Z", "2030-04-01T07:00:00.000Z"),  # summer time began on 31 March
        ("2030-10-24T12:00:00Z", "2030-10-28T08:00:00.000Z"),  # and ended on 27 October
    ],
)
def test_trg_16_mondays_at_nine_local_time(onward: Outside, start: str, expected: str) -> None:  # TRG-16
    onward.pass_time(start)
    automation = schedule(onward, "cron: '0 9 * * 1'")
    for _ in range(7):
        onward.pass_time("+24h")
    assert fired(onward, automation) == [expected]


def test_trg_17_the_first_day_of_the_month(onward: Outside) -> None:  # TRG-17
    onward.pass_time("2030-01-30T06:00:00Z")
    automation = schedule(onward, "calendar: first day of month")
    for _ in range(3):
        onward.pass_time("+24h")
    assert fired(onward, automation) == ["2030-02-01T08:00:00.000Z"]


@pytest.mark.parametrize("asleep", ["+3d", "+10d", "+73h"])
def test_trg_18_missed_times_fire_once(onward: Outside, asleep: str) -> None:  # TRG-18
    automation = schedule(onward, "interval: 24h")
    onward.pass_time(asleep)
    found = read(onward, f"/automations/{automation}")
    [row] = onward.executions(automation)
    assert found["nextFireAt"] > row["triggeredAt"]


def test_trg_41_any_stage_and_called_legacy(onward: Outside) -> None:  # TRG-41
    automation = onward.activate(on("stage_enter"))
    ana = onward.customer()
    for name in ("TRIAL", "CUSTOMER"):
        stage(onward, ana, name)
        onward.work()
    assert len(onward.executions(automation)) == 2
    [shown] = [row for row in read(onward, "/catalogue")["triggers"] if row["name"] == "stage_enter"]
    assert shown["legacy"] is True
    assert "subscription" in shown["hint"]


@pytest.mark.parametrize("where", ['bucket == "Churned"', "bucket=Churned"])
@pytest.mark.parametrize(
    ("name", "bucket", "runs"),
    [("CUSTOMER", "Churned", 1), ("CUSTOMER", "Retained", 0), ("TRIAL", "", 0)],
)
def test_trg_42_one_stage_and_a_bucket(
    onward: Outside, where: str, name: str, bucket: str, runs: int
) -> None:  # TRG-42 CND-28
    head = f"trigger: {{type: event, event: stage_enter, stage: CUSTOMER, where: '{where}'}}"
    automation = onward.activate(f"name: Won\n{head}\nsteps: [{TASK}]")
    stage(onward, onward.customer(), name, **({"bucket": bucket} if bucket else {}))
    onward.work()
    assert len(onward.executions(automation)) == runs


NAMES = """
invoice.issued invoice.paid invoice.overdue payment.failed payment.succeeded subscription.activated subscription.canceled
customer.created billing.invoice_overdue billing.subscription_payment_failed stage_enter schedule manual custom
pageview email_opened email_clicked
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_trg_48_the_catalogue_tells_six_things_of_each(onward: Outside, name: str) -> None:  # TRG-48
    [shown] = [row for row in read(onward, "/catalogue")["triggers"] if row["name"] == name]
    assert all(shown[key] for key in ("name", "group", "subject"))
    assert shown["dispatch"] == ("exclusive" if name.startswith("billing.") else "parallel")
    assert bool(shown["ends"]) is name.startswith("billing.")
    assert shown["parameters"]["type"] == "object"


def test_trg_49_one_occurrence_and_several_names(onward: Outside) -> None:  # TRG-49
    names = ["payment.failed", "billing.subscription_payment_failed", "billing.subscription_payment_failed"]
    ids = [onward.activate(on(name)) for name in names]
    ana = onward.customer()
    invoice = issued(onward, ana, subscription=subscribe(onward, ana)["id"])
    decline(onward, invoice)
    onward.work()
    assert [len(onward.executions(item)) for item in ids] == [1, 1, 0]  # the last two share one exclusive name


@pytest.mark.parametrize("settled", [False, True])
def test_trg_50_delivered_twice_and_handled_once(onward: Outside, settled: bool) -> None:  # TRG-50
    automation = onward.activate(flow(TASK))
    body = {"id": unique("order"), "name": "sign", "customer": onward.customer()["id"], "payload": {"n": 1}}
    first = post(onward, "/events", body, 202)
    if settled:
        onward.work()
    again = post(onward, "/events", body, 202)
    onward.work()
    assert (first["status"], again) == ("accepted", {"id": first["id"], "status": "duplicate"})
    assert len(onward.executions(automation)) == 1


def test_trg_51_trigger_data_stays_as_it_was(onward: Outside) -> None:  # TRG-51
    automation = onward.activate(on("customer.created"))
    ana = onward.customer(name="Ana Old")
    onward.work()
    before = onward.execution(automation)["trigger"]
    onward.api.patch(f"/customers/{ana['id']}", {"name": "Ana New"})
    onward.work()
    assert read_customer(onward, ana)["name"] == "Ana New"
    found = onward.execution(automation)
    assert found["trigger"] == before
    assert found["trigger"]["data"]["name"] == "Ana Old"
    assert read(onward, f"/events/{found['eventId']}")["trigger"]["customer"]["name"] == "Ana Old"


@pytest.mark.parametrize("name", ["demo_booked", "purchase", "email_opened", "my.own_event"])
def test_trg_52_any_event_of_ones_own(onward: Outside, name: str) -> None:  # TRG-52
    automation = onward.activate(on(name))
    onward.emit(name, onward.customer()["id"], payload={"seats": 5, "plan": "team"})
    onward.work()
    assert onward.execution(automation)["trigger"]["data"] == {"seats": 5, "plan": "team"}


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("payment.faild", "payment.failed"),
        ("invoice.payed", "invoice.paid"),
        ("subscription.cancelled", "subscription.canceled"),
    ],
)
def test_trg_52_a_name_of_a_known_group_must_be_known(onward: Outside, wrong: str, near: str) -> None:  # TRG-52
    answer = onward.api.post("/automations/validate", on(wrong), content_type=YAML).json()
    [problem] = [row for row in answer["problems"] if row["code"] == "unknown_event"]
    assert problem["severity"] == "error"
    assert near in problem["message"] + problem["help"]
    posted = onward.api.post("/events", {"name": wrong, "customer": onward.customer()["id"]})
    assert (posted.status_code, posted.json()["code"]) == (422, "unknown_event")
