"""Objects of billing and customers over REST: one test for each requirement BIL-01 to 05, 09, 10, 12, 13 and 16."""

from __future__ import annotations

from typing import Any

import pytest

from billing.models import Invoice
from tests.api.outside import Outside
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import make_customer, owner_of
from tests.requirements.flows import PAUSE, TAG, TASK, enter, flow

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]
EXCLUSIVE = "billing.subscription_payment_failed"
LINES = [{"description": "Seats", "amount": "100.00"}, {"description": "Support", "quantity": 2, "amount": "20.00"}]


def draft(onward: Outside, customer: str | None = None, **fields: Any) -> dict[str, Any]:
    """A new invoice, a draft."""
    body = {"customer": customer or onward.customer()["id"], "currency": "EUR", "lines": LINES, **fields}
    answer = onward.api.post("/invoices", body)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def act(onward: Outside, invoice: dict[str, Any], verb: str) -> Any:
    return onward.api.post(f"/invoices/{invoice['id']}/{verb}")


def read(onward: Outside, invoice: dict[str, Any]) -> dict[str, Any]:
    return dict(onward.api.get(f"/invoices/{invoice['id']}").json())


def dunned(onward: Outside) -> Invoice:
    """An invoice of a subscription whose payment failed."""
    buyer = make_customer(onward.workspace)
    invoice = make_invoice(buyer, subscription=make_subscription(buyer), collection_method="charge_automatically")
    onward.api.post("/payments", {"invoice": invoice.public_id, "status": "failed", "failureCode": "card_declined"})
    onward.work()
    return invoice


@pytest.mark.parametrize(("method", "runs"), [("send_invoice", 1), ("charge_automatically", 0)])
def test_bil_01_the_collection_method(onward: Outside, method: str, runs: int) -> None:  # BIL-01
    automation = onward.activate(flow(PAUSE, event="billing.invoice_overdue"))
    invoice = draft(onward, collectionMethod=method)
    act(onward, invoice, "finalize")
    assert read(onward, invoice)["collectionMethod"] == method
    onward.emit("invoice.overdue", invoice=invoice["id"])
    onward.work()
    assert len(onward.executions(automation)) == runs


def test_bil_02_automatic_collection_can_be_turned_off(onward: Outside) -> None:  # BIL-02
    automation = onward.activate(flow(PAUSE, TASK, event=EXCLUSIVE))
    invoice = dunned(onward)
    answer = onward.api.patch(f"/invoices/{invoice.public_id}", {"autoAdvance": False})
    assert (answer.status_code, answer.json()["autoAdvance"]) == (200, False)
    onward.pass_time("+5d")
    assert (onward.execution(automation)["endReason"], onward.tasks()) == ("auto_advance_off", [])
    assert [row["status"] for row in onward.api.get("/payments").json()["payments"]] == ["failed"]


VERBS = [("finalize", "open"), ("pay", "paid"), ("void", "void"), ("mark_uncollectible", "uncollectible")]


@pytest.mark.parametrize(("verb", "status"), VERBS[1:])
def test_bil_03_the_status_follows(onward: Outside, verb: str, status: str) -> None:  # BIL-03
    invoice = draft(onward)
    assert invoice["status"] == "draft"
    assert act(onward, invoice, "finalize").json()["status"] == "open"
    assert act(onward, invoice, verb).json()["status"] == status == read(onward, invoice)["status"]


@pytest.mark.parametrize(
    ("before", "verb"),
    [((), "pay"), (("finalize", "pay"), "void"), (("finalize", "void"), "pay"), (("finalize", "pay"), "finalize")],
)
def test_bil_03_forbidden_changes_are_refused(onward: Outside, before: tuple[str, ...], verb: str) -> None:  # BIL-03
    invoice = draft(onward)
    for step in before:
        assert act(onward, invoice, step).status_code == 200
    known = read(onward, invoice)
    refused = act(onward, invoice, verb)
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert read(onward, invoice) == known


def test_bil_04_overdue_after_the_due_date_and_once(onward: Outside) -> None:  # BIL-04
    automation = onward.activate(flow(TAG, event="invoice.overdue"))
    invoice = draft(onward, collectionMethod="send_invoice")
    act(onward, invoice, "finalize")
    due = onward.api.patch(f"/invoices/{invoice['id']}", {"dueDate": "2999-01-05"}).json()
    assert (due["dueDate"], due["overdueAt"]) == ("2999-01-05", None)
    onward.work()
    assert onward.executions(automation) == []
    onward.pass_time("2999-01-07T00:00:00Z")
    assert read(onward, invoice)["overdueAt"] is not None
    onward.pass_time("+1d")
    assert [row["subject"]["invoice"] for row in onward.executions(automation)] == [invoice["id"]]


