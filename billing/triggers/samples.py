"""Samples of billing's triggers: what `trigger.*` shows, in the shape of CONTRACTS 7. `…/test` and the tests run on them."""

from __future__ import annotations

from typing import Any

OWNER = "mara@northwind.example"
CUSTOMER: dict[str, Any] = {
    "id": "cus_7",
    "name": "Ana Ruiz",
    "email": "ana@example.com",
    "segment": "enterprise",
    "country": "DE",
}
SUBSCRIPTION: dict[str, Any] = {
    "id": "sub_3",
    "status": "active",
    "interval": "monthly",
    "products": ["prod_1"],
    "currentPeriodEnd": "2026-12-20T09:00:00.000Z",
    "trialEnd": None,
    "cancelAt": None,
    "willRenew": True,
    "metadata": {},
}
INVOICE: dict[str, Any] = {
    "id": "inv_8",
    "number": "INV-0008",
    "status": "open",
    "total": "129.00",
    "amount": "129.00",
    "amountPaid": "0.00",
    "amountDue": "129.00",
    "currency": "EUR",
    "dueDate": "2026-11-30",
    "isOverdue": False,
    "collectionMethod": "charge_automatically",
    "autoAdvance": True,
    "attemptCount": 0,
    "failedCount": 0,
    "nextPaymentAttempt": None,
    "metadata": {},
    "lines": [{"description": "Team plan", "quantity": 1, "amount": "129.00", "productId": "prod_1"}],
}
PAYMENT: dict[str, Any] = {
    "id": "pay_31",
    "amount": "129.00",
    "currency": "EUR",
    "status": "failed",
    "failureCount": 1,
    "attempt": 1,
    "failureCode": "insufficient_funds",
    "failureReason": "Insufficient funds",
}


def invoice_sample(**changes: Any) -> dict[str, Any]:
    """An event of an invoice: its fields on top, the objects below."""
    invoice = {**INVOICE, **changes}
    return {**invoice, **_around(invoice, SUBSCRIPTION)}


def payment_sample(succeeded: bool = False) -> dict[str, Any]:
    """An event of a payment: its fields on top."""
    if succeeded:
        payment = {**PAYMENT, "status": "succeeded", "failureCount": 0, "failureCode": None, "failureReason": None}
        paid = {"status": "paid", "amountPaid": "129.00", "amountDue": "0.00", "autoAdvance": False, "attemptCount": 1}
        return {**payment, **_around({**INVOICE, **paid}, SUBSCRIPTION)}
    invoice = {**INVOICE, "attemptCount": 1, "failedCount": 1}
    return {**PAYMENT, **_around(invoice, {**SUBSCRIPTION, "status": "past_due"})}


def subscription_sample(**changes: Any) -> dict[str, Any]:
    """An event of a subscription: its fields on top."""
    subscription = {**SUBSCRIPTION, **changes}
    return {**subscription, "accountOwner": OWNER, "customer": CUSTOMER, "subscription": subscription}


def _around(invoice: dict[str, Any], subscription: dict[str, Any]) -> dict[str, Any]:
    return {"accountOwner": OWNER, "customer": CUSTOMER, "invoice": invoice, "subscription": subscription}
