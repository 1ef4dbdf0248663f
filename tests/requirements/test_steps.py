"""Steps, tried from outside: actions, conditions, branches, loops and joins (STP-01, 02, 04, 06 to 09, 20, 24, 25)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.outside import YAML, Outside
from tests.requirements.flows import TAG, TASK, deliveries, flow, mail
from tests.requirements.shop import say, visit_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def run(onward: Outside, text: str, **payload: Any) -> tuple[str, dict[str, Any]]:
    """Activate, let the event happen to a customer and work; the automation and its execution."""
    automation = onward.activate(text)
    onward.emit("sign", onward.customer()["id"], payload=payload)
    onward.work()
    return automation, onward.execution(automation)


def test_stp_01_an_action_has_one_log_entry(onward: Outside) -> None:  # STP-01
    automation, found = run(onward, flow(say("Call {{trigger.who}}", "call")), who="Ana")
    [row] = found["steps"]
    assert (row["type"], row["action"], row["stepId"], row["status"]) == ("action", "create_task", "call", "succeeded")
    assert row["input"]["message"] == "Call Ana"
    assert row["output"]["task"].startswith("task_")
    assert visit_of(onward, automation, "call") == row


@pytest.mark.parametrize(("seats", "arm", "port"), [(9, "many", "true"), (1, "few", "false")])
def test_stp_02_a_condition_runs_one_arm_and_says_which(onward: Outside, seats: int, arm: str, port: str) -> None:
    # STP-02 STP-20
    text = flow(
        "{id: asked, type: condition, if: trigger.seats > 5, "
        f"then: [{say('many', 'many')}], else: [{say('few', 'few')}]}}"
    )
    _, found = run(onward, text, seats=seats)
    assert [row["stepId"] for row in found["steps"]] == ["asked", arm]
    assert (found["steps"][0]["port"], found["steps"][0]["output"]["result"]) == (port, port == "true")
    assert onward.tasks() == [arm]


def loop(inner: str, form: str = "type: loop") -> str:
    return f"{{id: all, {form}, over: '{{{{trigger.items}}}}', as: item, steps: [{inner}]}}"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_stp_04_as_many_iterations_as_items(onward: Outside, count: int) -> None:  # STP-04
    text = flow(loop(say("{{loop.index}} {{item.name}}", "each")), say("after", "after"))
    _, found = run(onward, text, items=[{"name": f"n{number}"} for number in range(count)])
    assert found["status"] == "completed"
    inner = [row for row in found["steps"] if row["stepId"] == "each"]
    assert len({row["iteration"] for row in inner}) == len(inner) == count
    tasks = onward.tasks()
    assert [task.split()[-1] for task in tasks] == [*(f"n{number}" for number in range(count)), "after"]
    assert found["steps"][-1]["stepId"] == "after"


CASES = (
    "{{id: way, {form}, cases: [{{id: large, if: trigger.n > 10, then: [{large}]}}, "
    "{{id: middle, if: trigger.n > 5, then: [{middle}]}}], default: [{small}]}}"
)


@pytest.mark.parametrize("form", ["type: branch", "type: action, action: branch"])
@pytest.mark.parametrize(("number", "taken"), [(20, "large"), (7, "middle"), (1, "small")])
def test_stp_06_the_first_true_case_else_the_default(onward: Outside, form: str, number: int, taken: str) -> None:
    # STP-06
    arms = {name: say(name, f"do_{name}") for name in ("large", "middle", "small")}
    _, found = run(onward, flow(CASES.format(form=form, **arms)), n=number)
    assert [row["stepId"] for row in found["steps"]] == ["way", f"do_{taken}"]
    assert onward.tasks() == [taken]


@pytest.mark.parametrize("form", ["type: loop", "type: action, action: loop"])
def test_stp_07_either_spelling_of_a_loop(onward: Outside, form: str) -> None:  # STP-07
    _, found = run(onward, flow(loop(say("{{item}}", "each"), form)), items=["a", "b"])
    assert onward.tasks() == ["a", "b"]
    assert [row["stepId"] for row in found["steps"]].count("each") == 2


@pytest.mark.parametrize("form", ["type: stop", "type: action, action: stop"])
def test_stp_08_stop_ends_the_run(onward: Outside, form: str) -> None:  # STP-08
    _, found = run(onward, flow(f"{{id: halt, {form}}}", TASK))
    assert (found["runStatus"], found["endReason"]) == ("COMPLETED", "stopped")
    assert onward.tasks() == []


def test_stp_09_more_items_than_the_cap_fail_clearly(onward: Outside) -> None:  # STP-09
    _, found = run(onward, flow(loop(TAG)), items=list(range(1001)))
    assert found["status"] == "failed"
    assert "1000" in found["error"]["message"].replace(",", "").replace(" ", "")


def test_stp_09_a_delay_inside_resumes_in_the_same_iteration(onward: Outside) -> None:  # STP-09
    inner = (
        f"{say('before {{item}}', 'before')}, {{id: rest, type: delay, duration: 1d}}, {say('after {{item}}', 'late')}"
    )
    automation, found = run(onward, flow(loop(inner)), items=["a", "b"])
    assert (onward.tasks(), found["currentStepId"]) == (["before a"], "rest")
    onward.pass_time("+1d")
    assert onward.tasks() == ["before a", "after a", "before b"]
    onward.pass_time("+1d")
    assert onward.tasks() == ["before a", "after a", "before b", "after b"]
    assert onward.execution(automation)["status"] == "completed"


def test_stp_09_a_loop_is_one_node_of_an_acyclic_graph(onward: Outside) -> None:  # STP-09
    made = onward.make(flow(loop(TAG), TASK))
    graph = onward.api.get(f"/automations/{made['id']}/draft").json()["definition"]
    assert [node["type"] for node in graph["nodes"]].count("loop") == 1
    assert not [problem for problem in made["problems"] if problem["code"] == "cycle"]
    back = {**graph, "edges": [*graph["edges"], {"from": "tag", "port": "next", "to": "all"}]}
    codes = [row["code"] for row in onward.api.post("/automations/validate", back).json()["problems"]]
    assert {"cycle", "loop_border"} & set(codes)


@pytest.mark.parametrize(("plan", "way"), [("pro", "a"), ("hobby", "b")])
def test_stp_20_a_split_with_both_outputs_joined(onward: Outside, plan: str, way: str) -> None:  # STP-20
    split = (
        "{id: split, type: CONDITIONAL_SPLIT, condition: profile.plan == 'pro', "
        f"a: [{say('a', 'to_a')}], b: [{say('b', 'to_b')}]}}"
    )
    automation = onward.activate(flow(split))
    onward.emit("sign", onward.customer(plan=plan)["id"])
    onward.work()
    assert onward.steps(automation) == ["split", f"to_{way}"]
    assert onward.tasks() == [way]


def test_stp_24_a_loop_over_those_above_their_threshold(onward: Outside) -> None:  # STP-24
    for name, usage in (("Ana", 15), ("Bo", 5), ("Cy", 11)):
        onward.customer(name=name, metadata={"usage": str(usage), "threshold": "10"})
    over = "{query: customers, where: customer.metadata.usage > customer.metadata.threshold}"
    step = f"{{type: loop, over: {over}, as: one, steps: [{say('{{one.name}} = {{customer.name}}')}]}}"
    automation = onward.activate(f"name: D\ntrigger: {{type: schedule, interval: 24h}}\nsteps: [{step}]")
    onward.pass_time("+24h")
    assert onward.tasks() == ["Ana = Ana", "Cy = Cy"]
    assert onward.execution(automation)["status"] == "completed"


def test_stp_24_a_query_has_no_cap(onward: Outside) -> None:  # STP-24
    from accounts.clock import evaluation_now
    from accounts.models import Customer

    known: dict[str, Any] = {"workspace": onward.workspace, "segment": "bulk"}
    known |= dict.fromkeys(("created_at", "identified_at"), evaluation_now())
    Customer.objects.bulk_create(Customer(email=f"p{number}@x.test", **known) for number in range(1203))
    over = "{query: customers, where: customer.segment == 'bulk'}"
    step = f"{{type: loop, over: {over}, as: one, steps: [{{id: c, type: condition, if: one.email == 'none'}}]}}"
    automation = onward.activate(f"name: D\ntrigger: {{type: schedule, interval: 24h}}\nsteps: [{step}]")
    onward.pass_time("+24h")
    [found] = onward.executions(automation)
    assert found["status"] == "completed"
    assert found["stepsExecuted"] >= 1203


@pytest.mark.parametrize("seats", [1, 9])
def test_stp_25_arms_that_meet_again_send_once(onward: Outside, seats: int) -> None:  # STP-25
    arms = f"then: [{say('many', 'many')}], else: [{say('few', 'few')}]"
    _, found = run(
        onward, flow(f"{{id: asked, type: condition, if: trigger.seats > 5, {arms}}}", mail("joined")), seats=seats
    )
    assert [row["stepId"] for row in found["steps"]].count("joined") == 1
    assert [row["subject"] for row in deliveries(onward)] == ["joined"]


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        ("{type: SEND_EMAIL, subject: Hello}", "body"),
        ("{type: SEND_EMAIL, body: Hello}", "subject"),
        ("{type: SEND_EMAIL, subject: Hello, body: Hi}", "sender"),
    ],
)
def test_stp_11_what_a_mail_lacks_is_named(onward: Outside, step: str, missing: str) -> None:  # STP-11
    from automations.models import Sender

    if missing == "sender":
        Sender.objects.filter(workspace=onward.workspace).delete()
    answer = onward.api.post("/automations/validate", flow(step), content_type=YAML).json()
    assert answer["valid"] is False
    errors = [row for row in answer["problems"] if row["severity"] == "error"]
    assert any(missing in f"{row['path']} {row['message']}" for row in errors), errors


def test_stp_11_complete_it_is_fine(onward: Outside) -> None:  # STP-11
    step = "{type: SEND_EMAIL, subject: Hello, body: Hi}"
    assert onward.api.post("/automations/validate", flow(step), content_type=YAML).json()["valid"] is True


def test_stp_10_a_mail_is_rendered_and_queued(onward: Outside) -> None:  # STP-10
    automation = onward.activate(
        flow("{id: mail, type: SEND_EMAIL, subject: 'Hi {{customer.name}}', body: '<p>Plan {{customer.plan}}</p>'}")
    )
    ana = onward.customer(name="Ana", plan="pro")
    onward.emit("sign", ana["id"])
    onward.work()
    [row] = deliveries(onward)
    assert (row["state"], row["to"], row["subject"], row["stepId"]) == ("QUEUED", ana["email"], "Hi Ana", "mail")
    assert "<p>Plan pro</p>" in onward.api.get(f"/deliveries/{row['id']}").json()["body"]
    assert row["executionId"] == onward.execution(automation)["id"]
