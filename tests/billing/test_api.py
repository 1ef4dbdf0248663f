"""REST of billing (CONTRACTS 8): what is made can be read, changes follow the rules, foreign things do not exist."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Workspace
from billing.models import Invoice, Payment, Product, Subscription
from tests.billing.helpers import (
    make_buyer,
    make_card,
    make_invoice,
    make_price,
    make_subscription,
    names_of,
    payments_of,
)
from tests.factories import ApiClient, make_api_client, make_workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace(time_zone="Europe/Berlin")


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    return make_api_client(workspace)


def created(answer: Any) -> dict[str, Any]:
    """The body of a 201."""
    assert answer.status_code == 201, answer.content
    body: dict[str, Any] = answer.json()
    return body


def done(answer: Any) -> dict[str, Any]:
    """The body of a 200."""
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The body of an error in the one shape."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body.keys() == {"code", "message", "details"}
    return body


def test_from_product_to_paid_invoice(api: ApiClient, workspace: Workspace) -> None:  # BIL-01 to 05, 09, 10, TRG-05
    product = created(api.post("/products", {"name": "Team plan", "externalId": "team"}))
    price = created(
        api.post(
            "/prices", {"product": {"externalId": "team"}, "amount": "129.00", "currency": "EUR", "interval": "yearly"}
        )
    )
    assert (price["product"], price["amount"], price["interval"]) == (product["id"], "129.00", "yearly")
    customer = created(api.post("/customers", {"email": "ana@example.com", "name": "Ana"}))
    card = created(api.post(f"/customers/{customer['id']}/payment-methods", {"card": "card_ok"}))
    assert (card["default"], card["test"], card["card"]) == (True, True, "card_ok")
    subscription = created(
        api.post(
            "/subscriptions",
            {"customer": {"email": "ana@example.com"}, "items": [{"price": price["id"], "quantity": 2}]},
        )
    )
    assert (subscription["status"], subscription["interval"]) == ("active", "yearly")
    assert subscription["items"] == [{"price": price["id"], "product": product["id"], "quantity": 2}]
    draft = created(
        api.post(
            "/invoices",
            {
                "customer": customer["id"],
                "subscription": subscription["id"],
                "currency": "eur",
                "lines": [{"description": "Team plan", "quantity": 2, "amount": "258.00", "product": product["id"]}],
                "dueDate": "2026-12-31",
                "collectionMethod": "send_invoice",
                "metadata": {"po": "4711"},
            },
        )
    )
    assert (draft["status"], draft["total"], draft["number"], draft["dueDate"]) == (
        "draft",
        "258.00",
        None,
        "2026-12-31",
    )
    assert draft["lines"][0]["productId"] == product["id"]
    issued = done(api.post(f"/invoices/{draft['id']}/finalize"))
    assert (issued["status"], issued["number"]) == ("open", "INV-0001")  # the API says open (C-14)
    part = created(api.post("/payments", {"invoice": draft["id"], "status": "succeeded", "amount": "58.00"}))
    assert (part["attempt"], part["amount"], part["invoice"]) == (1, "58.00", draft["id"])
    paid = done(api.post(f"/invoices/{draft['id']}/pay"))
    assert (paid["status"], paid["amountPaid"], paid["amountDue"]) == ("paid", "258.00", "0.00")
    assert paid["autoAdvance"] is False
    assert "invoice.paid" in names_of(workspace)


def test_a_failed_payment_is_recorded_with_its_reason(api: ApiClient, workspace: Workspace) -> None:  # TRG-07
    invoice = make_invoice(make_buyer(workspace))
    body = {
        "invoice": invoice.public_id,
        "status": "failed",
        "failureCode": "insufficient_funds",
        "failureReason": "Insufficient funds",
        "externalId": "ch_1",
    }
    payment = created(api.post("/payments", body))
    assert (payment["failureCount"], payment["attempt"], payment["failureCode"]) == (1, 1, "insufficient_funds")
    assert done(api.get(f"/invoices/{invoice.public_id}"))["failedCount"] == 1
    assert done(api.get("/payments?externalId=ch_1"))["payments"][0]["id"] == payment["id"]
    refused(api.post("/payments", body), 409, "conflict")


def test_an_idempotency_key_records_once(api: ApiClient, workspace: Workspace) -> None:
    invoice = make_invoice(make_buyer(workspace))
    body = {"invoice": invoice.public_id, "status": "failed"}
    first, again = (api.post("/payments", body, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(payments_of(invoice)) == 1


def test_an_invoice_can_be_changed_where_it_may(api: ApiClient, workspace: Workspace) -> None:  # BIL-02, BIL-10
    path = f"/invoices/{make_invoice(make_buyer(workspace), metadata={'a': '1'}).public_id}"
    changed = done(api.patch(path, {"metadata": {"b": "2"}, "autoAdvance": False, "dueDate": "2027-01-31"}))
    assert changed["metadata"] == {"a": "1", "b": "2"}
    assert (changed["autoAdvance"], changed["dueDate"], changed["dueAt"]) == (
        False,
        "2027-01-31",
        "2027-01-31T22:59:59.999Z",
    )
    assert done(api.patch(path, {"metadata": {"a": None}, "dueDate": None}))["dueDate"] is None
    assert done(api.patch(path, {"dueDate": "2027-01-31T10:00:00Z"}))["dueAt"] == "2027-01-31T10:00:00.000Z"
    unknown = refused(api.patch(path, {"autoadvance": True}), 422, "unknown_key")
    assert unknown["details"]["nearest"] == "autoAdvance"
    refused(api.patch(path, {"total": "1.00"}), 422, "unknown_key")  # amounts are fixed (BIL-05)


@pytest.mark.parametrize("status", ["paid", "void"])
@pytest.mark.parametrize("verb", ["finalize", "pay", "void", "mark_uncollectible"])
def test_forbidden_changes_are_conflicts(
    api: ApiClient, workspace: Workspace, status: str, verb: str
) -> None:  # BIL-03
    invoice = make_invoice(make_buyer(workspace), status=status)
    body = refused(api.post(f"/invoices/{invoice.public_id}/{verb}"), 409, "wrong_state")
    assert invoice.public_id in body["message"]
    assert Invoice.objects.get(pk=invoice.pk).status == status


def test_a_subscription_is_activated_and_cancelled(api: ApiClient, workspace: Workspace) -> None:  # TRG-09, TRG-10
    buyer = make_buyer(workspace)
    price = make_price(workspace)
    made = created(
        api.post(
            "/subscriptions",
            {"customer": buyer.public_id, "items": [{"price": price.public_id}], "trialEnd": "2099-01-01T00:00:00Z"},
        )
    )
    path = f"/subscriptions/{made['id']}"
    assert (made["status"], made["willRenew"], made["trialEnd"]) == ("trialing", True, "2099-01-01T00:00:00.000Z")
    assert done(api.post(f"{path}/activate"))["status"] == "active"
    refused(api.post(f"{path}/activate"), 409, "wrong_state")
    later = done(api.post(f"{path}/cancel", {"at": "period_end"}))
    assert (later["status"], later["willRenew"], later["cancelAt"] is not None) == ("active", False, True)
    assert done(api.post(f"{path}/cancel"))["status"] == "canceled"
    refused(api.post(f"{path}/cancel", {"at": "now"}), 409, "wrong_state")
    refused(api.post(f"{path}/cancel", {"at": "never"}), 422, "invalid")
    assert done(api.get(f"/customers/{buyer.public_id}"))["subscriptionStatus"] == "canceled"


def test_lists_are_filtered_and_paged(api: ApiClient, workspace: Workspace) -> None:
    buyer, other = make_buyer(workspace), make_buyer(workspace)
    ids = [make_invoice(buyer).public_id for _ in range(3)]
    make_invoice(other, status="paid")
    make_invoice(other, due=None, status="draft")

    def found(query: str) -> list[str]:
        return [row["id"] for row in done(api.get(f"/invoices?{query}"))["invoices"]]

    assert found(f"customer={buyer.public_id}") == ids[::-1]
    assert found("status=unpaid") == found("status=open") == ids[::-1]
    assert found("status=overdue") == []
    page = done(api.get("/invoices?limit=2"))
    rest = done(api.get(f"/invoices?limit=100&cursor={page['nextCursor']}"))
    assert (len(page["invoices"]), len(rest["invoices"]), rest["nextCursor"]) == (2, 3, None)
    refused(api.get("/invoices?status=late"), 422, "invalid")
    refused(api.get("/invoices?stauts=open"), 422, "unknown_key")
    refused(api.get("/subscriptions?status=gone"), 422, "invalid")
    refused(api.get("/payments?status=gone"), 422, "invalid")


def test_other_lists_can_be_narrowed_too(api: ApiClient, workspace: Workspace) -> None:
    buyer = make_buyer(workspace)
    subscription, trial = make_subscription(buyer), make_subscription(make_buyer(workspace), status="past_due")
    invoice = make_invoice(buyer, subscription=subscription, status="paid")
    price = subscription.items.get().price
    make_card(buyer)
    assert len(done(api.get(f"/subscriptions?customer={buyer.public_id}"))["subscriptions"]) == 1
    assert done(api.get("/subscriptions?status=past_due"))["subscriptions"][0]["id"] == trial.public_id
    assert len(done(api.get(f"/invoices?subscription={subscription.public_id}"))["invoices"]) == 1
    assert len(done(api.get(f"/payments?invoice={invoice.public_id}&status=succeeded"))["payments"]) == 1
    assert len(done(api.get("/payments?status=failed"))["payments"]) == 0
    assert len(done(api.get(f"/prices?product=prod_{price.product_id}"))["prices"]) == 1
    assert len(done(api.get(f"/customers/{buyer.public_id}/payment-methods"))["paymentMethods"]) == 1


@pytest.mark.parametrize(
    "path", ["products", "prices", "subscriptions", "invoices", "payments", "customers/{cus}/payment-methods"]
)
def test_a_page_of_twenty_costs_as_many_queries_as_one_row(path: str, workspace: Workspace, api: ApiClient) -> None:
    path = f"/{path.format(cus=_fill(workspace, 1))}"

    def queries(limit: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            answer = done(api.get(f"{path}?limit={limit}"))
        rows = next(value for key, value in answer.items() if key != "nextCursor")
        assert len(rows) == limit
        return len(captured)

    queries(1)  # the first request of a key also notes that it was used
    one = queries(1)
    _fill(workspace, 20)
    assert queries(20) == one


def _fill(workspace: Workspace, count: int) -> str:
    """Rows of every kind, each of a buyer, product and subscription of its own; the newest cards are of one buyer."""
    for _ in range(count):
        buyer = make_buyer(workspace)
        make_invoice(buyer, subscription=make_subscription(buyer), status="paid")
    first = Payment.objects.filter(workspace=workspace).earliest("pk").invoice.customer
    for _ in range(count):
        make_card(first)
    return first.public_id


FOREIGN = [
    ("get", "/products/{prod}", None),
    ("get", "/prices/{price}", None),
    ("get", "/subscriptions/{sub}", None),
    ("post", "/subscriptions/{sub}/cancel", {}),
    ("post", "/subscriptions/{sub}/activate", {}),
    ("get", "/invoices/{inv}", None),
    ("patch", "/invoices/{inv}", {"metadata": {"a": "b"}}),
    ("post", "/invoices/{inv}/finalize", {}),
    ("post", "/invoices/{inv}/pay", {}),
    ("post", "/invoices/{inv}/void", {}),
    ("post", "/invoices/{inv}/mark_uncollectible", {}),
    ("get", "/payments/{pay}", None),
    ("get", "/customers/{cus}/payment-methods", None),
    ("post", "/customers/{cus}/payment-methods", {"card": "card_ok"}),
]


def stranger() -> dict[str, str]:
    """Ids of another workspace's objects."""
    buyer = make_buyer()
    subscription = make_subscription(buyer)
    invoice = make_invoice(buyer, subscription=subscription, status="paid")
    price = subscription.items.get().price
    return {
        "prod": f"prod_{price.product_id}",
        "price": price.public_id,
        "sub": subscription.public_id,
        "inv": invoice.public_id,
        "pay": payments_of(invoice)[0].public_id,
        "cus": buyer.public_id,
    }


