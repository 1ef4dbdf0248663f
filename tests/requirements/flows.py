"""Texts of small automations, and the moves that the acceptance tests make with them."""

from __future__ import annotations

from typing import Any

from automations.worker.loop import one_pass
from tests.api.outside import YAML, Outside

SIGN = "trigger: {type: event, event: sign}\n"
PAUSE = "{id: pause, type: delay, duration: 2d}"
TASK = "{id: task, type: action, action: create_task, message: Look}"
TAG = "{id: tag, type: action, action: add_tag, tag: done}"
#: A step that always fails, at once and for good.
BAD = "{id: bad, type: action, action: add_tag, tag: '{{trigger.none}}'}"
UNTIL = "{id: until, type: wait_until, event: reply}"
MAIL = "{id: mail, type: action, action: send_email, subject: Hello, body: '<p>Hi</p>'}"
PARKED = f"steps: [{PAUSE}, {TASK}]"


def mail(name: str, more: str = "") -> str:
    """An e-mail step; `more` is written behind its parameters."""
    return f"{{id: {name}, type: action, action: send_email, subject: {name}, body: '<p>Hi</p>'{more}}}"


def hook(url: str, more: str = "") -> str:
    """A step `call` that posts to a receiver."""
    return f"{{id: call, type: action, action: send_webhook, url: '{url}'{more}}}"


def flow(*steps: str, head: str = "", event: str = "sign", name: str = "Flow") -> str:
    """The text of an automation on an event, with whatever stands at its head."""
    return f"name: {name}\ntrigger: {{type: event, event: {event}}}\n{head}steps: [{', '.join(steps)}]"


def enter(onward: Outside, event: str = "sign", **payload: Any) -> dict[str, Any]:
    """A new customer to whom an event happens; workers then do what is due."""
    customer = onward.customer()
    onward.emit(event, customer["id"], payload=payload)
    onward.work()
    return customer


def started(onward: Outside, text: str, event: str = "sign", **payload: Any) -> tuple[str, dict[str, Any]]:
    """An ACTIVE automation and the customer of its only run."""
    automation = onward.activate(text)
    return automation, enter(onward, event, **payload)


def publish(onward: Outside, automation: str, text: str, **body: Any) -> None:
    """Save a draft and put it in force."""
    saved = onward.api.put(f"/automations/{automation}/draft", text, content_type=YAML)
    assert saved.status_code == 200, saved.content
    answer = onward.api.post(f"/automations/{automation}/activate", body)
    assert answer.status_code == 200, answer.content


def a_pass() -> int:
    """One pass, as `work --once --job automation` makes it."""
    return one_pass("automation", command=True)


def mail_job() -> int:
    """One mail job, as `work --once --job mail` makes it."""
    return one_pass("mail", command=True)


def deliveries(onward: Outside, query: str = "") -> list[dict[str, Any]]:
    """Deliveries, newest first."""
    rows: list[dict[str, Any]] = onward.api.get(f"/deliveries{query}").json()["deliveries"]
    return rows


def runs_of(onward: Outside, automation: str) -> dict[str, dict[str, Any]]:
    """Executions of an automation by customer."""
    return {row["profileId"]: row for row in onward.executions(automation, "?limit=100")}


def read_customer(onward: Outside, customer: dict[str, Any]) -> dict[str, Any]:
    """The customer as it is now."""
    found: dict[str, Any] = onward.api.get(f"/customers/{customer['id']}").json()
    return found