def test_bil_05_finalised_and_then_fixed(onward: Outside) -> None:  # BIL-05
    invoice = draft(onward)
    final = act(onward, invoice, "finalize").json()
    assert (final["status"], final["finalizedAt"] is not None, bool(final["number"])) == ("open", True, True)
    for change in ({"lines": []}, {"total": "1.00"}, {"currency": "USD"}):
        assert onward.api.patch(f"/invoices/{invoice['id']}", change).status_code == 422
    assert read(onward, invoice)["total"] == final["total"] == invoice["total"]


def test_bil_09_a_subscription(onward: Outside) -> None:  # BIL-09
    product = onward.api.post("/products", {"name": "Team plan"}).json()
    price = {"product": product["id"], "amount": "129.00", "currency": "EUR", "interval": "yearly"}
    made = onward.api.post("/prices", price)
    assert made.status_code == 201, made.content
    body = {"customer": onward.customer()["id"], "items": [{"price": made.json()["id"], "quantity": 3}]}
    answer = onward.api.post("/subscriptions", body)
    assert answer.status_code == 201, answer.content
    row = onward.api.get(f"/subscriptions/{answer.json()['id']}").json()
    assert (row["status"], row["interval"], row["items"][0]["product"]) == ("active", "yearly", product["id"])
    head = "filter: subscription.interval == 'yearly' and subscription.status == 'active'\n"
    automation = onward.activate(flow(TAG, event="renewed", head=head))
    monthly = make_subscription(make_customer(onward.workspace))
    for name in (row["id"], monthly.public_id):
        onward.emit("renewed", subscription=name)
    onward.work()
    assert [run["subject"]["subscription"] for run in onward.executions(automation)] == [row["id"]]


@pytest.mark.parametrize("kind", ["customers", "invoices"])
def test_bil_10_metadata_is_text_within_limits(onward: Outside, kind: str) -> None:  # BIL-10
    made = onward.customer() if kind == "customers" else draft(onward)
    address = f"/{kind}/{made['id']}"
    answer = onward.api.patch(address, {"metadata": {"tier": "gold", "po": "7"}})
    assert (answer.status_code, onward.api.get(address).json()["metadata"]) == (200, {"tier": "gold", "po": "7"})
    many = {f"key{number}": "x" for number in range(51)}
    for wrong in (many, {"tier": {"a": 1}}):
        assert onward.api.patch(address, {"metadata": wrong}).status_code == 422
    assert onward.api.get(address).json()["metadata"] == {"tier": "gold", "po": "7"}


def test_bil_10_filters_see_it_at_once(onward: Outside) -> None:  # BIL-10
    automation = onward.activate(flow(TAG, head="filter: customer.metadata.tier == 'gold'\n"))
    ana, bo = onward.customer(), onward.customer()
    onward.api.patch(f"/customers/{ana['id']}", {"metadata": {"tier": "gold"}})
    for person in (ana, bo):
        onward.emit("sign", person["id"])
    onward.work()
    assert [row["profileId"] for row in onward.executions(automation)] == [ana["id"]]


def test_bil_12_a_customer(onward: Outside) -> None:  # BIL-12
    owner = owner_of(onward.workspace).email
    made = onward.customer(name="Ana Ruiz", segment="enterprise", owner=owner)
    assert onward.api.post(f"/customers/{made['id']}/tags/vip").status_code in (200, 201)
    row = onward.api.get(f"/customers/{made['id']}").json()
    assert (row["name"], row["email"], row["segment"]) == ("Ana Ruiz", made["email"], "enterprise")
    assert (row["tags"], row["owner"], row["createdAt"] is not None) == (["vip"], owner, True)


def test_bil_13_a_profile(onward: Outside) -> None:  # BIL-13
    made = onward.customer(plan="pro", country="DE")
    onward.api.put(f"/customers/{made['id']}/stage", {"stage": "CUSTOMER", "bucket": "Churned"})
    enter_page = onward.api.post(
        "/events", {"name": "pageview", "customer": made["id"], "payload": {"url": "/pricing"}}
    )
    assert enter_page.status_code == 202
    onward.work()
    row = onward.api.get(f"/customers/{made['id']}").json()
    assert (row["plan"], row["country"], row["stage"], row["bucket"]) == ("pro", "DE", "CUSTOMER", "Churned")
    assert {"subscriptionStatus", "pageviewCount"} <= set(row)
    assert row["pageviewCount"] in (0, 1)


def test_bil_16_a_stage_is_entered_once(onward: Outside) -> None:  # BIL-16
    automation = onward.activate(flow(TAG, event="stage_enter"))
    ana = onward.customer()
    body = {"stage": "CUSTOMER", "bucket": "Churned"}
    answers = [onward.api.put(f"/customers/{ana['id']}/stage", body).json() for _ in range(2)]
    assert [answer["changed"] for answer in answers] == [True, False]
    assert answers[0]["at"] == answers[1]["at"]
    onward.work()
    assert [row["profileId"] for row in onward.executions(automation)] == [ana["id"]]
    assert [row["bucket"] for row in [onward.api.get(f"/customers/{ana['id']}").json()]] == ["Churned"]
    assert enter(onward)["id"] != ana["id"]
