"""Runs billing's actions as the worker does: prepare on a scope, perform, settle in a transaction."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction

from automations.engine.expressions import Environment, Names
from automations.engine.kinds import Envelope, OutsideAction
from automations.engine.outcomes import Outcome
from automations.engine.registry import registry
from automations.engine.scope import Records, RunData, Scope
from billing.models import Invoice

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
_runs = itertools.count(1000)


def scope_of(invoice: Invoice | None, workspace_id: int, run_id: int | None = None) -> Scope:
    """The scope of a run about this invoice, with the record read from the database."""
    records = Records()
    subjects: dict[str, int] = {}
    if invoice is not None:
        subjects = {"customer": invoice.customer_id, "invoice": invoice.pk}
        records.put("invoice", registry.roots["invoice"].load([invoice.pk]), [invoice.pk])
    names = Names(frozenset({"invoice", "trigger", "customer"}), ())
    data = RunData(records, {"invoice": invoice.pk} if invoice else {}, {"trigger": {"why": "dispute"}})
    env = Environment(data, NOW, ZoneInfo("Europe/Berlin"))
    run = {"id": f"exec_{run_id or next(_runs)}"}
    return Scope(names, env, records, workspace_id, subjects, run, {})


def prepared(action: OutsideAction, invoice: Invoice, run_id: int | None = None) -> Envelope:
    """The envelope of a step that decides now; it must not refuse."""
    envelope = action.prepare(action.sample(), scope_of(invoice, invoice.workspace_id, run_id))
    assert isinstance(envelope, Envelope), envelope
    return envelope


def key_of(envelope: Envelope, visit: int = 4) -> str:
    """The delivery key of its run and this visit."""
    return f"test.exec_{envelope.body['run']}.{visit}.0"


def act(action: OutsideAction, envelope: Envelope, key: str) -> Outcome:
    """Perform without a transaction of ours, then settle in one."""
    return settle(action, envelope, action.perform(envelope, key, b""))


@transaction.atomic
def settle(action: OutsideAction, envelope: Envelope, outcome: Any) -> Outcome:
    """What the settling transaction does."""
    return action.settle(envelope, outcome, NOW)
