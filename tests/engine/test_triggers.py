"""The trigger catalogue: every entry says what it is (TRG-48), its sample fits its fields, its names are its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from automations.engine.kinds import Content, EventFacts
from automations.engine.registry import registry
from automations.triggers.schedule import ScheduleParameters
from automations.triggers.stage import StageParameters

TRIGGERS = sorted(registry.triggers.values(), key=lambda trigger: trigger.key)
EVENTS = [trigger for trigger in TRIGGERS if trigger.type == "event" and trigger.key != "custom"]
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def event(name, **trigger):
    """An occurrence with this trigger data."""
    return EventFacts(1, name, {"customer": 7}, Content.of(trigger, trigger), NOW)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.key)
def test_every_entry_has_its_six_attributes(trigger):  # TRG-48
    assert trigger.group
    assert trigger.label
    assert trigger.subject in {"customer", "subscription", "invoice", "payment", "none"}
    assert trigger.dispatch in {"parallel", "exclusive"}
    assert isinstance(trigger.ends, tuple)
    assert trigger.Parameters.model_json_schema()["type"] == "object"


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.key)
def test_every_entry_has_a_hint_for_the_picker(trigger):  # TRG-44
    assert trigger.hint.endswith(".")
    assert len(trigger.hint) <= 120


@pytest.mark.parametrize("trigger", EVENTS, ids=lambda trigger: trigger.key)
def test_what_it_listens_to_is_a_name_that_can_be_recorded(trigger):
    assert trigger.listens
    assert all(re.fullmatch(r"[a-z][a-z0-9_.]{0,99}", name) for name in trigger.listens)
    assert "customer" in trigger.provides


@pytest.mark.parametrize(
    "trigger", [item for item in TRIGGERS if item.Data is not None and item.sample], ids=lambda trigger: trigger.key
)
def test_the_sample_fits_the_declared_fields(trigger):  # tests and …/test use it
    known = {field.alias or name for name, field in trigger.Data.model_fields.items()}
    assert set(trigger.sample) <= known


@pytest.mark.parametrize("trigger", EVENTS, ids=lambda trigger: trigger.key)
def test_a_trigger_applies_to_its_own_sample(trigger):
    facts = EventFacts(1, trigger.listens[0], dict.fromkeys(trigger.provides, 1), Content.of(trigger.sample, {}), NOW)
    assert trigger.applies(facts, trigger.Parameters())
    assert trigger.within(facts, ())


def test_the_names_of_the_contract_are_there():  # CONTRACTS 7, "Names now"
    names = {name for trigger in EVENTS for name in trigger.listens}
    assert names >= {
        "invoice.issued",
        "invoice.paid",
        "invoice.overdue",
        "invoice.voided",
        "invoice.updated",
        "invoice.marked_uncollectible",
        "payment.failed",
        "payment.succeeded",
        "subscription.created",
        "subscription.activated",
        "subscription.canceled",
        "subscription.updated",
        "customer.created",
        "stage_enter",
        "pageview",
        "email_opened",
        "email_clicked",
    }


def test_what_is_about_money_is_transactional_and_what_is_not_is_not():  # C-15
    assert all(
        registry.triggers[key].transactional for key in ("payment.failed", "invoice.paid", "billing.invoice_overdue")
    )
    assert not any(
        registry.triggers[key].transactional for key in ("customer.created", "stage_enter", "pageview", "custom")
    )


def test_the_exclusive_ones_bear_their_prefix():  # C-05
    exclusive = [trigger.key for trigger in TRIGGERS if trigger.dispatch == "exclusive"]
    assert exclusive == ["billing.invoice_overdue", "billing.subscription_payment_failed"]


def test_the_legacy_entry_says_so():  # TRG-41
    assert [trigger.key for trigger in TRIGGERS if trigger.legacy] == ["stage_enter"]
    assert "subscription" in registry.triggers["stage_enter"].hint


@pytest.mark.parametrize(
    ("wanted", "entered", "expected"),
    [
        (None, "TRIAL", True),
        ("TRIAL", "TRIAL", True),
        ("Trial", "TRIAL", True),
        ("default/TRIAL", "TRIAL", True),
        ("DEFAULT/trial", "TRIAL", True),
        ("sales/TRIAL", "TRIAL", False),
        ("CUSTOMER", "TRIAL", False),
        ("TRI", "TRIAL", False),
    ],
)
def test_which_stage_a_trigger_names(wanted, entered, expected):  # TRG-42, C-30
    parameters = StageParameters(stage=wanted)
    assert (
        registry.triggers["stage_enter"].applies(event("stage_enter", stage=entered, funnel="default"), parameters)
        == expected
    )


@pytest.mark.parametrize(
    ("scope", "expected"),
    [((), True), (("default/TRIAL",), True), (("default/CUSTOMER", "x/Y"), True), (("sales/TRIAL",), False)],
)
def test_the_scope_names_funnels(scope, expected):  # C-06
    assert (
        registry.triggers["stage_enter"].within(event("stage_enter", stage="TRIAL", funnel="default"), scope)
        == expected
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"interval": "24h"},
        {"cron": "0 9 * * 1"},
        {"calendar": "first day of month", "at": "07:30", "timeZone": "Europe/Berlin"},
        {"interval": "1d", "forEach": {"query": "customers"}},
        {"interval": "1d", "forEach": {"query": "invoices", "where": 'invoice.status == "overdue"'}},
    ],
)
def test_parameters_of_a_schedule_that_are_accepted(parameters):
    assert ScheduleParameters.model_validate(parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"interval": "24h", "cron": "0 9 * * 1"},
        {"cron": "0 0 31 2 *"},
        {"cron": "R 9 * * 1"},
        {"calendar": "blue moon"},
        {"interval": "0s"},
        {"interval": "1d", "at": "25:00"},
        {"interval": "1d", "timeZone": "Mars/Olympus"},
        {"interval": "1d", "forEach": {"query": "planets"}},
        {"interval": "1d", "every": "x"},
    ],
)
def test_parameters_of_a_schedule_that_are_refused(parameters):
    with pytest.raises(ValidationError):
        ScheduleParameters.model_validate(parameters)


def test_runs_of_schedules_and_calls_are_about_nobody_by_themselves():  # C-31
    for key in ("schedule", "manual"):
        assert registry.triggers[key].subject == "none"
    assert registry.triggers["schedule"].provides == frozenset()
    assert "customer" in registry.triggers["manual"].provides
