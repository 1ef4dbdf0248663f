"""REST of billing keeps its own description: OpenAPI, idempotency, roles, paging, one shape of errors (CONTRACTS 1, 8)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from accounts.models import Audit, Idempotency, Workspace
from accounts.permissions import ROLES
from billing.models import Invoice, Payment, PaymentMethod, Price, Product, Subscription
from tests.billing.helpers import (
    events_of,
    make_buyer,
    make_card,
    make_invoice,
    make_price,
    make_subscription,
    payments_of,
)
from tests.factories import ApiClient, make_api_client, make_browser, make_workspace

pytestmark = pytest.mark.django_db

BILLING = re.compile(
    r"^/api/v1/(products|prices|subscriptions|invoices|payments|customers/\{customer\}/payment-methods)"
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MONEY = re.compile(r"-?\d+\.\d\d")


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    return make_api_client(workspace)


@pytest.fixture(scope="module")
def schema() -> Any:
    """The OpenAPI document of the whole installation."""
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(schema: Any) -> dict[tuple[str, str], Any]:
    """Billing's operations by method and path."""
    return {
        (method, path): operation
        for path, item in schema["paths"].items()
        if BILLING.match(path)
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    }


class Things:
    """One object of each kind, with the bodies that make others."""

    def __init__(self, workspace: Workspace, number: str = "1") -> None:
        self.buyer = make_buyer(workspace, external_id=f"C-{number}")
        self.card = make_card(self.buyer)
        self.subscription = make_subscription(self.buyer, external_id=f"S-{number}", metadata={"a": "b"})
        self.price = self.subscription.items.get().price
        self.invoice = make_invoice(
            self.buyer, subscription=self.subscription, status="paid", external_id=f"I-{number}"
        )
        self.open = make_invoice(self.buyer)
        self.draft = make_invoice(self.buyer, status="draft")
        self.payment = payments_of(self.invoice)[0]

    @property
    def paths(self) -> dict[str, str]:
        """A path of each readable object."""
        return {
            "product": f"/products/prod_{self.price.product_id}",
            "price": f"/prices/{self.price.public_id}",
            "subscription": f"/subscriptions/{self.subscription.public_id}",
            "invoice": f"/invoices/{self.invoice.public_id}",
            "payment": f"/payments/{self.payment.public_id}",
        }

    @property
    def changes(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Every change, as method, path and a body that is accepted."""
        line = {"description": "Plan", "amount": "10.00"}
        return [
            ("post", "/products", {"name": "Plan"}),
            ("post", "/prices", {"product": f"prod_{self.price.product_id}", "amount": "1.00", "currency": "EUR"}),
            ("post", f"/customers/{self.buyer.public_id}/payment-methods", {"card": "card_ok"}),
            ("post", "/subscriptions", {"customer": self.buyer.public_id, "items": [{"price": self.price.public_id}]}),
            ("post", f"/subscriptions/{self.subscription.public_id}/cancel", {"at": "period_end"}),
            ("post", "/invoices", {"customer": {"externalId": "C-1"}, "currency": "EUR", "lines": [line]}),
            ("patch", f"/invoices/{self.open.public_id}", {"metadata": {"a": "b"}}),
            ("post", f"/invoices/{self.draft.public_id}/finalize", {}),
            ("post", "/payments", {"invoice": self.open.public_id, "status": "failed"}),
            ("post", f"/invoices/{self.open.public_id}/mark_uncollectible", {}),
            ("post", f"/invoices/{self.open.public_id}/pay", {}),
            ("post", f"/invoices/{self.draft.public_id}/void", {}),
        ]


@pytest.fixture
def things(workspace: Workspace) -> Things:
    return Things(workspace)


def counts() -> tuple[int, ...]:
    """How many objects of each kind there are."""
    return tuple(model.objects.count() for model in (Product, Price, PaymentMethod, Subscription, Invoice, Payment))


def test_the_document_is_valid(schema: Any) -> None:
    validate_schema(schema)


def test_every_operation_is_described(schema: Any) -> None:
    found = operations(schema)
    assert len(found) == 24
    for (method, path), operation in found.items():
        assert operation["summary"], path
        assert operation["operationId"].split("_")[0] in (
            "products",
            "prices",
            "subscriptions",
            "invoices",
            "payments",
            "customers",
        )
        assert {"401", "403", "404"} <= set(operation["responses"]), path
        if method in ("post", "patch"):
            assert ("requestBody" in operation) is (path.split("/")[-1] not in WITHOUT_BODY), path
            assert {"409", "422"} <= set(operation["responses"]), path
            assert any(item["name"] == "Idempotency-Key" for item in operation["parameters"]), path


def shape(schema: Any, node: Any) -> Any:
    """A schema with its references followed; a null allowed on the way stays allowed."""
    nullable = False
    while "$ref" in node or ("allOf" in node and len(node["allOf"]) == 1):
        nullable = nullable or node.get("nullable", False)
        node = schema["components"]["schemas"][node["$ref"].split("/")[-1]] if "$ref" in node else node["allOf"][0]
    return {**node, "nullable": nullable or node.get("nullable", False)}


def assert_fits(schema: Any, node: Any, value: Any, where: str) -> None:
    """The value has exactly the declared keys, and a type that the document allows."""
    node = shape(schema, node)
    if value is None:
        assert node["nullable"] or "oneOf" in node, where
        return
    if node.get("type") == "object" and "properties" in node:
        assert set(value) == set(node["properties"]), where
        for key, item in value.items():
            assert_fits(schema, node["properties"][key], item, f"{where}.{key}")
    elif node.get("type") == "array":
        for index, item in enumerate(value):
            assert_fits(schema, node["items"], item, f"{where}[{index}]")
    elif "type" in node:
        kinds: dict[str, Any] = {"string": str, "boolean": bool, "integer": int, "object": dict, "number": (int, float)}
        assert isinstance(value, kinds[node["type"]]), where


@pytest.mark.parametrize("name", ["product", "price", "subscription", "invoice", "payment"])
def test_an_object_has_exactly_the_fields_of_the_document(
    schema: Any, api: ApiClient, things: Things, name: str
) -> None:
    node = operations(schema)[("get", f"/api/v1/{name}s/{{{name}}}")]["responses"]["200"]["content"][
        "application/json"
    ]["schema"]
    answer = api.get(things.paths[name])
    assert answer.status_code == 200
    assert_fits(schema, node, answer.json(), name)


@pytest.mark.parametrize("plural", ["products", "prices", "subscriptions", "invoices", "payments"])
def test_a_list_has_exactly_the_fields_of_the_document(
    schema: Any, api: ApiClient, things: Things, plural: str
) -> None:
    node = operations(schema)[("get", f"/api/v1/{plural}")]["responses"]["200"]["content"]["application/json"]["schema"]
    assert_fits(schema, node, api.get(f"/{plural}").json(), plural)
    methods = operations(schema)[("get", "/api/v1/customers/{customer}/payment-methods")]["responses"]["200"]
    answer = api.get(f"/customers/{things.buyer.public_id}/payment-methods").json()
    assert_fits(schema, methods["content"]["application/json"]["schema"], answer, "paymentMethods")


def test_every_change_answers_as_the_document_says(schema: Any, api: ApiClient, things: Things) -> None:
    found = operations(schema)
    for method, path, body in things.changes:
        template = re.sub(r"/(cus|sub|inv)_\d+", lambda match: _TEMPLATES[match[1]], f"/api/v1{path}")
        answer = getattr(api, method)(path, body)
        assert answer.status_code in (200, 201), (path, answer.content)
        content = found[(method, template)]["responses"][str(answer.status_code)]["content"]
        assert_fits(schema, content["application/json"]["schema"], answer.json(), path)


WITHOUT_BODY = {"finalize", "void", "mark_uncollectible", "activate"}
_TEMPLATES = {"cus": "/{customer}", "sub": "/{subscription}", "inv": "/{invoice}"}


def test_money_is_text_and_times_are_utc_with_milliseconds(api: ApiClient, things: Things) -> None:  # CONTRACTS 1
    invoice = api.get(things.paths["invoice"]).json()
    for name in ("total", "amount", "amountPaid", "amountDue"):
        assert MONEY.fullmatch(invoice[name]), name
    assert MONEY.fullmatch(invoice["lines"][0]["amount"])
    subscription = api.get(things.paths["subscription"]).json()
    for row, names in (
        (invoice, ("createdAt", "updatedAt", "finalizedAt", "paidAt")),
        (subscription, ("createdAt", "currentPeriodStart", "currentPeriodEnd")),
    ):
        for name in names:
            assert TIME.fullmatch(row[name]), name
    assert not [key for key in invoice if "_" in key or key != key.strip()]


def test_what_only_the_engine_reads_is_not_shown(api: ApiClient, things: Things) -> None:
    for path in things.paths.values():
        assert "changedByRun" not in api.get(path).content.decode()


def test_every_change_with_a_key_happens_once(
    api: ApiClient, workspace: Workspace, things: Things
) -> None:  # CONTRACTS 1
    for number, (method, path, body) in enumerate(things.changes):
        headers = {"Idempotency-Key": f"k{number}"}
        first = getattr(api, method)(path, body, headers=headers)
        assert first.status_code in (200, 201), (path, first.content)
        before, events = counts(), len(events_of(workspace))
        again = getattr(api, method)(path, body, headers=headers)
        assert (again.status_code, again.json()) == (first.status_code, first.json()), path
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (counts(), len(events_of(workspace))) == (before, events)
    assert Idempotency.objects.count() == len(things.changes)


def test_another_body_under_the_same_key_is_refused(api: ApiClient, things: Things) -> None:
    headers = {"Idempotency-Key": "k"}
    assert api.post("/products", {"name": "One"}, headers=headers).status_code == 201
    answer = api.post("/products", {"name": "Two"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert not Product.objects.filter(name="Two").exists()


def test_a_refused_change_under_a_key_may_be_mended_under_another(api: ApiClient, things: Things) -> None:
    path = f"/invoices/{things.invoice.public_id}/void"
    answers = [api.post(path, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert {answer.json()["code"] for answer in answers} == {"wrong_state"}
    assert Invoice.objects.get(pk=things.invoice.pk).status == "paid"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_member_may_do_what_the_role_allows(workspace: Workspace, things: Things, role: str) -> None:  # CONTRACTS 8
    browser = make_browser(workspace, role)
    for path in things.paths.values():
        assert browser.get(path).status_code == 200
    before = counts()
    for method, path, body in things.changes:
        answer = getattr(browser, method)(path, body)
        if "billing" in ROLES[role]:
            assert answer.status_code in (200, 201), (path, answer.content)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "role_missing"), path
            assert counts() == before


def test_changes_by_people_are_in_the_audit_log(workspace: Workspace, things: Things) -> None:
    browser = make_browser(workspace)
    before = set(Audit.objects.values_list("pk", flat=True))
    for method, path, body in things.changes:
        getattr(browser, method)(path, body)
    rows = Audit.objects.exclude(pk__in=before)
    assert {row.action for row in rows} == {
        *("product.create", "price.create", "payment_method.create", "subscription.create", "subscription.cancel"),
        *("invoice.create", "invoice.update", "invoice.finalize", "invoice.mark_uncollectible", "invoice.void"),
        "payment.record",
    }
    assert all(row.user_id is not None for row in rows)


@pytest.mark.parametrize("plural", ["products", "prices", "subscriptions", "invoices", "payments"])
def test_pages_join_without_gap_or_overlap(api: ApiClient, workspace: Workspace, plural: str) -> None:
    for number in range(5):
        Things(workspace, str(number))
    whole = [row["id"] for row in api.get(f"/{plural}?limit=100").json()[plural]]
    walked: list[str] = []
    query = "?limit=3"
    while True:
        answer = api.get(f"/{plural}{query}").json()
        walked += [row["id"] for row in answer[plural]]
        if answer["nextCursor"] is None:
            break
        query = f"?limit=3&cursor={answer['nextCursor']}"
    assert walked == whole
    assert len(set(whole)) == len(whole) >= 5
    assert [int(id.split("_")[1]) for id in whole] == sorted((int(id.split("_")[1]) for id in whole), reverse=True)


@pytest.mark.parametrize("plural", ["products", "prices", "subscriptions", "invoices", "payments"])
def test_a_row_that_comes_meanwhile_moves_no_page(api: ApiClient, workspace: Workspace, plural: str) -> None:
    for number in range(2):
        Things(workspace, str(number))
    first = api.get(f"/{plural}?limit=1").json()
    Things(workspace, "9")
    second = api.get(f"/{plural}?limit=1&cursor={first['nextCursor']}").json()
    ids = [int(page[plural][0]["id"].split("_")[1]) for page in (first, second)]
    assert ids[1] < ids[0]


@pytest.mark.parametrize("plural", ["products", "prices", "subscriptions", "invoices", "payments"])
@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=-1", "cursor=%00", "cursor=abc"])
def test_wrong_pages_are_refused(api: ApiClient, plural: str, query: str) -> None:
    answer = api.get(f"/{plural}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("delete", "/invoices/inv_1"),
        ("put", "/invoices/inv_1"),
        ("patch", "/payments/pay_1"),
        ("delete", "/products/prod_1"),
        ("get", "/invoices/inv_1/pay"),
        ("put", "/subscriptions"),
    ],
)
def test_what_does_not_exist_is_a_405(api: ApiClient, method: str, path: str) -> None:
    answer = getattr(api, method)(path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("body", ["{", "[", '{"name": "a", "name": "b"}', "NaN", ""])
def test_what_cannot_be_read_is_refused_and_nothing_written(api: ApiClient, body: str) -> None:
    answer = api.generic("POST", "/products", body, "application/json")
    assert answer.status_code in (400, 422)
    assert answer.json().keys() == {"code", "message", "details"}
    assert not Product.objects.exists()


def test_lists_show_only_the_own_workspace(api: ApiClient) -> None:
    Things(make_workspace())
    for plural in ("products", "prices", "subscriptions", "invoices", "payments"):
        assert api.get(f"/{plural}").json()[plural] == []


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("/products?externalId=none", "products"),
        ("/invoices?externalId=I-1", "invoices"),
        ("/subscriptions?externalId=S-1", "subscriptions"),
        ("/invoices?customer=cus_999999", "invoices"),
        ("/prices?product=prod_999999", "prices"),
    ],
)
def test_objects_are_found_by_their_external_id(api: ApiClient, things: Things, query: str, kind: str) -> None:
    rows = api.get(query).json()[kind]
    assert len(rows) == (1 if query.endswith("-1") else 0)


def test_a_price_of_a_customer_made_by_address(api: ApiClient, workspace: Workspace) -> None:
    buyer = make_buyer(workspace, email="Mixed@Example.com")
    price = make_price(workspace)
    body = {"customer": {"email": "mixed@example.COM"}, "items": [{"price": price.public_id}]}
    assert api.post("/subscriptions", body).json()["customer"]["id"] == buyer.public_id