@pytest.mark.parametrize(("method", "path", "body"), FOREIGN)
def test_foreign_and_unknown_ids_are_not_found(api: ApiClient, method: str, path: str, body: Any) -> None:
    call = getattr(api, method)
    arguments = [] if body is None else [body]
    unknown = {name: f"{name}_999999" for name in ("prod", "price", "sub", "inv", "pay", "cus")}
    nonsense = dict.fromkeys(unknown, "what")
    for ids in (stranger(), unknown, nonsense):
        refused(call(path.format(**ids), *arguments), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/prices", {"product": "{prod}", "amount": "1.00", "currency": "EUR"}),
        ("/subscriptions", {"customer": "{cus}", "items": [{"price": "{mine}"}]}),
        ("/subscriptions", {"customer": "{me}", "items": [{"price": "{price}"}]}),
        ("/invoices", {"customer": "{cus}", "currency": "EUR", "lines": [{"description": "x", "amount": "1"}]}),
        (
            "/invoices",
            {
                "customer": "{me}",
                "subscription": "{sub}",
                "currency": "EUR",
                "lines": [{"description": "x", "amount": "1"}],
            },
        ),
        (
            "/invoices",
            {
                "customer": "{me}",
                "currency": "EUR",
                "lines": [{"description": "x", "amount": "1", "product": "{prod}"}],
            },
        ),
        ("/payments", {"invoice": "{inv}", "status": "failed"}),
        ("/payments", {"invoice": {"externalId": "nowhere"}, "status": "failed"}),
    ],
)
def test_a_body_cannot_name_foreign_objects(api: ApiClient, workspace: Workspace, path: str, body: Any) -> None:
    ids = stranger() | {"me": make_buyer(workspace).public_id, "mine": make_price(workspace).public_id}
    before = Invoice.objects.count(), Subscription.objects.count(), Payment.objects.count()
    refused(api.post(path, _filled(body, ids)), 422, "unknown_reference")
    assert (Invoice.objects.count(), Subscription.objects.count(), Payment.objects.count()) == before


