"""Makers of runs and deliveries for the tests of the delivery worker, written as rows: no automation has to be walked for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from pytest_httpserver import HTTPServer

from accounts.clock import evaluation_now
from accounts.models import Customer, Workspace
from automations.engine.kinds import Envelope
from automations.models import Automation, Delivery, Event, Routed, Run, StepLog, Version
from automations.worker.envelopes import to_json
from automations.worker.store import delivery_key
from tests.factories import make_customer, make_workspace

_numbers = itertools.count(1)
DEFINITION = {"version": 1, "name": "Plain", "trigger": {"type": "manual"}, "nodes": [], "edges": []}


@dataclass
class World:
    """A workspace with one customer and one automation."""

    workspace: Workspace = field(default_factory=make_workspace)
    definition: Mapping[str, Any] = field(default_factory=lambda: DEFINITION)

    def __post_init__(self) -> None:
        self.customer: Customer = make_customer(self.workspace)
        self.automation = Automation.objects.create(workspace=self.workspace, name="Plain", trigger_key="manual")
        self.version = Version.objects.create(
            workspace=self.workspace,
            automation=self.automation,
            number=1,
            state="active",
            definition=dict(self.definition),
            sha256="0" * 64,
            activated_at=evaluation_now(),
        )
        Automation.objects.filter(pk=self.automation.pk).update(state="ACTIVE", active_version=self.version)

    def run(self, **fields: Any) -> Run:
        """A run that stands on its visit 1 for a delivery."""
        now = evaluation_now()
        event = Event.objects.create(
            workspace=self.workspace,
            name="manual",
            source="test",
            key=str(next(_numbers)),
            body_sha256="0" * 64,
            customer_id=self.customer.pk,
            occurred_at=now,
            shard=0,
        )
        Routed.objects.create(event=event, workspace_id=self.workspace.pk, routed_at=now)
        values: dict[str, Any] = {
            "workspace": self.workspace, "automation": self.automation, "version": self.version, "event": event,
            "customer": self.customer, "subject_kind": "customer", "subject_id": self.customer.pk,
            "subjects": {"customer": self.customer.pk}, "status": "RUNNING", "parked_on": "delivery", "due_at": None,
            "step": "call", "seq": 1, "entered_at": now, "started_at": now,
        }  # fmt: skip
        return Run.objects.create(**values | fields)

    def delivery(self, envelope: Envelope, action: str, run: Run | None = None, **fields: Any) -> Delivery:
        """A queued delivery of that run's present visit."""
        run = run or self.run()
        now = evaluation_now()
        effect, visit = fields.pop("effect", 0), fields.pop("visit", run.seq)
        values: dict[str, Any] = {
            "workspace": self.workspace, "run": run, "visit": visit, "effect": effect,
            "key": delivery_key(run.pk, visit, effect), "automation_id": run.automation_id, "step": run.step or "call",
            "action": action, "kind": envelope.kind, "customer_id": run.customer_id, "to": envelope.to,
            "subject": envelope.subject, "envelope": to_json(envelope), "customer_mail": envelope.customer_mail,
            "money": envelope.money, "waits": envelope.waits, "retries": envelope.retries,
            "retry_delay": envelope.retry_delay, "backoff": envelope.backoff, "due_at": now, "created_at": now,
        }  # fmt: skip
        return Delivery.objects.create(**values | fields)

    def mail(self, run: Run | None = None, to: str | None = None, body: Any = None, **fields: Any) -> Delivery:
        """A queued customer mail; `body` adds to what the envelope holds."""
        content = {
            "source": "<p>Hello {{ customer.name }}</p>",
            "from": {"address": "shop@example.com", "name": "Shop"},
            "values": {"customer": {"name": "Ana"}},
            "roots": ["customer"],
            "now": "2026-01-02T03:04:05+00:00",
            "zone": "UTC",
            "locale": "en",
            "transactional": False,
        } | (body or {})
        address = self.customer.email if to is None else to
        shown = {"to": address, "subject": "Hello"}
        envelope = Envelope(
            kind="email",
            body=content,
            to=address,
            subject="Hello",
            output=shown,
            customer_mail=True,
            waits=False,
            retries=5,
        )
        return self.delivery(envelope, "send_email", run, **fields)

    def webhook(self, url: str, run: Run | None = None, **fields: Any) -> Delivery:
        """A queued call."""
        body = {"method": "POST", "url": url, "headers": {"Content-Type": "application/json"}, "content": '{"a":1}'}
        return self.delivery(Envelope(kind="http", body=body, to=url, retries=3), "send_webhook", run, **fields)


def pass_time(seconds: float) -> None:
    """Move the evaluation clock on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_installation SET clock_offset = clock_offset + %s * interval '1 second'", [seconds]
        )


def expire_lease(delivery: Delivery) -> None:
    """As if its worker had died more than a lease ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE automations_delivery SET lease_until = clock_timestamp() - interval '1 second', "
            "due_at = onward_now() - interval '1 second' WHERE id = %s",
            [delivery.pk],
        )


def logged(run: Run) -> list[StepLog]:
    """The log of a run in order."""
    return list(StepLog.objects.filter(run_id=run.pk).order_by("recorded_at"))


def answers(server: HTTPServer, *statuses: int) -> Iterator[int]:
    """Let the server answer with these, one after the other."""
    for status in statuses:
        server.expect_ordered_request("/hook").respond_with_data("{}", status=status)
        yield status
