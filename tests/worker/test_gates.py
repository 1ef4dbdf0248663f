"""The gates one by one, as pure decisions over what was read (CONTRACTS 7, "Gates in order")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from automations.engine.kinds import Content, EventFacts
from automations.engine.plan import compile_plan
from automations.engine.reading import read_data
from automations.engine.registry import registry
from automations.worker import gates
from automations.worker.batch import Listening, Occurrence
from automations.worker.gates import Known, early, entry_key, late, required
from automations.worker.reading import Reader

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANA = {
    "id": "cus_7",
    "name": "Ana",
    "country": "DE",
    "segment": "enterprise",
    "plan": "pro",
    "stage": "TRIAL",
    "bucket": None,
}


def plan(**parts):
    """A plan of a definition with these parts; one delay unless told otherwise."""
    data = {
        "version": 1,
        "name": "Test",
        "trigger": {"type": "event", "event": "sign"},
        "nodes": [{"id": "d", "type": "delay", "config": {"duration": "1d"}}],
        "edges": [{"from": "trigger", "port": "next", "to": "d"}],
    }
    return compile_plan(read_data({**data, **parts}, registry).definition, registry)


def listening(state="ACTIVE", scoped=False, id=1, **parts):
    """An automation with that plan."""
    return Listening(id, 1, state, 10, 2, None, scoped, plan(**parts))


def occurrence(name="sign", payload=None, only=None, **facts):
    """An event of customer 7 with Ana in its snapshot."""
    payload = payload or {}
    facts = {"subjects": {"customer": 7}, "occurred_at": NOW, **facts}
    trigger = facts.pop("trigger", {"customer": ANA, **payload})
    return Occurrence(EventFacts(99, name, content=Content.of(trigger, payload), **facts), 1, only, NOW)


def known(**parts):
    """What was read: nothing unless given."""
    return Known(Reader(NOW, {1: ZoneInfo("Europe/Berlin")}), **parts)


def stop(item, event, what=None):
    """The gate before the filter's end at which it stops."""
    found = early(item, event, what or known())
    return found and found[0]


def late_stop(item, event, what=None):
    """The gate behind the filter at which it stops."""
    found = late(item, event, what or known())
    return found and found[0]


def test_an_ordinary_event_passes_every_gate():
    assert early(listening(), occurrence(), known()) is None
    assert late(listening(), occurrence(), known()) is None


@pytest.mark.parametrize(("state", "expected"), [("ACTIVE", None), ("PAUSED", "state"), ("DRAFT", "state")])
def test_state(state, expected):  # PAU-02, RUN-12 to 14
    assert stop(listening(state), occurrence()) == expected


@pytest.mark.parametrize(
    ("origin", "hours", "limit", "expected"),
    [
        ("live", 71, None, None),
        ("live", 72, None, None),
        ("live", 73, None, "age"),
        ("backfill", 73, None, "age"),
        ("api", 1_000, None, None),
        ("schedule", 1_000, None, None),
        ("live", 100, "7d", None),
        ("live", 200, "7d", "age"),
        ("live", 2, "1h", "age"),
        ("api", 2, "1h", None),
    ],
)
def test_age(origin, hours, limit, expected):  # DESIGN 5.1, "Causes and age"
    trigger = {"type": "event", "event": "sign"} | ({"maxAge": limit} if limit else {})
    event = occurrence(origin=origin, occurred_at=NOW - timedelta(hours=hours))
    assert stop(listening(trigger=trigger), event) == expected


@pytest.mark.parametrize(
    ("cause", "causes", "restart", "expected"),
    [
        (None, {}, False, None),
        (5, {5: 1}, False, "self_caused"),
        (5, {5: 2}, False, None),
        (5, {}, False, None),  # the run was purged
        (5, {5: 1}, True, None),
    ],
)
def test_self_caused(cause, causes, restart, expected):  # RUN-24
    item = listening(settings={"restartOnOwnEffects": restart})
    assert stop(item, occurrence(cause_run=cause), known(causes=causes)) == expected


@pytest.mark.parametrize(("depth", "expected"), [(0, None), (8, None), (9, "chain_depth"), (200, "chain_depth")])
def test_chain_depth(depth, expected):  # "a chain deeper than eight starts nothing"
    assert stop(listening(), occurrence(depth=depth)) == expected


