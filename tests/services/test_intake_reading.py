"""Reading posted events: strict, with the place of what is wrong (CONTRACTS 1, 7)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import Refusal
from automations.services.intake_reading import MOST_BYTES, MOST_EVENTS, read_events


def refused(body) -> Refusal:
    """What a body is refused with."""
    with pytest.raises(Refusal) as found:
        read_events(body)
    return found.value


def only(**parts):
    """The one event of a body."""
    [event] = read_events({"name": "purchase", **parts})
    return event


def test_a_single_event_has_no_place_before_its_keys():
    event = only(id="a", payload={"n": 1})
    assert (event.place, event.path("customer")) == ("", "customer")
    assert (event.name, event.id, event.payload) == ("purchase", "a", {"n": 1})
    assert (event.customer, event.refs, event.occurred_at) == (None, {}, None)


def test_events_of_a_list_know_their_place():
    events = read_events({"events": [{"name": "a"}, {"name": "b"}]})
    assert [event.path("name") for event in events] == ["events[0].name", "events[1].name"]


@pytest.mark.parametrize("payload", [None, {}])
def test_an_absent_payload_is_empty(payload):
    assert only(payload=payload).payload == {}
    assert only().payload == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00:00+02:00", datetime(2026, 11, 20, 8, tzinfo=UTC)),
        ("2026-11-20T10:00:00.120Z", datetime(2026, 11, 20, 10, 0, 0, 120_000, tzinfo=UTC)),
        ("2026-11-20T10:00:00", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
def test_times_are_read_into_utc(text, expected):
    assert only(occurredAt=text).occurred_at == expected


@pytest.mark.parametrize("text", ["yesterday", "", 7, "2026-13-01", "0001-01-01T00:00:00+14:00", [], True])
def test_what_is_no_time_is_refused(text):
    refusal = refused({"name": "a", "occurredAt": text})
    assert (refusal.code, list(refusal.details["fields"])) == ("invalid", ["occurredAt"])


@pytest.mark.parametrize("name", ["a", "demo_booked", "order.placed", "x9", "a" * 100])
def test_names_that_are_accepted(name):
    assert read_events({"name": name})[0].name == name


@pytest.mark.parametrize("name", ["", "A", "9a", "_a", ".a", "a b", "a-b", "a" * 101, None, 3, "ä", "a\n", "a\x00"])
def test_names_that_are_refused(name):
    refusal = refused({"events": [{"name": "ok"}, {"name": name}]})
    assert list(refusal.details["fields"]) == ["events[1].name"]


@pytest.mark.parametrize(("written", "read"), [("email_open", "email_opened"), ("email_click", "email_clicked")])
def test_the_older_names_of_mail_facts_are_read(written, read):  # CONTRACTS 4, aliases
    assert read_events({"name": written})[0].name == read


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("invoice", "inv_8", 8),
        ("subscription", "sub_3", 3),
        ("payment", "pay_31", 31),
        ("delivery", "dlv_90", 90),
        ("invoice", {"externalId": "A-17"}, {"externalId": "A-17"}),
        ("subscription", {"externalId": "00042"}, {"externalId": "00042"}),
    ],
)
def test_references_to_objects(kind, given, expected):
    assert only(**{kind: given}).refs == {kind: expected}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("invoice", "8"),
        ("invoice", 8),
        ("invoice", "sub_8"),
        ("invoice", "inv_0"),
        ("invoice", "inv_08"),
        ("invoice", "inv_99999999999999999999"),
        ("invoice", {}),
        ("invoice", {"externalId": ""}),
        ("invoice", {"externalId": 7}),
        ("invoice", {"externalId": "x" * 255}),
        ("delivery", {"externalId": "A"}),
        ("payment", ["pay_1"]),
    ],
)
def test_references_that_cannot_be_read(kind, given):
    refusal = refused({"name": "a", kind: given})
    assert (refusal.code, list(refusal.details["fields"])) == ("invalid", [kind])
    assert "written as" in refusal.message


def test_a_reference_by_another_key_is_an_unknown_key():
    refusal = refused({"name": "a", "invoice": {"number": "INV-8"}})
    assert (refusal.code, refusal.details["path"]) == ("unknown_key", "invoice")


@pytest.mark.parametrize(
    ("given", "refs"),
    [
        ("cus_7", [7]),
        ({"id": "cus_7"}, [7]),
        ({"externalId": "00042"}, [{"externalId": "00042"}]),
        ({"email": " ana@example.com "}, [{"email": "ana@example.com"}]),
        ({"email": "a@x.example", "externalId": "1"}, [{"externalId": "1"}, {"email": "a@x.example"}]),
        ({"id": "cus_7", "email": "a@x.example"}, [7, {"email": "a@x.example"}]),
    ],
)
def test_references_to_customers(given, refs):
    assert only(customer=given).customer.refs == refs


def test_what_stands_beside_the_keys_is_kept_for_a_new_customer():
    given = {"externalId": "1", "name": "Ana", "timeZone": "Europe/Berlin", "country": "DE", "metadata": {"a": "b"}}
    assert only(customer=given).customer.fields == {
        "external_id": "1",
        "name": "Ana",
        "time_zone": "Europe/Berlin",
        "country": "DE",
        "metadata": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (7, "customer"),
        ("inv_7", "customer"),
        ([], "customer"),
        ({}, "customer"),
        ({"name": "Ana"}, "customer"),
        ({"email": ""}, "customer.email"),
        ({"email": "  "}, "customer.email"),
        ({"externalId": 42}, "customer.externalId"),
        ({"id": 7}, "customer.id"),
        ({"id": "7"}, "customer.id"),
        ({"email": "x" * 255}, "customer.email"),
    ],
)
def test_customers_that_cannot_be_read(given, path):
    refusal = refused({"name": "a", "customer": given})
    assert (refusal.code, list(refusal.details["fields"])) == ("invalid", [path])


@pytest.mark.parametrize(
    ("body", "nearest"),
    [
        ({"name": "a", "costumer": "cus_7"}, "customer"),
        ({"name": "a", "data": {}}, None),
        ({"events": [], "event": 1}, "events"),
        ({"events": [{"name": "a", "payloads": {}}]}, "payload"),
        ({"name": "a", "customer": {"email": "a@x.example", "time_zone": "UTC"}}, "timeZone"),
    ],
)
def test_unknown_keys(body, nearest):
    refusal = refused(body)
    assert (refusal.code, refusal.details["nearest"]) == ("unknown_key", nearest)


@pytest.mark.parametrize("body", [None, [], "x", 7, True])
def test_a_body_is_an_object(body):
    assert refused(body).code == "invalid"


def test_as_many_events_as_fit_and_no_more():  # DESIGN 6
    assert len(read_events({"events": [{"name": "a"}] * MOST_EVENTS})) == MOST_EVENTS
    refusal = refused({"events": [{"name": "a"}] * (MOST_EVENTS + 1)})
    assert (refusal.code, refusal.details["limit"]) == ("limit_exceeded", MOST_EVENTS)


@pytest.mark.parametrize(
    "payload",
    [
        {"text": "x" * MOST_BYTES},
        {"text": "é" * (MOST_BYTES // 2)},
        {f"key{number}": "x" * 300 for number in range(300)},
        {"list": list(range(30_000))},
        {"deep": {"deeper": ["x" * 1000] * 70}},
    ],
)
def test_a_payload_that_is_too_large(payload):  # DESIGN 6: event 64 kB
    refusal = refused({"events": [{"name": "a"}, {"name": "a", "payload": payload}]})
    assert (refusal.code, refusal.details["path"]) == ("limit_exceeded", "events[1].payload")
    assert refusal.details["size"] > MOST_BYTES


@pytest.mark.parametrize(
    "payload",
    [
        {"text": "x" * (MOST_BYTES - 20)},
        {f"key{number}": "x" * 256 for number in range(32)},
        {"amount": Decimal("1.10")},
    ],
)
def test_a_payload_that_fits(payload):
    assert only(payload=payload).payload == payload


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["name", "id", "customer", "invoice", "payload", "occurredAt", "delivery", "other"])


def read_or_refused(body):
    """The events of a body, or the refusal; anything else is a defect."""
    try:
        return read_events(body), None
    except Refusal as refusal:
        return None, refusal


@given(st.dictionaries(KEYS, ANYTHING, max_size=5))
def test_whatever_comes_is_read_or_refused_and_nothing_else(body):  # RELIABILITY 40: 0 5xx
    read, refusal = read_or_refused(body)
    if refusal is not None:
        assert refusal.status == 422
        assert refusal.message
    else:
        assert [event.name for event in read] == [body["name"]]


@given(st.lists(st.dictionaries(KEYS, ANYTHING, max_size=4), max_size=4))
def test_a_list_is_read_whole_or_refused_at_a_place(events):
    read, refusal = read_or_refused({"events": events})
    if refusal is not None:
        assert "events" in refusal.message or refusal.code == "unknown_key"
    else:
        assert len(read) == len(events)