def _filled(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, ids) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, ids) for item in value]
    return value.format(**ids) if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/products", {}),
        ("/products", {"name": ""}),
        ("/products", []),
        ("/prices", {"product": "prod_1", "amount": True, "currency": "EUR"}),
        ("/prices", {"product": 7, "amount": "1.00", "currency": "EUR"}),
        ("/invoices", {"customer": "{me}", "currency": "EUR", "lines": []}),
        ("/invoices", {"customer": "{me}", "currency": "EUR", "lines": [{"description": "x", "amount": "1.005"}]}),
        ("/invoices", {"customer": "{me}", "currency": "EUR", "lines": [{"description": "x", "amount": {}}]}),
        (
            "/invoices",
            {"customer": "{me}", "currency": "EUR", "lines": [{"description": "x", "amount": "1", "quantity": 0}]},
        ),
        (
            "/invoices",
            {
                "customer": "{me}",
                "currency": "EUR",
                "dueDate": "31.12.2026",
                "lines": [{"description": "x", "amount": "1"}],
            },
        ),
        (
            "/invoices",
            {
                "customer": "{me}",
                "currency": "EUR",
                "dueDate": "9999-12-31",
                "lines": [{"description": "x", "amount": "1"}],
            },
        ),
        (
            "/invoices",
            {"customer": "{me}", "currency": "EUR", "dueDate": 5, "lines": [{"description": "x", "amount": "1"}]},
        ),
        ("/invoices", {"customer": "{me}", "currency": "€", "lines": [{"description": "x", "amount": "1"}]}),
        (
            "/invoices",
            {
                "customer": "{me}",
                "currency": "EUR",
                "metadata": {"a": ["b"]},
                "lines": [{"description": "x", "amount": "1"}],
            },
        ),
        ("/subscriptions", {"customer": "{me}", "items": []}),
        ("/subscriptions", {"customer": "{me}", "items": [{"price": "{mine}"}], "trialEnd": "2000-01-01T00:00:00Z"}),
        ("/payments", {"invoice": "inv_1", "status": "maybe"}),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_in_the_one_shape(
    api: ApiClient, workspace: Workspace, path: str, body: Any
) -> None:
    ids = {"me": make_buyer(workspace).public_id, "mine": make_price(workspace).public_id}
    answer = refused(api.post(path, _filled(body, ids)), 422, "invalid")
    assert answer["message"]
    assert not Invoice.objects.exists()
    assert Product.objects.count() == 1


