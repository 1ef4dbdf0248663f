"""A worker dies at each point where it could: before and after every commit that wrote something, before and after every call to the
outside. Another one goes on; every effect took place once, outside at most twice with one key and the same bytes (RELIABILITY 10 to 14,
DESIGN 5.2, 5.3).

The points are not listed here: the flow is walked once to count them, then once more for each of them. A death is an exception that
nothing in the product catches, and the loss of its connection.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts import provenance
from accounts.clock import set_clock
from accounts.models import Customer, Task
from accounts.services.tags import tags_of
from automations.actions.send_email import SendEmail
from automations.actions.send_webhook import SendWebhook
from automations.doctor.run import examine
from automations.models import Automation, Delivery, Run
from automations.worker.loop import drain
from tests.chaos.peers import Mailbox, Receiver, Record
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, live, steps_of

pytestmark = pytest.mark.django_db(transaction=True)
FLOW = """
settings: {transactional: true}
steps:
  - {id: note, type: action, action: create_task, message: "Call {{customer.name}}"}
  - {id: hook, type: action, action: send_webhook, url: "%s", body: {name: "{{customer.name}}"}}
  - {id: rest, type: delay, duration: 1h}
  - {id: mark, type: action, action: add_tag, tag: seen}
  - {id: mail, type: action, action: send_email, subject: Hello, body: "<p>Hello</p>"}
"""
STEPS = ["note", "hook", "rest", "mark", "mail"]


class Death(BaseException):
    """No `except Exception` holds it up."""


class Points:
    """Counts the points that are passed, and dies at one of them."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.deadly: int | None = None
        self.counting = False

    def at(self, name: str) -> None:
        """A point is reached."""
        if self.counting:
            self.passed.append(name)
            if len(self.passed) - 1 == self.deadly:
                self.counting = False
                raise Death(name)

    def during(self, work: Callable[[], Any], deadly: int | None = None) -> list[str]:
        """Do the work until it is done or dead; answers the points passed. What died has lost its connection."""
        self.passed, self.deadly, self.counting = [], deadly, True
        try:
            work()
        except Death:
            connection.close()
        finally:
            self.counting = False
        return self.passed


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Points:
    """Hooks around every commit that wrote, and around every act outside."""
    found = Points()
    commit = BaseDatabaseWrapper._commit

    def committed(self: BaseDatabaseWrapper) -> Any:
        with self.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
            wrote = cursor.fetchone()[0]
        if wrote:
            try:
                found.at("before commit")
            except Death:
                self._rollback()  # what the server does when the connection is gone
                raise
        answer = commit(self)
        if wrote:
            found.at("after commit")
        return answer

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", committed)
    for kind, name in ((SendEmail, "mail"), (SendWebhook, "call")):
        monkeypatch.setattr(kind, "perform", _hooked(kind.perform, found, name))
    return found


def _hooked(perform: Any, points: Points, name: str) -> Any:
    def act(self: Any, *given: Any) -> Any:
        points.at(f"before {name}")
        outcome = perform(self, *given)
        points.at(f"after {name}")
        return outcome

    return act


@pytest.fixture
def peers(settings: Any) -> Iterator[tuple[Mailbox, Receiver]]:
    with Mailbox(random.Random(1)) as mailbox, Receiver(random.Random(1)) as receiver:
        settings.ONWARD_SMTP_URL = mailbox.url
        settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
        settings.ONWARD_ALLOW_CLOCK = True
        settings.ONWARD_DELIVERY_THREADS = 1  # what dies is this thread
        yield mailbox, receiver


def walk() -> None:
    """All that a worker would do in the hour."""
    drain()
    set_clock("+1h")
    drain()


def recover() -> None:
    """Another worker, after the leases of the dead one have run out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE automations_delivery SET lease_until = clock_timestamp() - interval '1 second',"
            " due_at = onward_now() - interval '1 second' WHERE state = 'SENDING'"
        )
    walk()


def judge(run: Run, passed: list[str], mailbox: Mailbox, receiver: Receiver) -> None:
    died_at, doubtful = passed[-1], in_doubt(passed)
    assert (run.status, run.end_reason) == ("COMPLETED", "completed"), died_at
    assert steps_of(run) == STEPS, died_at
    assert Task.objects.filter(run_id=run.pk).count() == 1, died_at
    assert run.customer is not None
    assert tags_of([run.customer.pk])[run.customer.pk] == ["seen"], died_at
    deliveries = list(Delivery.objects.filter(run=run).order_by("visit"))
    assert [(item.kind, item.state) for item in deliveries] == [("http", "SENT"), ("email", "SENT")], died_at
    once_outside(receiver.record, deliveries[0].key, doubtful == "call")
    once_outside(mailbox.record, deliveries[1].key, doubtful == "mail")


def in_doubt(passed: list[str]) -> str | None:
    """The act of which nobody can know that it took place: its worker died before the result was committed."""
    for name in reversed(passed):
        if name == "after commit":
            return None
        if name in ("after call", "after mail"):
            return name.removeprefix("after ")
    return None


def once_outside(record: Record, key: str, doubtful: bool) -> None:
    """It is repeated when it is in doubt, and only then."""
    assert record.acts[key] == (2 if doubtful else 1)
    assert len(record.bytes[key]) == 1


def due(automation: Automation) -> Run:
    """A customer whose event is recorded; the run is still to come."""
    customer: Customer = make_customer(automation.workspace)
    happen(customer)
    return Run(customer=customer, automation=automation)


def test_every_point_at_which_a_worker_can_die(
    points: Points, peers: tuple[Mailbox, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox, receiver = peers
    automation = live(make_workspace(), FLOW % receiver.url)
    monkeypatch.setattr(
        provenance, "why_held", str
    )  # writes every ten seconds, and would be a point in one walk and not in another
    due(automation)
    names = points.during(walk)
    assert names.count("before commit") >= 8  # routing, advancing three times, claiming, storing and settling twice
    assert {"before call", "after call", "before mail", "after mail"} <= set(names)
    for place, name in enumerate(names):
        customer = due(automation).customer
        died = points.during(walk, deadly=place)
        assert died[place] == name
        recover()
        judge(Run.objects.get(automation=automation, customer=customer), died, mailbox, receiver)
    for record in (
        receiver.record,
        mailbox.record,
    ):  # repeated: the deaths right after the act, and before its result was kept
        assert record.acts.total() - len(record.acts) == 2
    assert [finding.as_json() for finding in examine(at_rest=True)] == []
