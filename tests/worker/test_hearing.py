"""Who hears what, and what joins an event and a run (CONTRACTS 4, Correlation; C-05)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from automations.engine.kinds import Content, EventFacts
from automations.worker import exits
from automations.worker.batch import Listening, LiveRun, Occurrence, by_workspace
from automations.worker.hearing import hears, is_one_of, names_of
from automations.worker.reading import Reader
from automations.worker.wake import waits_for
from tests.worker.test_gates import plan

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def occurrence(name, only=None, id=99, payload=None, at=NOW, cause=None, **subjects):
    """An event about these objects."""
    return Occurrence(
        EventFacts(id, name, subjects, Content.of(payload or {}, payload or {}), at, cause_run=cause), 1, only, NOW
    )


def run(subjects, event_id=1, id=5, started=NOW - timedelta(days=1), **parts):
    """An unfinished run about these objects."""
    definition = {
        key: parts.pop(key) for key in list(parts) if key in ("exits", "goal", "settings", "trigger", "nodes", "edges")
    }
    fields = {"status": "RUNNING", "parked_on": "timer", "step": "d", "wait_name": None, "wait_key": None, **parts}
    return LiveRun(
        id=id,
        workspace_id=1,
        automation_id=2,
        version_id=3,
        event_id=event_id,
        customer_id=subjects.get("customer"),
        subjects=subjects,
        started_at=started,
        state={},
        goal_reached_at=None,
        plan=plan(**definition),
        **fields,
    )


def reader(**records):
    """What was read for the batch."""
    found = Reader(NOW, {1: ZoneInfo("UTC")})
    for root in ("customer", "invoice", "subscription", "mail"):
        by_id = records.get(root, {})
        found.context.records.put(root, by_id, [*by_id, 5, 7, 8])
    return found


def listening(event, id=1, priority=None):
    """An automation on an event."""
    trigger = event if isinstance(event, dict) else {"type": "event", "event": event}
    return Listening(id, 1, "ACTIVE", 10, 1, priority, False, plan(trigger=trigger))


@pytest.mark.parametrize(
    ("trigger", "name", "expected"),
    [
        ("sign", "sign", True),
        ("sign", "signed", False),
        ("payment.failed", "payment.failed", True),
        ("payment.failed", "payment.succeeded", False),
        ("billing.subscription_payment_failed", "payment.failed", True),
        ("billing.invoice_overdue", "invoice.overdue", True),
        ("invoice.overdue", "invoice.overdue", True),
        ({"type": "manual"}, "manual", False),
        ({"type": "schedule", "interval": "1d"}, "schedule", False),
    ],
)
def test_an_automation_hears_the_names_of_its_trigger(trigger, name, expected):  # C-05, TRG-49
    assert hears(listening(trigger), occurrence(name)) == expected


def test_an_event_for_one_automation_is_heard_by_that_one_alone():
    event = occurrence("sign", only=2)
    assert not hears(listening("sign", id=1), event)
    assert hears(listening({"type": "manual"}, id=2), event)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("sign", {"sign"}),
        ("invoice.paid", {"invoice.paid"}),
        ("billing.invoice_overdue", {"billing.invoice_overdue", "invoice.overdue"}),
    ],
)
def test_names_of_a_key(key, names):
    assert names_of(key) == names


def test_a_trigger_key_as_exit_means_its_own_occurrences_only():
    sent = occurrence("invoice.overdue", payload={"collectionMethod": "send_invoice"})
    charged = occurrence("invoice.overdue", payload={"collectionMethod": "charge_automatically"})
    assert is_one_of("billing.invoice_overdue", sent.facts)
    assert not is_one_of("billing.invoice_overdue", charged.facts)
    assert is_one_of("invoice.overdue", charged.facts)


def test_exclusive_ones_come_in_their_priority():
    items = [listening("sign", 3, 2), listening("sign", 1, None), listening("sign", 2, 1)]
    assert [item.id for item in by_workspace(items)[1]] == [2, 3, 1]


BILLING = {"customer": 7, "invoice": 8, "subscription": 3}


@pytest.mark.parametrize(
    ("name", "event", "subjects", "expected"),
    [
        ("invoice.paid", {"customer": 7, "invoice": 8}, BILLING, True),
        ("invoice.paid", {"customer": 7, "invoice": 9}, BILLING, False),
        ("invoice.paid", {"customer": 7}, BILLING, False),  # it does not say which invoice
        ("invoice.paid", {"customer": 7, "invoice": 8}, {"customer": 7}, True),
        ("invoice.paid", {"customer": 6, "invoice": 8}, {"customer": 7}, False),
        ("subscription.canceled", {"customer": 7, "subscription": 3}, BILLING, True),
        ("subscription.canceled", {"customer": 7, "subscription": 4}, BILLING, False),
        ("payment.succeeded", {"customer": 7, "invoice": 8, "payment": 32}, {**BILLING, "payment": 31}, True),
        ("demo_booked", {"customer": 7}, BILLING, True),
        ("demo_booked", {"customer": 6}, BILLING, False),
        ("demo_booked", {}, {}, False),
    ],
)
def test_the_narrowest_object_of_both_joins_them(name, event, subjects, expected):  # CONTRACTS 4
    assert exits.correlated(run(subjects), occurrence(name, **event)) == expected


def test_an_event_touches_runs_that_name_it_and_not_the_one_it_started():
    mine = run({"customer": 7}, exits=[{"event": "leave"}])
    assert exits.touches(mine, occurrence("leave", customer=7))
    assert not exits.touches(mine, occurrence("stay", customer=7))
    assert not exits.touches(mine, occurrence("leave", customer=8))
    assert not exits.touches(mine, occurrence("leave", id=1, customer=7))


@pytest.mark.parametrize(
    ("where", "payload", "expected"),
    [
        (None, {}, "leave"),
        ("event.final == true", {"final": True}, "leave"),
        ("event.final == true", {"final": False}, None),
        ("event.final == true", {}, None),
        (["event.a > 1", "event.b > 1"], {"a": 2, "b": 2}, "leave"),
        (["event.a > 1", "event.b > 1"], {"a": 2, "b": 0}, None),
        ("customer.country == 'DE'", {}, "leave"),
    ],
)
def test_where_of_an_exit_is_on_the_event_and_the_live_objects(where, payload, expected):  # RUN-28
    spec = {"event": "leave"} | ({"where": where} if where else {})
    mine = run({"customer": 7}, exits=[spec])
    found = reader(customer={7: {"country": "DE"}})
    assert exits.end_reason(mine, occurrence("leave", payload=payload, customer=7), found) == expected


@pytest.mark.parametrize(
    ("held", "expected"),
    [({8: {"status": "paid"}}, "invoice_paid"), ({8: {"status": "open"}}, None), ({}, "invoice_paid")],
)
def test_a_catalogue_exit_is_judged_on_the_object_where_we_hold_it(held, expected):  # CONTRACTS 7, "a report"
    mine = run(BILLING, exits=[{"event": "invoice.paid"}])
    event = occurrence("invoice.paid", customer=7, invoice=8)
    assert exits.end_reason(mine, event, reader(invoice=held)) == expected


@pytest.mark.parametrize(("cause", "expected"), [(None, "auto_advance_off"), (5, None), (6, "auto_advance_off")])
def test_an_own_change_does_not_end_the_run_where_the_trigger_says_so(cause, expected):  # C-12
    mine = run(BILLING, trigger={"type": "event", "event": "billing.invoice_overdue"})
    event = occurrence("invoice.updated", cause=cause, customer=7, invoice=8)
    held = {8: {"status": "open", "autoAdvance": False}}
    assert exits.end_reason(mine, event, reader(invoice=held)) == expected


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("customer.unsubscribed", {}, "unsubscribed"),
        ("customer.unsubscribed", {"transactional": True}, None),
        ("customer.erased", {}, "profile_deleted"),
        ("customer.erased", {"transactional": True}, "profile_deleted"),
        ("customer.updated", {}, None),
    ],
)
def test_events_of_accounts_end_runs_whatever_their_exits_say(name, settings, expected):  # C-15
    mine = run({"customer": 7}, settings=settings)
    event = occurrence(name, customer=7)
    assert exits.touches(mine, event) == (expected is not None)
    assert exits.end_reason(mine, event, reader()) == expected


@pytest.mark.parametrize(("hours", "reached"), [(-1, False), (0, True), (47, True), (48, True), (49, False)])
def test_the_window_of_a_goal_begins_with_the_run(hours, reached):
    mine = run({"customer": 7}, started=NOW, goal={"event": "bought", "within": "2d"})
    event = occurrence("bought", at=NOW + timedelta(hours=hours), customer=7)
    assert exits.reaches_goal(mine, event, reader()) == reached


def test_a_goal_is_reached_once_and_only_by_what_it_names():
    goal = {"event": "bought", "within": "14d", "where": "event.amount > 10"}
    mine = run({"customer": 7}, goal=goal)
    assert not exits.reaches_goal(mine, occurrence("bought", payload={"amount": 5}, customer=7), reader())
    assert not exits.reaches_goal(mine, occurrence("sold", payload={"amount": 50}, customer=7), reader())
    assert exits.reaches_goal(mine, occurrence("bought", payload={"amount": 50}, customer=7), reader())
    mine.goal_reached_at = NOW
    assert not exits.reaches_goal(mine, occurrence("bought", payload={"amount": 50}, customer=7), reader())


WAITING = {"status": "WAITING_FOR_EVENT", "parked_on": "event", "wait_name": "ping", "wait_key": "customer:7"}


@pytest.mark.parametrize(
    ("event", "change", "expected"),
    [
        (occurrence("ping", customer=7), {}, True),
        (occurrence("pong", customer=7), {}, False),
        (occurrence("ping", customer=8), {}, False),
        (occurrence("ping"), {}, False),
        (occurrence("ping", id=1, customer=7), {}, False),
        (occurrence("ping", customer=7), {"status": "RUNNING"}, False),
        (occurrence("ping", customer=7, invoice=8), {"wait_key": "invoice:8"}, True),
        (occurrence("ping", customer=7, invoice=9), {"wait_key": "invoice:8"}, False),
    ],
)
def test_which_event_a_run_waits_for(event, change, expected):  # STP-13, STP-17
    assert waits_for(run({"customer": 7}, **{**WAITING, **change}), event) == expected


def test_a_run_that_was_woken_or_ended_in_this_batch_waits_no_more():
    mine = run({"customer": 7}, **WAITING)
    mine.woken_by = 98
    assert not waits_for(mine, occurrence("ping", customer=7))
    mine = run({"customer": 7}, **WAITING)
    mine.end_reason = "leave"
    assert not waits_for(mine, occurrence("ping", customer=7))
