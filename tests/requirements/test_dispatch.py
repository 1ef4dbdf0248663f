"""Priorities and dispatch, tried from outside (PRI-01, 02, 09, 10, 12, 13), and what the sources miss (MIS-02, 05, 06)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.outside import YAML, Outside
from tests.requirements.flows import TASK, flow
from tests.requirements.shop import issued, on, post, read, stage

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
OVERDUE = "billing.invoice_overdue"


def overdue(onward: Outside, *totals: str) -> list[dict[str, Any]]:
    """Invoices that are sent to new customers and pass their due dates."""
    invoices = [
        issued(onward, onward.customer(), total, collectionMethod="send_invoice", dueDate="2030-01-10")
        for total in totals
    ]
    onward.work()
    onward.pass_time("2030-01-12T00:00:00Z")
    return invoices


def activate(onward: Outside, *filters: str) -> list[str]:
    """An automation on “Invoice is overdue” for each filter; "" has none."""
    return [onward.activate(on(OVERDUE, head=f"filter: {source}\n" if source else "")) for source in filters]


def amounts(onward: Outside, automation: str) -> list[str]:
    """Totals of the invoices that its runs are about."""
    rows = onward.executions(automation)
    return [read(onward, f"/invoices/{row['subject']['invoice']}")["total"] for row in rows]


def test_pri_01_one_event_triggers_only_one(onward: Outside) -> None:  # PRI-01
    activate(onward, "", "", "")
    overdue(onward, "129.00")
    assert len(onward.api.get("/executions").json()["executions"]) == 1


def test_pri_02_the_first_match_in_priority_order_runs(onward: Outside) -> None:  # PRI-02
    ids = activate(onward, "invoice.amount > 1000", "invoice.amount > 100", "")
    overdue(onward, "2000.00", "500.00", "50.00")
    assert [amounts(onward, item) for item in ids] == [["2000.00"], ["500.00"], ["50.00"]]


def test_pri_09_a_new_one_is_placed_last(onward: Outside) -> None:  # PRI-09
    ids = activate(onward, "", "", "")
    assert [read(onward, f"/automations/{item}")["priority"] for item in ids] == [1, 2, 3]
    elsewhere = onward.activate(on("billing.subscription_payment_failed"))
    assert read(onward, f"/automations/{elsewhere}")["priority"] == 1  # per trigger
    moved = onward.api.put(f"/priorities/{OVERDUE}", {"order": [ids[2], ids[0], ids[1]]})
    assert moved.status_code == 200, moved.content
    [new] = activate(onward, "")
    found = {item: read(onward, f"/automations/{item}")["priority"] for item in (*ids, new)}
    assert [found[item] for item in (ids[2], ids[0], ids[1], new)] == sorted(set(found.values()))


@pytest.mark.parametrize("state", ["PAUSED", "DRAFT"])
def test_pri_10_only_active_ones_take_part(onward: Outside, state: str) -> None:  # PRI-10
    if state == "PAUSED":
        [first] = activate(onward, "")
        post(onward, f"/automations/{first}/pause", {"inFlight": "finish"}, 200)
    else:
        first = str(onward.make(on(OVERDUE))["id"])
    [second] = activate(onward, "")
    before = read(onward, f"/automations/{first}")
    assert before["state"] == state
    overdue(onward, "129.00")
    assert (onward.executions(first), len(onward.executions(second))) == ([], 1)
    assert read(onward, f"/automations/{first}")["priority"] == before["priority"]


def test_pri_12_parallel_triggers_start_every_match(onward: Outside) -> None:  # PRI-12
    ids = [onward.activate(flow(TASK, event="subscription_trial")) for _ in range(5)]
    onward.emit("subscription_trial", onward.customer()["id"])
    onward.work()
    assert [len(onward.executions(item)) for item in ids] == [1] * 5


@pytest.mark.parametrize(
    ("total", "outcomes"),
    [("80.00", [("skipped", "filter"), ("skipped", "filter")]), ("150.00", [("skipped", "filter"), ("started", None)])],
)
def test_pri_13_the_decision_is_recorded(onward: Outside, total: str, outcomes: list[Any]) -> None:  # PRI-13
    ids = activate(onward, "invoice.amount > 1000", "invoice.amount > 100")
    overdue(onward, total)
    [event] = onward.api.get("/events?name=invoice.overdue").json()["events"]
    found = read(onward, f"/events/{event['id']}")
    assert [row["automation"] for row in found["decisions"]] == ids
    assert [row["priority"] for row in found["decisions"]] == [1, 2]
    assert [(row["outcome"], row["gate"]) for row in found["decisions"]] == outcomes
    assert "invoice.amount > 1000" in found["decisions"][0]["reason"]
    assert found["default"] == ("applied" if total == "80.00" else None)


def two_funnels(onward: Outside) -> list[tuple[dict[str, Any], str]]:
    """A customer and a stage of each of two funnels."""
    post(onward, "/funnels", {"name": "Partners", "slug": "partners"})
    post(onward, "/stages", {"funnel": "partners", "slug": "SIGNED"})
    return [(onward.customer(), "default/TRIAL"), (onward.customer(), "partners/SIGNED")]


@pytest.mark.parametrize(("scope", "entered"), [("global", 2), ("[default/TRIAL]", 1)])
def test_mis_02_a_global_automation_enrols_from_all_funnels(onward: Outside, scope: str, entered: int) -> None:
    # MIS-02
    automation = onward.activate(on("stage_enter", head=f"settings: {{scope: {scope}}}\n"))
    places = two_funnels(onward)
    for customer, name in places:
        stage(onward, customer, name)
    onward.work()
    profiles = {row["profileId"] for row in onward.executions(automation)}
    assert profiles == {customer["id"] for customer, _ in places[:entered]}


@pytest.mark.parametrize(("country", "rows"), [("DE", 0), ("US", 1)])
def test_mis_05_who_does_not_fit_has_no_run_at_all(onward: Outside, country: str, rows: int) -> None:  # MIS-05
    from automations.models import Run

    onward.activate(flow(TASK, head="filter: country in ['US']\n"))
    onward.emit("sign", onward.customer(country=country)["id"])
    onward.work()
    assert Run.objects.filter(workspace=onward.workspace).count() == rows


def test_mis_06_one_automation_for_two_stages(onward: Outside) -> None:  # MIS-06, C-06
    head = "settings: {scope: [default/TRIAL, default/CUSTOMER]}\n"
    automation = onward.activate(on("stage_enter", head=head))
    (_, _), (stranger, elsewhere) = two_funnels(onward)
    people = {name: onward.customer() for name in ("default/TRIAL", "default/CUSTOMER")}
    for name, customer in people.items():
        stage(onward, customer, name)
    stage(onward, stranger, elsewhere)
    onward.work()
    assert {row["profileId"] for row in onward.executions(automation)} == {one["id"] for one in people.values()}


@pytest.mark.parametrize("name", ["default/TRIAL", "default/CUSTOMER"])
def test_mis_06_it_counts_against_the_limit_of_each_stage(onward: Outside, name: str) -> None:  # MIS-06
    from accounts.models import Plan

    most = Plan.objects.get(slug="HOBBY").stage_automations
    type(onward.workspace).objects.filter(pk=onward.workspace.pk).update(plan="HOBBY")
    both = "settings: {scope: [default/TRIAL, default/CUSTOMER]}\n"
    onward.activate(flow(TASK, head=both))
    for _ in range(most - 1):
        onward.activate(flow(TASK, head=f"settings: {{scope: [{name}]}}\n"))
    one_more = onward.api.post("/automations", flow(TASK, head=f"settings: {{scope: [{name}]}}\n"), YAML)
    assert (one_more.status_code, one_more.json()["code"]) == (403, "plan_limit")
    assert one_more.json()["details"]["stage"] == name
