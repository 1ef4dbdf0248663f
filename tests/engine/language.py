"""Names, data and an environment for the tests of expressions and templates: one customer, one open invoice, one failed payment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from automations.engine.expressions import Environment, Names, compile_expression, compile_template
from automations.engine.values import invoice_status

NOW = datetime(2026, 11, 20, 9, 14, 2, 120_000, tzinfo=UTC)
ZONE = "Europe/Berlin"

NAMES = Names(
    roots=frozenset({"customer", "invoice", "payment", "subscription", "event", "steps", "wait", "workspace", "run"}),
    aliases=(
        ("profile", ("customer",)),
        ("country", ("customer", "country")),
        ("bucket", ("customer", "bucket")),
        ("stage", ("customer", "stage")),
        ("pageview_count", ("customer", "pageviewCount")),
        ("email_opened", ("run", "emailOpened")),
        ("email_clicked", ("run", "emailClicked")),
    ),
)

DATA: Mapping[str, Any] = {
    "trigger": {
        "id": "pay_31",
        "amount": "129.00",
        "currency": "EUR",
        "status": "failed",
        "failureCount": 1,
        "attempt": 1,
        "failureReason": "Insufficient funds",
        "accountOwner": "mara@northwind.example",
        "customer": {"id": "cus_7", "name": "Ana Ruiz", "email": "ana@example.com", "segment": "enterprise"},
        "invoice": {"id": "inv_8", "status": "open", "total": "129.00", "dueDate": "2026-11-30"},
        "seats": 12,
    },
    "customer": {
        "id": "cus_7",
        "name": "Ana Ruiz",
        "email": "a@acme.test",
        "segment": "enterprise",
        "plan": "pro",
        "country": "US",
        "bucket": "Churned",
        "createdAt": datetime(2026, 1, 1, 23, 30, tzinfo=UTC),
        "tags": ["vip", "beta"],
        "metadata": {"cost_center": "K-12", "demo": "yes"},
        "subscriptionStatus": "active",
        "pageviewCount": 3,
        "nothing": None,
        "vip": True,
    },
    "invoice": {
        "id": "inv_8",
        "number": "INV-0008",
        "status": invoice_status("open"),
        "total": Decimal("1500.00"),
        "amount": Decimal("1500.00"),
        "currency": "EUR",
        "dueDate": date(2026, 11, 30),
        "isOverdue": False,
        "attemptCount": 2,
        "lines": [
            {"description": "Seat <b>", "quantity": 2, "amount": Decimal("500.00")},
            {"description": "Storage", "quantity": 1, "amount": Decimal("500.00")},
        ],
        "customer": {"name": "Ana Ruiz", "email": "a@acme.test"},
    },
    "payment": {"id": "pay_31", "amount": Decimal("129.00"), "status": "failed", "failureCount": 1},
    "steps": {
        "again": {"result": "declined"},
        "send_email": {"delivery": "dlv_9"},
        "send-mail": {"delivery": "dlv_10"},
    },
    "wait": {"outcome": "timeout"},
    "run": {"emailOpened": True, "emailClicked": False, "id": "exec_4"},
    "workspace": {"name": "Northwind Cloud", "currency": "EUR"},
}


def environment(data: Mapping[str, Any] | None = None, locale: str = "en", **roots: Any) -> Environment:
    """The environment of the data above, or of `data`, with single roots replaced."""
    return Environment({**(DATA if data is None else data), **roots}, NOW, ZONE, locale)


def value(source: str, env: Environment | None = None, names: Names = NAMES) -> Any:
    """The value of an expression."""
    return compile_expression(source, names).value(env or environment())


def holds(source: str, env: Environment | None = None, names: Names = NAMES) -> bool:
    """Whether an expression holds."""
    return compile_expression(source, names).test(env or environment())


def render(source: str, place: str = "text", env: Environment | None = None, names: Names = NAMES) -> str:
    """A rendered template."""
    return compile_template(source, names, place).render(env or environment())


def codes(env: Environment) -> list[str]:
    """The codes of the warnings so far."""
    return [warning.code for warning in env.warnings]
