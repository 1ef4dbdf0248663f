"""Conditions, tried from outside: one test for each requirement of area CND that this stage has."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.api.outside import YAML, Outside
from tests.requirements.flows import TAG, TASK, flow
from tests.requirements.shop import ask, call_up, draft, issue, issued, manual, on, post, read, settle_up, visit_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def verdicts(onward: Outside, condition: str, customers: list[dict[str, Any]], payloads: Any = None) -> list[bool]:
    """What a condition step says of each customer, with a payload for each where it reads one."""
    automation = onward.activate(flow(ask(condition)))
    for number, customer in enumerate(customers):
        onward.emit("sign", customer["id"], payload=payloads[number] if payloads else {})
    onward.work()
    rows = onward.executions(automation, "?limit=100")
    assert len(rows) == len(customers)
    logs = [read(onward, f"/executions/{row['id']}")["steps"] for row in reversed(rows)]
    assert all(len(log) == 1 and log[0]["status"] == "succeeded" for log in logs)
    return [log[0]["port"] == "true" for log in logs]


def people(onward: Outside, **field: list[Any]) -> list[dict[str, Any]]:
    """A customer for each value of one field."""
    [(name, values)] = field.items()
    return [onward.customer(**({} if value is None else {name: value})) for value in values]


@pytest.mark.parametrize(
    ("total", "segment", "runs"), [("2000.00", "enterprise", 1), ("900.00", "enterprise", 0), ("2000.00", "smb", 0)]
)
def test_cnd_01_entry_conditions_start_or_skip(onward: Outside, total: str, segment: str, runs: int) -> None:  # CND-01
    head = "filter: 'invoice.amount > 1000 AND customer.segment = \"enterprise\"'\n"
    automation = onward.activate(on("invoice.issued", head=head))
    issue(onward, draft(onward, onward.customer(segment=segment), total))
    onward.work()
    assert len(onward.executions(automation)) == runs
    [event] = onward.api.get("/events?name=invoice.issued").json()["events"]
    [told] = read(onward, f"/events/{event['id']}")["decisions"]
    assert (told["automation"], told["outcome"]) == (automation, "started" if runs else "skipped")
    assert told["gate"] == (None if runs else "filter")


@pytest.mark.parametrize(("path", "kind"), [("invoice.amount", "number"), ("customer.segment", "text")])
def test_cnd_02_fields_to_choose_from_are_typed(onward: Outside, path: str, kind: str) -> None:  # CND-02
    [field] = [row for row in read(onward, "/catalogue")["variables"] if row["path"] == path]
    assert field["type"] in {"number": ("number", "money", "decimal"), "text": ("text", "string")}[kind]
    assert field["label"]


def test_cnd_03_equals(onward: Outside) -> None:  # CND-03
    assert verdicts(onward, 'customer.segment == "enterprise"', people(onward, segment=["enterprise", "smb"])) == [
        True,
        False,
    ]


def test_cnd_04_greater_than(onward: Outside) -> None:  # CND-04
    automation = onward.activate(manual(ask("invoice.amount > 1000")))
    found = []
    for total in ("1000.01", "1000.00", "999.00"):
        made = call_up(onward, automation, invoice=issued(onward, onward.customer(), total)["id"])["execution"]
        onward.work()
        found.append(read(onward, f"/executions/{made['id']}")["steps"][0]["port"])
    assert found == ["true", "false", "false"]


def test_cnd_05_contains_of_a_text(onward: Outside) -> None:  # CND-05
    both = [onward.customer(email="a@acme.test"), onward.customer(email="a@x.test")]
    assert verdicts(onward, 'customer.email contains "@acme."', both) == [True, False]


def test_cnd_05_contains_of_a_list_is_membership(onward: Outside) -> None:  # CND-05
    both = [onward.customer(), onward.customer()]
    for customer, tag in zip(both, ("vip", "vip-candidate"), strict=True):
        assert onward.api.post(f"/customers/{customer['id']}/tags/{tag}").status_code in (200, 201)
    assert verdicts(onward, 'customer.tags contains "vip"', both) == [True, False]


def test_cnd_06_and_with_or_over_all_truth_values(onward: Outside) -> None:  # CND-06
    table = list(product([False, True], repeat=3))
    payloads = [{"a": a, "b": b, "c": c} for a, b, c in table]
    source = "trigger.a == true AND (trigger.b == true OR trigger.c == true)"
    ana = onward.customer()
    assert verdicts(onward, source, [ana] * 8, payloads) == [a and (b or c) for a, b, c in table]


@pytest.mark.parametrize("sign", ["=", "=="])
def test_cnd_07_one_or_two_equal_signs(onward: Outside, sign: str) -> None:  # CND-07
    three = people(onward, plan=["pro", "hobby", None])
    assert verdicts(onward, f'customer.plan {sign} "pro"', three) == [True, False, False]


def test_cnd_08_braces_give_the_typed_value(onward: Outside) -> None:  # CND-08
    counts = [{"failureCount": 1}, {"failureCount": 2}, {"failureCount": 10}]
    ana = onward.customer()
    assert verdicts(onward, "{{trigger.failureCount}} == 1", [ana] * 3, counts) == [True, False, False]
    assert verdicts(onward, "{{trigger.failureCount}} > 9", [ana] * 3, counts) == [False, False, True]  # as text: not


@pytest.mark.parametrize(("paid", "port"), [(False, "true"), (True, "false")])
def test_cnd_09_read_when_the_step_is_reached(onward: Outside, paid: bool, port: str) -> None:  # CND-09
    condition = "{id: asked, type: condition, if: \"{{invoice.status}} == 'unpaid'\"}"
    automation = onward.activate(on("invoice.issued", "{type: delay, duration: 3d}, " + condition))
    invoice = issued(onward, onward.customer())
    onward.work()
    if paid:
        settle_up(onward, invoice)
    onward.pass_time("+3d")
    assert visit_of(onward, automation, "asked")["port"] == port


@pytest.mark.parametrize("what", ["customer", "invoice"])
def test_cnd_18_metadata_is_set_read_back_and_seen_by_a_filter(onward: Outside, what: str) -> None:  # CND-18
    ana = onward.customer()
    thing = ana if what == "customer" else issued(onward, ana)
    automation = onward.activate(manual(TASK, f"filter: {what}.metadata.po == 'required'\n"))
    call_up(onward, automation, 409, **{what: thing["id"]})
    changed = onward.api.patch(f"/{what}s/{thing['id']}", {"metadata": {"po": "required"}})
    assert changed.status_code == 200, changed.content
    assert read(onward, f"/{what}s/{thing['id']}")["metadata"] == {"po": "required"}
    call_up(onward, automation, **{what: thing["id"]})


@pytest.mark.parametrize("opened", [True, False])
def test_cnd_19_whether_the_latest_mail_was_opened(onward: Outside, opened: bool) -> None:  # CND-19
    mail = "{id: mail, type: action, action: send_email, subject: Hello, body: Hi}"
    automation = onward.activate(flow(mail, "{type: delay, duration: 1d}", ask("email_opened == true")))
    ana = onward.customer()
    onward.emit("sign", ana["id"])
    onward.work()
    [sent] = onward.api.get("/deliveries").json()["deliveries"]
    if opened:
        onward.emit("email_opened", ana["id"], delivery=sent["id"])
    onward.pass_time("+1d")
    assert visit_of(onward, automation, "asked")["port"] == ("true" if opened else "false")


def test_cnd_20_how_many_pages_were_viewed(onward: Outside) -> None:  # CND-20
    three = [onward.customer() for _ in range(3)]
    for views, customer in zip((2, 3, 4), three, strict=True):
        seen = [{"name": "pageview", "customer": customer["id"], "payload": {"path": "/"}}] * views
        post(onward, "/events", {"events": seen}, 202)
    assert verdicts(onward, "pageview_count >= 3", three) == [False, True, True]


def test_cnd_21_one_of_several_countries(onward: Outside) -> None:  # CND-21
    three = people(onward, country=["US", "CA", "DE"])
    assert verdicts(onward, 'country in ["US", "CA"]', three) == [True, True, False]


def test_cnd_22_the_plan_of_the_profile(onward: Outside) -> None:  # CND-22
    assert verdicts(onward, 'profile.plan == "pro"', people(onward, plan=["pro", "hobby"])) == [True, False]


@pytest.mark.parametrize("quoted", ['"active"', "''active''"])  # doubled: within a YAML text of single quotes
def test_cnd_23_the_status_of_the_subscription_with_either_quotes(onward: Outside, quoted: str) -> None:  # CND-23
    from tests.requirements.shop import subscribe

    both = [onward.customer(), onward.customer()]
    subscribe(onward, both[0])
    subscribe(onward, both[1], trialEnd="2030-01-01T00:00:00Z")
    assert verdicts(onward, f"profile.subscriptionStatus == {quoted}", both) == [True, False]


def test_cnd_24_the_state_at_that_moment(onward: Outside) -> None:  # CND-24
    wait = "{type: WAIT, days: 1}"
    split = '{id: asked, type: CONDITIONAL_SPLIT, condition: profile.plan == "pro"}'
    automation = onward.activate(flow(wait, split))
    ana, bo = people(onward, plan=["hobby", "hobby"])
    for customer in (ana, bo):
        onward.emit("sign", customer["id"])
    onward.work()
    onward.api.patch(f"/customers/{ana['id']}", {"plan": "pro"})
    onward.pass_time("+1d")
    ports = {
        row["profileId"]: read(onward, f"/executions/{row['id']}")["steps"][-1]["port"]
        for row in onward.executions(automation)
    }
    assert ports == {ana["id"]: "true", bo["id"]: "false"}


@pytest.mark.parametrize(("plan", "taken"), [("pro", ["asked", "yes"]), ("hobby", ["asked", "no"])])
def test_cnd_25_exactly_one_way_is_taken(onward: Outside, plan: str, taken: list[str]) -> None:  # CND-25
    arms = ", ".join(
        f"{arm}: [{{id: {name}, type: action, action: add_tag, tag: {name}}}]"
        for arm, name in (("a", "yes"), ("b", "no"))
    )
    automation = onward.activate(
        flow(f'{{id: asked, type: CONDITIONAL_SPLIT, condition: profile.plan == "pro", {arms}}}')
    )
    ana = onward.customer(plan=plan)
    onward.emit("sign", ana["id"])
    onward.work()
    assert onward.steps(automation) == taken
    assert read(onward, f"/customers/{ana['id']}")["tags"] == taken[1:]


ACCEPTED = [
    'invoice.amount > 1000 AND customer.segment = "enterprise"',
    "{{trigger.failureCount}} == 1",
    "{{invoice.status}} == 'unpaid'",
    "email_opened == true",
    "pageview_count >= 3",
    "country in ['US', 'CA']",
    "country not in ['US', 'CA']",
    "profile.plan == 'pro'",
    'profile.subscriptionStatus == "active"',
    "NOT (customer.email contains '@acme.') OR customer.plan != 'pro'",
    "invoice.total < 10 and invoice.total <= 9",
]
REFUSED = [
    "len(customer.name) > 3",
    "customer.__class__ == 1",
    "customer.name.__init__",
    "customer.plan := 'pro'",
    "customer.name.upper() == 'ANA'",
    "__import__('os')",
    "[x for x in customer.tags]",
    "lambda: 1",
]


def problems_of(onward: Outside, place: str, source: str) -> list[str]:
    """Codes of the problems of a definition with an expression in one place."""
    head: dict[str, Any] = {"name": "E", "trigger": {"type": "event", "event": "payment.failed"}}
    steps: list[dict[str, Any]] = [{"type": "action", "action": "create_task", "message": "x"}]
    if place == "filter":
        head["filter"] = source
    elif place == "if":
        steps = [{"type": "condition", "if": source, "then": steps}]
    else:
        steps = [{"type": "CONDITIONAL_SPLIT", "condition": source, "a": steps}]
    answer = onward.api.post("/automations/validate", head | {"steps": steps})
    assert answer.status_code == 200, answer.content
    return [row["code"] for row in answer.json()["problems"] if row["severity"] == "error"]


@pytest.mark.parametrize("place", ["filter", "if", "split"])
def test_cnd_26_one_language_everywhere(onward: Outside, place: str) -> None:  # CND-26
    assert {source: problems_of(onward, place, source) for source in ACCEPTED} == {source: [] for source in ACCEPTED}
    refused = {source: problems_of(onward, place, source) for source in REFUSED}
    assert all(codes == ["bad_expression"] for codes in refused.values()), refused


@pytest.mark.parametrize(("sign", "port"), [("==", "false"), ("!=", "true"), (">", "false"), ("<", "false")])
def test_cnd_27_a_missing_field_fails_no_run(onward: Outside, sign: str, port: str) -> None:  # CND-27
    automation = onward.activate(flow(ask(f'profile.plan {sign} "pro"')))
    onward.emit("sign", onward.customer()["id"])
    onward.work()
    row = visit_of(onward, automation, "asked")
    assert (row["status"], row["port"], onward.execution(automation)["status"]) == ("succeeded", port, "completed")
    assert any("profile.plan" in warning["message"] for warning in row["warnings"])


@pytest.mark.parametrize("where", ["bucket=Churned", 'bucket == "Churned"'])
def test_cnd_28_a_bare_word_is_text_and_is_pointed_out(onward: Outside, where: str) -> None:  # CND-28
    head = f"trigger: {{type: event, event: stage_enter, stage: CUSTOMER, where: '{where}'}}"
    answer = onward.api.post("/automations/validate", f"name: W\n{head}\nsteps: [{TAG}]", content_type=YAML).json()
    assert answer["valid"], answer
    assert ("bare_word" in [row["code"] for row in answer["problems"]]) is ("=C" in where)
