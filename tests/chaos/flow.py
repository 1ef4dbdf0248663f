"""What walks in a storm: a flow with mail, call, charge, task, rest and branch, one that waits for a second event, and one of the kind
that routers walk in their own transaction, since it changes no record."""

from __future__ import annotations

FLOW = """
name: Storm NAME
trigger: {type: event, event: sign}
settings: {errorHandling: {retries: 20, retryDelay: 1s}}
steps:
  - id: hello
    type: action
    action: send_email
    subject: "Hello {{trigger.number}} v VERSION"
    body: "<p>Number {{trigger.number}} for {{customer.name}}</p>"
    onError:
      - {id: doubt, type: action, action: add_tag, tag: doubtful}
  - id: hook
    type: action
    action: send_webhook
    url: "RECEIVER"
    body: {number: "{{trigger.number}}", version: "VERSION"}
    onError:
      - {id: unheard, type: action, action: add_tag, tag: unheard}
  - {id: pay, type: action, action: peer_charge, url: "PAYMENTS", number: "{{trigger.number}}"}
  - {id: note, type: action, action: create_task, message: "Call number {{trigger.number}}"}
  - {id: rest, type: delay, duration: 1s}
  - id: odd
    type: condition
    if: "{{trigger.number}} % 2 == 1"
    then:
      - {id: tag, type: action, action: add_tag, tag: odd}
  - {id: bye, type: action, action: send_email, subject: "Bye {{trigger.number}} v VERSION", body: "<p>Bye</p>"}
"""
WAIT = """
name: Wait NAME
trigger: {type: event, event: order}
steps:
  - {id: hear, type: wait_until, event: paid, filter: "event.number == trigger.number", timeout: TIMEOUT, branchOnTimeout: true,
     onEvent: [{id: yes, type: action, action: create_task, message: "Paid {{trigger.number}}"}],
     onTimeout: [{id: no, type: action, action: create_task, message: "Unpaid {{trigger.number}}"}]}
"""
QUICK = """
name: Quick NAME
trigger: {type: event, event: order}
steps:
  - {id: taken, type: action, action: send_email, subject: "Taken {{trigger.number}} v 1", body: "<p>Taken</p>"}
  - {id: hear, type: wait_until, event: paid, filter: "event.number == trigger.number", timeout: TIMEOUT, branchOnTimeout: true,
     onEvent: [{id: yes, type: action, action: send_email, subject: "Thanks {{trigger.number}} v 1", body: "<p>Thanks</p>"}],
     onTimeout: [{id: no, type: action, action: send_email, subject: "Pity {{trigger.number}} v 1", body: "<p>Pity</p>"}]}
"""
ORDERS = 5  # every fifth number is ordered, and paid
ODD, EVEN = ["odd", "tag", "bye"], ["odd", "bye"]


def flow(name: str, version: int, receiver: str, payments: str) -> str:
    """The flow as its version of this number. What it says names the version."""
    text = FLOW.replace("VERSION", str(version)).replace("RECEIVER", receiver).replace("PAYMENTS", payments)
    return text.replace("NAME", name)


def expected(found: list[str], number: int, failed: set[str]) -> list[str]:
    """The way of this number through the flow. A step that failed for good took its error output, which joins the way again."""
    mail = ["doubt"] if "hello" in failed and "hello" not in found else ["hello"]
    hook = ["unheard"] if "hook" in failed and "hook" not in found else ["hook"]
    return [*mail, *hook, "pay", "note", "rest", *(ODD if number % 2 else EVEN)]
