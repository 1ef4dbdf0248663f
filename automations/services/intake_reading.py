"""Reading the body of `POST /events` (CONTRACTS 7). By hand and not by serializers: a thousand events a request are the rule here,
and the same strictness costs a tenth of the time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

from accounts.api.serializers import unknown_key
from accounts.errors import Refusal
from accounts.ids import read_id
from automations.engine.registry import registry
from automations.services.jsontext import dumps

Ref = int | Mapping[str, str]
MOST_EVENTS = 1_000
MOST_BYTES = 64 * 1024  # of one event
OBJECTS = ("invoice", "subscription", "payment", "delivery")
KEYS = ["id", "name", "customer", *OBJECTS, "payload", "occurredAt"]
CUSTOMER_KEYS = ["id", "externalId", "email", "name", "segment", "plan", "country", "timeZone", "locale", "metadata"]
_KEYS, _CUSTOMER_KEYS, _OBJECTS = frozenset(KEYS), frozenset(CUSTOMER_KEYS), frozenset(OBJECTS)
_NO_REFS: Mapping[str, Ref] = {}
_NAME = re.compile(r"[a-z][a-z0-9_.]{0,99}", re.ASCII)
_FIELDS = {"externalId": "external_id", "timeZone": "time_zone"}
_OLD_NAMES = {"email_open": "email_opened", "email_click": "email_clicked"}


class GivenCustomer(NamedTuple):
    """How an event names its customer, and what was sent of it."""

    refs: Sequence[Ref]
    sent: Mapping[str, Any]

    @property
    def fields(self) -> dict[str, Any]:
        """What is known of it in case it is new."""
        return {_FIELDS.get(key, key): item for key, item in self.sent.items() if key != "id"}


class Posted(NamedTuple):
    """One event as it was sent. `place` is where it stands in the request: `events[3].`, or nothing for a single one."""

    place: str
    name: str
    id: str
    payload: Mapping[str, Any]
    occurred_at: datetime | None
    customer: GivenCustomer | None
    refs: Mapping[str, Ref]

    def path(self, key: str) -> str:
        """Where a key of it stands in the request."""
        return f"{self.place}{key}"


def read_events(body: Any) -> list[Posted]:
    """The events of a body, in order. The first thing that is wrong is refused with its place."""
    if not isinstance(body, dict):
        raise Refusal("invalid", "The body is an event, or an object with a list of events.", {"fields": {}})
    if "events" not in body:
        return [_event(body, "")]
    for key in body:
        if key != "events":
            raise unknown_key(str(key), ["events"])
    events = body["events"]
    if not isinstance(events, list) or not events:
        _wrong("events", "must be a list of at least one event")
    if len(events) > MOST_EVENTS:
        message = f"events: {len(events)} are too many for one request; send at most {MOST_EVENTS:,}."
        raise Refusal("limit_exceeded", message, {"limit": MOST_EVENTS, "fields": {"events": [message]}})
    return [_event(event, f"events[{index}].") for index, event in enumerate(events)]


def _event(data: Any, place: str) -> Posted:
    if not isinstance(data, dict):
        _wrong(place.rstrip("."), "must be an object")
    if not data.keys() <= _KEYS:
        raise unknown_key(next(str(key) for key in data if key not in _KEYS), KEYS, place.rstrip("."))
    payload = {} if data.get("payload") is None else data["payload"]
    if not isinstance(payload, dict):
        _wrong(f"{place}payload", "must be an object")
    _refuse_large(payload, place)
    return Posted(
        place=place,
        name=_name(data.get("name"), place),
        id=_id(data.get("id"), place),
        payload=payload,
        occurred_at=_time(data.get("occurredAt"), place),
        customer=_customer(data.get("customer"), place),
        refs=_NO_REFS if _OBJECTS.isdisjoint(data) else _refs(data, place),
    )


def _wrong(path: str, message: str) -> NoReturn:
    raise Refusal("invalid", f"{path}: {message}.", {"fields": {path: [message]}})


def _refuse_large(payload: Mapping[str, Any], place: str) -> None:
    """A payload of few plain values need not be measured."""
    if len(payload) <= 32 and all(map(_is_short, payload.values())):
        return
    size = len(dumps(payload).encode())
    if size > MOST_BYTES:
        message = f"{place}payload: {size:,} bytes are too many for one event; send at most {MOST_BYTES:,}."
        raise Refusal("limit_exceeded", message, {"limit": MOST_BYTES, "size": size, "path": f"{place}payload"})


def _is_short(value: Any) -> bool:
    return len(value) <= 256 if isinstance(value, str) else value is None or isinstance(value, int)


def _name(value: Any, place: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        _wrong(
            f"{place}name",
            "must begin with a small letter and have at most 100 letters a-z, digits, underscores and points",
        )
    return _OLD_NAMES.get(value, value)


def _id(value: Any, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        _wrong(f"{place}id", "must be text of 1 to 255 characters")
    return value


def _time(value: Any, place: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        _wrong(f"{place}occurredAt", "is no time; write for example 2026-11-20T09:14:02Z")


def _refs(data: Mapping[str, Any], place: str) -> dict[str, Ref]:
    return {key: _ref(key, data[key], f"{place}{key}") for key in OBJECTS if data.get(key) is not None}


def _ref(name: str, value: Any, path: str) -> Ref:
    prefix = "dlv" if name == "delivery" else registry.roots[name].prefix if name in registry.roots else name
    if isinstance(value, str) and (number := read_id(prefix, value)) is not None:
        return number
    if isinstance(value, dict) and name != "delivery":
        for key in value:
            if key != "externalId":
                raise unknown_key(str(key), ["externalId"], path)
        if _is_key(value.get("externalId")):
            return {"externalId": value["externalId"]}
    _wrong(path, f"is written as “{prefix}_7”" + ("" if name == "delivery" else ' or {"externalId": "…"}'))


def _customer(value: Any, place: str) -> GivenCustomer | None:
    if value is None:
        return None
    if isinstance(value, str) and (number := read_id("cus", value)) is not None:
        return GivenCustomer([number], {})
    if not isinstance(value, dict):
        _wrong(f"{place}customer", 'is written as “cus_7”, {"externalId": "…"} or {"email": "…"}')
    if not value.keys() <= _CUSTOMER_KEYS:
        raise unknown_key(
            next(str(key) for key in value if key not in _CUSTOMER_KEYS), CUSTOMER_KEYS, f"{place}customer"
        )
    return GivenCustomer(_customer_refs(value, place), value)


def _customer_refs(value: Mapping[str, Any], place: str) -> list[Ref]:
    refs: list[Ref] = []
    for key in ("externalId", "email"):
        given = value.get(key)
        if given is not None:
            if not _is_key(given):
                _wrong(f"{place}customer.{key}", "must be text of 1 to 254 characters")
            refs.append({key: given.strip()})
    if value.get("id") is not None:
        number = read_id("cus", value["id"]) if isinstance(value["id"], str) else None
        if number is None:
            _wrong(f"{place}customer.id", "is written as “cus_7”")
        refs.insert(0, number)
    if not refs:
        _wrong(f"{place}customer", "needs an id, an externalId or an email")
    return refs


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= 254
