"""Billing over REST, for the acceptance tests: a customer's invoices, payments and subscriptions, and what they set off."""

from __future__ import annotations

from typing import Any

from tests.api.outside import Outside
from tests.requirements.flows import TASK


def post(onward: Outside, path: str, body: Any = None, status: int = 201) -> dict[str, Any]:
    """A POST that has to be answered with `status`."""
    answer = onward.api.post(path, body)
    assert answer.status_code == status, answer.content
    return dict(answer.json())


def read(onward: Outside, path: str) -> dict[str, Any]:
    """A GET that has to find something."""
    answer = onward.api.get(path)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def draft(onward: Outside, customer: dict[str, Any], total: str = "129.00", **fields: Any) -> dict[str, Any]:
    """A draft invoice of one line."""
    lines = [{"description": "Team plan", "amount": total}]
    return post(onward, "/invoices", {"customer": customer["id"], "currency": "EUR", "lines": lines, **fields})


def issue(onward: Outside, invoice: dict[str, Any]) -> dict[str, Any]:
    """Finalise a draft."""
    return post(onward, f"/invoices/{invoice['id']}/finalize", status=200)


def issued(onward: Outside, customer: dict[str, Any], total: str = "129.00", **fields: Any) -> dict[str, Any]:
    """An open invoice."""
    return issue(onward, draft(onward, customer, total, **fields))


def decline(onward: Outside, invoice: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A payment made elsewhere that failed."""
    body = {"invoice": invoice["id"], "status": "failed", "failureCode": "insufficient_funds", **fields}
    return post(onward, "/payments", body)


def settle_up(onward: Outside, invoice: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A payment made elsewhere that covers all that is due."""
    return post(onward, "/payments", {"invoice": invoice["id"], "status": "succeeded", **fields})


def subscribe(onward: Outside, customer: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A subscription to one monthly price."""
    product = post(onward, "/products", {"name": "Team plan"})
    price = post(onward, "/prices", {"product": product["id"], "amount": "129.00", "currency": "EUR"})
    return post(onward, "/subscriptions", {"customer": customer["id"], "items": [{"price": price["id"]}], **fields})


def cancel(onward: Outside, subscription: dict[str, Any], at: str = "now") -> None:
    """End it now or with its period."""
    post(onward, f"/subscriptions/{subscription['id']}/cancel", {"at": at}, status=200)


def on(event: str, steps: str = TASK, head: str = "", name: str = "") -> str:
    """The text of an automation on a trigger with any steps."""
    return f"name: {name or event}\ntrigger: {{type: event, event: {event}}}\n{head}steps: [{steps}]"


def manual(steps: str, head: str = "") -> str:
    """The text of an automation that is started by hand."""
    return f"name: By hand\ntrigger: {{type: manual}}\n{head}steps: [{steps}]"


def say(template: str, name: str = "say") -> str:
    """A step whose task's message is a template."""
    return f"{{id: {name}, type: action, action: create_task, message: '{template}'}}"


def ask(condition: str) -> str:
    """A condition `asked`; its condition must not hold single quotes."""
    return f"{{id: asked, type: condition, if: '{condition}'}}"


def call_up(onward: Outside, automation: str, status: int = 201, **body: Any) -> dict[str, Any]:
    """Start a manual automation."""
    return post(onward, f"/automations/{automation}/trigger", body, status)


def stage(onward: Outside, customer: dict[str, Any], name: str, **bucket: str) -> None:
    """Move a customer to a stage."""
    answer = onward.api.put(f"/customers/{customer['id']}/stage", {"stage": name, **bucket})
    assert answer.status_code == 200, answer.content


def visit_of(onward: Outside, automation: str, step: str) -> dict[str, Any]:
    """The only log entry of a step in the only execution."""
    [row] = [row for row in onward.execution(automation)["steps"] if row["stepId"] == step]
    return dict(row)