@pytest.mark.parametrize(
    ("parameters", "stage", "bucket", "expected"),
    [
        ({}, "TRIAL", None, None),
        ({"stage": "TRIAL"}, "TRIAL", None, None),
        ({"stage": "trial"}, "TRIAL", None, None),
        ({"stage": "default/TRIAL"}, "TRIAL", None, None),
        ({"stage": "other/TRIAL"}, "TRIAL", None, "parameters"),
        ({"stage": "CUSTOMER"}, "TRIAL", None, "parameters"),
        ({"stage": "CUSTOMER", "where": "trigger.bucket == 'Churned'"}, "CUSTOMER", "Churned", None),
        ({"stage": "CUSTOMER", "where": "trigger.bucket == 'Churned'"}, "CUSTOMER", "Retained", "parameters"),
        ({"where": ["trigger.bucket == 'Churned'", "trigger.stage == 'X'"]}, "CUSTOMER", "Churned", "parameters"),
    ],
)
def test_parameters_of_a_stage(parameters, stage, bucket, expected):  # TRG-41, TRG-42
    item = listening(trigger={"type": "event", "event": "stage_enter", **parameters})
    event = occurrence("stage_enter", {"stage": stage, "funnel": "default", "bucket": bucket})
    assert stop(item, event) == expected


@pytest.mark.parametrize(
    ("scope", "funnel", "expected"),
    [
        ([], "sales", None),
        (["default/TRIAL"], "default", None),
        (["default/TRIAL"], "sales", "parameters"),
        (["a/X", "sales/Y"], "sales", None),
    ],
)
def test_a_scope_says_whose_funnel_is_looked_at(scope, funnel, expected):  # C-06, C-30
    item = listening(trigger={"type": "event", "event": "stage_enter"}, settings={"scope": scope or "global"})
    assert stop(item, occurrence("stage_enter", {"stage": "CUSTOMER", "funnel": funnel})) == expected


def test_an_event_for_one_automation_is_not_asked_for_the_triggers_parameters():
    item = listening(trigger={"type": "event", "event": "stage_enter", "stage": "TRIAL"})
    assert stop(item, occurrence("manual", only=1)) is None


@pytest.mark.parametrize(
    ("trigger", "subjects", "expected"),
    [
        ({"type": "event", "event": "sign"}, {}, None),
        ({"type": "event", "event": "customer.created"}, {}, "subject"),
        ({"type": "event", "event": "payment.failed"}, {}, "subject"),
        ({"type": "event", "event": "payment.failed"}, {"customer": 7}, None),
        ({"type": "schedule", "interval": "1d"}, {}, None),
        ({"type": "manual"}, {}, None),
    ],
)
def test_subject(trigger, subjects, expected):  # CONTRACTS 7, "Without a customer"
    event = occurrence(trigger.get("event", "schedule"), only=1, subjects=subjects, trigger={})
    assert stop(listening(trigger=trigger), event) == expected


def test_what_a_step_acts_on_is_needed():
    retry = [{"id": "r", "type": "retry_payment", "config": {}}]
    edges = [{"from": "trigger", "port": "next", "to": "r"}]
    item = listening(trigger={"type": "event", "event": "payment.failed"}, nodes=retry, edges=edges)
    assert "invoice" in required(item.plan)
    assert stop(item, occurrence("payment.failed")) == "subject"
    assert stop(item, occurrence("payment.failed", subjects={"customer": 7, "invoice": 8})) is None


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("customer.country == 'DE'", None),
        ("profile.country == 'DE'", None),
        ("country == 'DE'", None),
        ("country in ['US', 'CA']", "filter"),
        ("{{trigger.seats}} > 5", None),
        ("trigger.seats > 50", "filter"),
        ("seats > 5", None),
        ("trigger.missing > 5", "filter"),
        ("trigger.missing != 5", None),
        (["seats > 5", "customer.plan = pro"], None),
        (["seats > 5", "customer.plan = free"], "filter"),
        ("stage == 'TRIAL' AND NOT seats > 50", None),
        ("workspace.missing == 1", "filter"),
    ],
)
def test_filter(filter, expected):  # CND-01, C-09, C-13
    what = known()
    what.reader.context.records.put("workspace", {1: {"name": "Northwind"}}, [1])
    assert stop(listening(filter=filter), occurrence(payload={"seats": 12}), what) == expected


def test_a_filter_says_which_part_of_it_did_not_hold():  # PRI-13
    item = listening(filter=["trigger.seats > 5", "customer.country == 'US'"])
    gate, reason = early(item, occurrence(payload={"seats": 12}), known())
    assert gate == "filter"
    assert "customer.country == 'US'" in reason
    assert "seats" not in reason


def test_the_first_gate_that_stops_is_the_one_that_is_named():  # order of CONTRACTS 7
    item = listening("PAUSED", filter="country == 'US'")
    event = occurrence(depth=20, cause_run=5, occurred_at=NOW - timedelta(days=9))
    what = known(causes={5: 1})
    assert stop(item, event, what) == "state"
    item = listening(filter="country == 'US'")
    assert stop(item, event, what) == "age"
    event = occurrence(depth=20, cause_run=5)
    assert stop(item, event, what) == "self_caused"
    assert stop(item, event) == "chain_depth"
    assert stop(item, occurrence()) == "filter"


