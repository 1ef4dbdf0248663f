"""What filters read: the event's snapshot first, the live object where it has no such field, everything in bulk (C-10)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from automations.engine.expressions import compile_expression
from automations.engine.kinds import Content, EventFacts
from automations.engine.plan import plan_names
from automations.engine.reading import read_data
from automations.engine.registry import registry
from automations.worker.batch import Occurrence
from automations.worker.reading import Reader, covered, follow

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEFINITION = read_data(
    {"version": 1, "name": "x", "trigger": {"type": "event", "event": "sign"}, "nodes": [], "edges": []}, registry
).definition
NAMES = plan_names(DEFINITION, registry)


def expression(source):
    """Compiled with the names of any plan."""
    return compile_expression(source, NAMES)


def occurrence(trigger, **subjects):
    """An event with this snapshot."""
    return Occurrence(EventFacts(9, "sign", subjects, Content.of(trigger, {}), NOW), 1, None, NOW)


def reader(**records):
    """A reader that has read these records (root -> id -> data) and may read nothing more."""
    found = Reader(NOW, {1: ZoneInfo("Europe/Berlin")})
    for root, by_id in records.items():
        found.context.records.put(root, by_id, list(by_id))
    return found


def holds(source, event, **records):
    """Whether an expression holds for an event."""
    found = reader(**records)
    return found.holds(expression(source), found.of_event(event))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("customer", "country"), True),
        (("customer", "timeZone"), True),
        (("customer", "segment"), False),
        (("customer",), False),
        (("invoice", "total"), False),
        (("trigger", "anything"), True),
        (("now",), True),
        (("customer", "metadata", "tier"), True),
    ],
)
def test_what_the_snapshot_has_needs_no_reading(path, expected):
    event = occurrence({"customer": {"country": "DE", "time_zone": "UTC", "metadata": {}}}, customer=7)
    assert covered(event, path) == expected


def test_the_snapshot_wins_over_the_live_object():  # C-10
    event = occurrence({"customer": {"country": "DE"}}, customer=7)
    live = {7: {"country": "US", "segment": "smb"}}
    assert holds("customer.country == 'DE'", event, customer=live)
    assert holds("customer.segment == 'smb'", event, customer=live)


def test_a_field_that_was_empty_then_stays_empty():
    event = occurrence({"customer": {"country": None}}, customer=7)
    assert not holds("customer.country == 'US'", event, customer={7: {"country": "US"}})


def test_without_a_snapshot_the_live_object_is_read():
    event = occurrence({}, customer=7)
    assert holds("customer.country == 'US'", event, customer={7: {"country": "US"}})
    assert not holds("customer.country == 'US'", occurrence({}), customer={7: {"country": "US"}})


@pytest.mark.parametrize("name", ["open", "unpaid", "issued"])
def test_an_open_invoice_answers_to_all_its_names(name):  # C-14
    event = occurrence({"invoice": {"status": "open", "isOverdue": False}}, invoice=8)
    assert holds(f"invoice.status == '{name}'", event)
    assert not holds("invoice.status == 'overdue'", event)


@pytest.mark.parametrize("name", ["overdue", "past_due", "unpaid", "open"])
def test_a_late_invoice_is_overdue_as_well(name):  # C-14
    event = occurrence({"invoice": {"status": "open", "isOverdue": True}}, invoice=8)
    assert holds(f"invoice.status == '{name}'", event)


def test_money_compares_as_numbers():
    event = occurrence({"invoice": {"total": "129.00"}, "amount": Decimal("11.70")}, invoice=8)
    assert holds("invoice.total >= 129", event)
    assert holds("trigger.amount == 11.7", event)
    assert not holds("invoice.total > 129", event)


def test_values_of_the_evaluation_are_plain_data():  # PRI-13
    event = occurrence({"amount": Decimal("11.70"), "at": NOW, "customer": {"name": "Ana"}}, customer=7)
    found = reader()
    expressions = [
        expression("trigger.amount > 5 AND customer.name == 'Ana'"),
        expression("trigger.at < now"),
        expression("missing == 1"),
    ]
    assert found.values(expressions, found.of_event(event)) == {
        "trigger.amount": "11.70",
        "customer.name": "Ana",
        "trigger.at": "2026-11-20T12:00:00.000Z",
        "now": "2026-11-20T12:00:00.000Z",
        "trigger.missing": None,
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a",), {"bC": 1, "list": [{"x": 2}]}),
        (("a", "bC"), 1),
        (("a", "b_c"), 1),
        (("a", "list", "0", "x"), 2),
        (("a", "list", "5"), None),
        (("a", "missing", "deeper"), None),
        (("nothing",), None),
    ],
)
def test_a_path_is_followed_in_either_spelling(path, expected):
    assert follow({"a": {"bC": 1, "list": [{"x": 2}]}}, path) == expected


@pytest.mark.django_db
def test_only_what_is_not_in_the_snapshot_is_loaded_and_in_bulk(django_assert_num_queries):
    from tests.factories import make_customer, make_workspace

    people = [make_customer(make_workspace(), country="DE", segment="smb") for _ in range(5)]
    events = [occurrence({"customer": {"country": "DE"}}, customer=who.pk) for who in people]
    found = reader()
    for event in events:
        found.expect(event, [expression("customer.country == 'DE'")])
    with django_assert_num_queries(0):
        found.load()
    for event in events:
        found.expect(event, [expression("customer.segment == 'smb'")])
    with django_assert_num_queries(1):
        found.load()
    with django_assert_num_queries(0):
        assert all(found.holds(expression("customer.segment == 'smb'"), found.of_event(event)) for event in events)


@pytest.mark.django_db
def test_what_nobody_announced_is_read_when_it_is_missed():
    from tests.factories import make_customer, make_workspace

    who = make_customer(make_workspace(), country="DE")
    event = occurrence({}, customer=who.pk)
    found = reader()
    assert found.holds(expression("customer.country == 'DE'"), found.of_objects(event))
    assert found.live("customer", found.of_objects(event))["id"] == f"cus_{who.pk}"
    assert found.live("invoice", found.of_objects(event)) is None