@pytest.mark.parametrize("scopes", [["read"], ["customers", "events", "operate", "edit"]])
def test_changing_needs_the_scope_billing(workspace: Workspace, scopes: list[str]) -> None:
    client = make_api_client(workspace, scopes=scopes)
    invoice = make_invoice(make_buyer(workspace))
    for path in (
        "/products",
        "/prices",
        "/subscriptions",
        "/invoices",
        "/payments",
        f"/invoices/{invoice.public_id}/void",
    ):
        refused(client.post(path, {}), 403, "scope_missing")
    assert Invoice.objects.get().status == "open"


def test_reading_needs_a_key(workspace: Workspace) -> None:
    for path in ("/products", "/prices", "/subscriptions", "/invoices", "/payments"):
        refused(ApiClient().get(path), 401, "unauthenticated")


def test_a_charge_is_not_made_by_the_web_server(api: ApiClient, workspace: Workspace) -> None:
    """`/pay` records that money came in elsewhere; only workers call outside (CONTRACTS 2)."""
    buyer = make_buyer(workspace)
    make_card(buyer, "card_decline_hard")
    invoice = make_invoice(buyer)
    assert done(api.post(f"/invoices/{invoice.public_id}/pay"))["status"] == "paid"
    assert payments_of(invoice)[0].method is None
