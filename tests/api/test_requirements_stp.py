"""Steps, tried from outside: REST, a worker, the moved clock (STP-01 to 25)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.clock import evaluation_now
from accounts.models import Customer, Workspace
from automations.models import Delivery
from tests.api.outside import YAML, Outside
from tests.billing.helpers import make_invoice
from tests.factories import make_customer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

SIGN = "trigger: {type: event, event: sign}\n"
MAIL = "{id: mail, type: action, action: send_email, subject: Hello, body: '<p>Hi {{customer.name}}</p>'}"


def task(name: str) -> str:
    return f"{{id: {name}, type: action, action: create_task, message: {name}}}"


@pytest.fixture
def onward(workspace: Workspace) -> Outside:
    return Outside.of(workspace)


def started(
    onward: Outside, steps: str, payload: dict[str, Any] | None = None, more: str = ""
) -> tuple[str, dict[str, Any]]:
    """An automation with these steps, and the customer of its only run."""
    automation = onward.activate(f"name: S\n{SIGN}{more}steps: [{steps}]")
    customer = onward.customer()
    onward.emit("sign", customer["id"], payload=payload or {})
    onward.work()
    return automation, customer


def near(text: str, moment: datetime) -> bool:
    return abs(datetime.fromisoformat(text) - moment) < timedelta(seconds=10)


def test_stp_01_one_entry_with_name_input_and_result(onward: Outside) -> None:
    automation, _ = started(onward, task("once"))
    [row] = onward.execution(automation)["steps"]
    assert (row["action"], row["input"], row["status"]) == ("create_task", {"message": "once"}, "succeeded")
    assert row["output"]["task"].startswith("task_")


@pytest.mark.parametrize(("seats", "arm"), [(9, "yes"), (1, "no")])
def test_stp_02_one_arm_runs_and_the_log_states_the_outcome(onward: Outside, seats: int, arm: str) -> None:
    condition = f"{{id: c, type: condition, if: trigger.seats > 5, then: [{task('yes')}], else: [{task('no')}]}}"
    automation, _ = started(onward, condition, {"seats": seats})
    first, second = onward.execution(automation)["steps"]
    assert (first["output"]["result"], first["port"]) == (arm == "yes", "true" if arm == "yes" else "false")
    assert first["output"]["values"] == {"trigger.seats": seats}
    assert second["stepId"] == arm


def test_stp_03_a_delay_parks_with_its_wake_time(onward: Outside) -> None:
    automation, _ = started(onward, f"{{id: d, type: delay, duration: 5m}}, {task('after')}")
    assert near(onward.execution(automation)["nextStepAt"], evaluation_now() + timedelta(minutes=5))
    onward.pass_time("+5m")
    assert onward.steps(automation) == ["d", "after"]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_stp_04_as_many_iterations_as_items(onward: Outside, count: int) -> None:
    loop = f"{{id: all, type: loop, over: '{{{{trigger.items}}}}', as: n, steps: [{task('each')}]}}"
    automation, _ = started(onward, f"{loop}, {task('after')}", {"items": list(range(count))})
    assert onward.steps(automation).count("each") == count
    assert onward.steps(automation)[-1] == "after"


def test_stp_05_both_spellings_of_a_delay_park_alike(onward: Outside) -> None:
    for written in ("{id: d, type: delay, duration: 2h}", "{id: d, type: action, action: delay, duration: 2h}"):
        automation = onward.activate(f"name: S\n{SIGN}steps: [{written}]")
        graph = onward.api.get(f"/automations/{automation}/versions/1").json()["definition"]
        assert graph["nodes"] == [{"id": "d", "type": "delay", "config": {"duration": "2h"}}]
        onward.api.post(f"/automations/{automation}/pause")


@pytest.mark.parametrize(("total", "arm"), [(2000, "large"), (20, "small"), (500, "other")])
def test_stp_06_the_first_true_case_else_the_default(onward: Outside, total: int, arm: str) -> None:
    branch = (
        f"{{id: b, type: action, action: branch, cases: [{{id: big, if: trigger.total >= 1000, then: [{task('large')}]}}, "
        f"{{id: tiny, if: trigger.total < 50, then: [{task('small')}]}}], default: [{task('other')}]}}"
    )
    automation, _ = started(onward, branch, {"total": total})
    assert onward.steps(automation) == ["b", arm]


def test_stp_07_both_spellings_of_a_loop_agree(onward: Outside) -> None:
    for number, type_ in enumerate(("type: loop", "type: action, action: loop")):
        onward.activate(
            f"name: L{number}\n{SIGN}steps: [{{{type_}, over: '{{{{trigger.items}}}}', as: n, "
            "steps: [{type: action, action: create_task, message: 'item {{n}}'}]}]"
        )
    onward.emit("sign", onward.customer()["id"], payload={"items": ["a", "b"]})
    onward.work()
    assert sorted(onward.tasks()) == ["item a", "item a", "item b", "item b"]


def test_stp_08_stop_ends_the_run_also_inside_a_loop(onward: Outside) -> None:
    automation, _ = started(onward, f"{{type: stop, reason: handled}}, {task('never')}")
    run = onward.execution(automation)
    assert (run["status"], run["endReason"], onward.tasks()) == ("completed", "stopped", [])
    loop = f"{{type: loop, over: '{{{{trigger.items}}}}', steps: [{{type: stop}}, {task('x')}]}}"
    inside, _ = started(onward, f"{loop}, {task('y')}", {"items": [1, 2]})
    assert (onward.execution(inside)["endReason"], onward.tasks()) == ("stopped", [])


def test_stp_09_a_list_over_the_cap_fails_and_delays_inside_are_allowed(onward: Outside) -> None:
    loop = f"{{id: all, type: loop, over: '{{{{trigger.items}}}}', steps: [{{type: delay, duration: 1h}}, {task('each')}]}}"
    automation, _ = started(onward, loop, {"items": [1, 2]})
    onward.pass_time("+1h")
    assert len(onward.tasks()) == 1
    onward.pass_time("+1h")
    assert (len(onward.tasks()), onward.execution(automation)["status"]) == (2, "completed")
    many, _ = started(
        onward, f"{{id: all, type: loop, over: '{{{{trigger.items}}}}', steps: [{task('z')}]}}", {"items": [0] * 1001}
    )
    assert onward.execution(many)["status"] == "failed"
    assert "z" not in onward.tasks()


def test_stp_10_a_mail_is_queued_with_its_subject(onward: Outside) -> None:
    automation, customer = started(onward, MAIL)
    [mail] = onward.api.get("/deliveries").json()["deliveries"]
    assert (mail["kind"], mail["state"], mail["to"], mail["subject"]) == ("email", "QUEUED", customer["email"], "Hello")
    assert onward.execution(automation)["status"] == "completed"
    assert onward.execution(automation)["steps"][0]["delivery"] == mail["id"]


def test_stp_12_months_days_hours_and_minutes(onward: Outside) -> None:
    wait = "{id: w, type: WAIT, months: 1, days: 2, hours: 3, minutes: 4}"
    made = onward.make(f"name: W\n{SIGN}steps: [{wait}, {task('after')}]")
    answer = onward.api.post(f"/automations/{made['id']}/test", {"at": "2025-01-15T10:00:00Z"}).json()
    assert answer["steps"][0]["endedAt"] == "2025-02-17T13:04:00.000Z"


def test_stp_13_and_17_an_event_of_this_customer(onward: Outside) -> None:
    automation, customer = started(onward, f"{{id: w, type: wait_until, event: demo_booked}}, {task('after')}")
    onward.emit("demo_booked", onward.customer()["id"])
    onward.work()
    assert onward.execution(automation)["runStatus"] == "WAITING_FOR_EVENT"
    event = onward.emit("demo_booked", customer["id"])
    onward.work()
    run = onward.execution(automation)
    assert (run["steps"][0]["output"]["outcome"], run["steps"][0]["output"]["event"]) == ("event", event)
    assert onward.steps(automation) == ["w", "after"]


@pytest.mark.parametrize("event", ["email_opened", "email_clicked"])
def test_stp_14_and_15_the_latest_mail(onward: Outside, event: str) -> None:
    automation, customer = started(onward, f"{MAIL}, {{id: w, type: wait_until, event: {event}}}, {task('after')}")
    mine = Delivery.objects.get(customer_id=int(customer["id"].removeprefix("cus_")))
    Delivery.objects.filter(pk=mine.pk).update(state="SENT", sent_at=evaluation_now(), due_at=None)
    stranger = onward.customer()
    onward.emit(event, stranger["id"])
    onward.work()
    assert onward.execution(automation)["runStatus"] == "WAITING_FOR_EVENT"
    onward.emit(event, delivery=f"dlv_{mine.pk}")
    onward.work()
    assert onward.steps(automation) == ["mail", "w", "after"]


def test_stp_16_a_page_view(onward: Outside) -> None:
    automation, customer = started(onward, f"{{id: w, type: wait_until, event: pageview}}, {task('after')}")
    onward.emit("pageview", onward.customer()["id"], payload={"path": "/pricing"})
    onward.work()
    assert onward.execution(automation)["runStatus"] == "WAITING_FOR_EVENT"
    onward.emit("pageview", customer["id"], payload={"path": "/pricing"})
    onward.work()
    assert onward.steps(automation) == ["w", "after"]


def test_stp_18_a_time_out_goes_on_too_and_without_one_it_waits_for_ever(onward: Outside) -> None:
    with_, _ = started(onward, f"{{id: w, type: wait_until, event: reply, timeout: 7d}}, {task('after')}")
    onward.pass_time("+7d")
    assert onward.execution(with_)["steps"][0]["output"]["outcome"] == "timeout"
    onward.api.post(f"/automations/{with_}/pause")
    without, _ = started(onward, "{id: w, type: wait_until, event: reply}")
    onward.pass_time("+400d")
    assert onward.execution(without)["runStatus"] == "WAITING_FOR_EVENT"


@pytest.mark.parametrize("comes", [True, False])
def test_stp_19_a_split_behind_a_wait(onward: Outside, comes: bool) -> None:
    steps = (
        "{id: w, type: wait_until, event: reply, timeout: 7d}, "
        f"{{id: c, type: condition, if: wait.outcome == 'event', then: [{task('came')}], else: [{task('late')}]}}"
    )
    automation, customer = started(onward, steps)
    if comes:
        onward.emit("reply", customer["id"])
        onward.work()
    onward.pass_time("+7d")
    assert onward.steps(automation) == ["w", "c", "came" if comes else "late"]


@pytest.mark.parametrize(("percent", "arm"), [(0, "b"), (100, "a")])
def test_stp_21_all_or_nobody(onward: Outside, percent: int, arm: str) -> None:
    automation, _ = started(
        onward, f"{{id: s, type: percentage_split, percent: {percent}, a: [{task('a')}], b: [{task('b')}]}}"
    )
    assert onward.steps(automation) == ["s", arm]


def test_stp_22_an_outsider_can_work_the_branch_out(onward: Outside) -> None:
    split = "{id: split, type: percentage_split, percent: 30, a: [{id: a, type: stop}], b: [{id: b, type: stop}]}"
    automation = onward.activate(f"name: S\n{SIGN}steps: [{split}]")
    for _number in range(20):
        onward.emit("sign", onward.customer()["id"])
    onward.work()
    for row in onward.executions(automation):
        step = onward.api.get(f"/executions/{row['id']}").json()["steps"][0]
        bucket = int.from_bytes(hashlib.sha256(f"{row['id']}split".encode()).digest(), "big") % 100
        assert (step["output"]["bucket"], step["port"]) == (bucket, "a" if bucket < 30 else "b")


def test_stp_23_the_same_customer_takes_the_same_branch_again(onward: Outside) -> None:
    split = "{id: split, type: percentage_split, percent: 50, a: [{id: a, type: stop}], b: [{id: b, type: stop}]}"
    automation = onward.activate(f"name: S\n{SIGN}steps: [{split}]")
    customers = [onward.customer()["id"] for _ in range(6)]
    for _round in range(3):
        for customer in customers:
            onward.emit("sign", customer)
        onward.work()
    arms: dict[str, set[str]] = {}
    for row in onward.executions(automation, "?limit=100"):
        step = onward.api.get(f"/executions/{row['id']}").json()["steps"][0]
        arms.setdefault(row["profileId"], set()).add(step["port"])
    assert len(arms) == 6
    assert all(len(ports) == 1 for ports in arms.values())


def test_stp_24_a_daily_schedule_acts_on_each_record(onward: Outside) -> None:
    buyer = make_customer(onward.workspace)
    for total in ("10.00", "200.00", "300.00"):
        make_invoice(buyer, total=total)
    loop = (
        "{type: loop, over: {query: invoices, where: invoice.total > 100}, as: late, "
        "steps: [{type: action, action: create_task, message: '{{late.total}} of {{late.customer.name}}'}]}"
    )
    automation = onward.activate(f"name: Daily\ntrigger: {{type: schedule, interval: 24h}}\nsteps: [{loop}]")
    onward.pass_time("+24h")
    assert onward.execution(automation)["status"] == "completed"
    assert onward.tasks() == ["200.00 of Ana Ruiz", "300.00 of Ana Ruiz"]


def test_stp_25_arms_that_meet_again_run_what_follows_once(onward: Outside) -> None:
    steps = f"{{id: c, type: condition, if: trigger.seats > 5, then: [{task('yes')}], else: [{task('no')}]}}, {MAIL}"
    automation, _ = started(onward, steps, {"seats": 9})
    assert onward.steps(automation) == ["c", "yes", "mail"]
    assert len(onward.api.get("/deliveries").json()["deliveries"]) == 1


@pytest.mark.parametrize(
    ("step", "wakes"),
    [
        ("{id: d, type: delay, until: '2030-01-01T09:00:00Z'}", datetime(2030, 1, 1, 9, tzinfo=UTC)),
        ("{id: d, type: delay, anchor: due_date, offset: -3d, at: '08:00'}", datetime(2029, 12, 28, 8, tzinfo=UTC)),
    ],
)
def test_delays_until_a_moment_and_around_an_anchor(onward: Outside, step: str, wakes: datetime) -> None:
    invoice = make_invoice(make_customer(onward.workspace), due=datetime(2029, 12, 31, 12, tzinfo=UTC))
    automation = onward.activate(f"name: D\ntrigger: {{type: event, event: payment.failed}}\nsteps: [{step}]")
    onward.emit("payment.failed", invoice=invoice.public_id, payload={"failureCount": 1})
    onward.work()
    zone = Workspace.objects.get(pk=onward.workspace.pk).time_zone
    assert zone == "UTC"
    assert onward.execution(automation)["nextStepAt"] == wakes.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_run_13_an_edit_of_the_customer_is_read_at_the_moment_of_use(onward: Outside) -> None:
    steps = "{type: delay, duration: 1d}, {id: t, type: action, action: create_task, message: '{{customer.name}}'}"
    _, customer = started(onward, steps)
    onward.api.patch(f"/customers/{customer['id']}", {"name": "Renamed"})
    onward.pass_time("+1d")
    assert onward.tasks() == ["Renamed"]


def test_a_merged_customer_keeps_the_run(onward: Outside) -> None:
    automation, customer = started(onward, f"{{type: delay, duration: 1d}}, {task('after')}")
    survivor = onward.customer()
    assert onward.api.post(f"/customers/{customer['id']}/merge", {"into": survivor["id"]}).status_code == 200
    onward.pass_time("+1d")
    assert onward.execution(automation)["profileId"] in {survivor["id"], customer["id"]}
    assert onward.execution(automation)["status"] == "completed"
    assert Customer.objects.filter(merged_into__isnull=False).count() == 1


def test_exe_02_and_05_labels_and_messages_of_runs(onward: Outside) -> None:
    automation = onward.activate(
        f"name: F\n{SIGN}steps: [{{id: t, type: action, action: add_tag, tag: '{{{{trigger.none}}}}'}}]"
    )
    onward.emit("sign", onward.customer()["id"])
    onward.work()
    run = onward.execution(automation)
    assert run["error"]["message"] == run["steps"][0]["error"]["message"]
    assert run["error"]["message"].endswith(".") or run["error"]["message"]
    assert [row["id"] for row in onward.executions(automation, "?status=failed")] == [run["id"]]


def test_a_note_and_a_position_change_nothing_that_runs(onward: Outside) -> None:
    made = onward.make(f"name: N\n{SIGN}steps: [{{id: d, type: stop, note: Why, position: {{x: 3, y: 4}}}}]")
    here = f"/automations/{made['id']}"
    node = onward.api.get(f"{here}/draft").json()["definition"]["nodes"][0]
    assert (node["note"], node["position"]) == ("Why", {"x": 3, "y": 4})
    moved = f"name: N\n{SIGN}steps: [{{id: d, type: stop, note: Why, position: {{x: 9, y: 9}}}}]"
    assert onward.api.put(f"{here}/draft", moved, content_type=YAML).json()["definition"]["nodes"][0]["position"] == {
        "x": 9,
        "y": 9,
    }