def test_an_exit_that_holds_already_lets_nothing_start():  # gate already_over
    item = listening(trigger={"type": "event", "event": "invoice.issued"}, exits=[{"event": "invoice.paid"}])
    event = occurrence("invoice.issued", subjects={"customer": 7, "invoice": 8})
    for status, expected in (("open", None), ("paid", "already_over")):
        what = known()
        what.reader.context.records.put("invoice", {8: {"status": status}}, [8])
        assert late_stop(item, event, what) == expected


def test_the_very_event_that_starts_the_run_is_no_reason_against_it():
    item = listening(trigger={"type": "event", "event": "invoice.paid"}, exits=[{"event": "invoice.paid"}])
    what = known()
    what.reader.context.records.put("invoice", {8: {"status": "paid"}}, [8])
    assert late_stop(item, occurrence("invoice.paid", subjects={"customer": 7, "invoice": 8}), what) is None


@pytest.mark.parametrize(
    ("rule", "holder", "expected"),
    [
        ("always", 4, None),
        ("one_at_a_time", 4, "reentry"),
        ("one_at_a_time", None, None),
        ("once", 4, "reentry"),
        ("once", -1, "reentry"),
    ],
)
def test_reentry(rule, holder, expected):  # RUN-23
    what = known(entries={(1, "customer:7"): holder} if holder else {})
    assert late_stop(listening(settings={"reentry": rule}), occurrence(), what) == expected


@pytest.mark.parametrize(
    ("scoped", "limits", "expected"),
    [
        (False, (None, None), None),
        (True, (None, None), None),
        (False, (5, 0), "plan"),
        (True, (0, None), "plan"),
        (True, (5, 0), None),
        (False, (0, 3), None),
    ],
)
def test_plan(scoped, limits, expected):  # LIM-01, C-17
    assert late_stop(listening(scoped=scoped), occurrence(), known(limits={1: limits})) == expected


@pytest.mark.parametrize(
    ("erased", "expected"), [(frozenset(), None), (frozenset({8}), None), (frozenset({7}), "erased")]
)
def test_erased(erased, expected):
    assert late_stop(listening(), occurrence(), known(erased=erased)) == expected


@pytest.mark.parametrize(
    ("event", "subjects", "expected"),
    [
        ("sign", {"customer": 7}, "customer:7"),
        ("payment.failed", {"customer": 7, "invoice": 8, "subscription": 3, "payment": 31}, "invoice:8"),
        ("payment.failed", {"customer": 7, "payment": 31}, "customer:7"),
        ("subscription.canceled", {"customer": 7, "subscription": 3}, "subscription:3"),
        ("customer.created", {"customer": 7}, "customer:7"),
        ("sign", {}, "none:0"),
    ],
)
def test_the_re_entry_key_is_the_triggers_subject(event, subjects, expected):  # DESIGN 5.1, Re-entry
    item = listening(trigger={"type": "event", "event": event}, settings={"reentry": "once"})
    assert entry_key(item.plan, occurrence(event, subjects=subjects)) == expected


def test_without_a_rule_there_is_no_key():
    assert entry_key(listening().plan, occurrence()) is None


def test_reasons_are_sentences():
    what = known(causes={5: 1}, entries={(1, "customer:7"): 4}, limits={1: (0, 0)}, erased=frozenset({7}))
    stops = [
        early(listening("PAUSED"), occurrence(), what),
        early(listening(), occurrence(occurred_at=NOW - timedelta(days=9)), what),
        early(listening(), occurrence(cause_run=5), what),
        early(listening(), occurrence(depth=20), what),
        early(listening(trigger={"type": "event", "event": "customer.created"}), occurrence(subjects={}), what),
        late(listening(settings={"reentry": "once"}), occurrence(), what),
        late(listening(), occurrence(), what),
        late(listening(), occurrence(), known(erased=frozenset({7}))),
    ]
    assert [found[0] for found in stops] == [
        "state",
        "age",
        "self_caused",
        "chain_depth",
        "subject",
        "reentry",
        "plan",
        "erased",
    ]
    assert all((reason.endswith(".") and reason[0].isupper()) or reason.startswith("customer:") for _, reason in stops)


def test_events_of_too_old_an_age_are_nobodys():
    assert gates.too_old(occurrence(occurred_at=NOW - timedelta(hours=73)), NOW)
    assert not gates.too_old(occurrence(occurred_at=NOW - timedelta(hours=71)), NOW)
    assert not gates.too_old(occurrence(occurred_at=NOW - timedelta(hours=999), origin="api"), NOW)
