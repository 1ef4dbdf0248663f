"""Envelopes in the database: `delivery.envelope` holds what has no column of its own.

Values that JSON has no type for keep theirs, so that a text rendered later reads what the step read: a mapping with
the one key `$` is a marked value (`{"$": ["decimal", "129.00"]}`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from automations.engine.kinds import Envelope
from automations.engine.values import MISSING, Missing, StatusText, normalise
from automations.services.jsontext import plain_text
from automations.worker.answers import storable

_MARKED = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS


def to_json(envelope: Envelope) -> dict[str, Any]:
    """The column `envelope`. Everything else of the envelope has a column of its own."""
    return {"body": freeze(envelope.body), **_results(envelope), "subjects": dict(envelope.subjects)}


def _results(envelope: Envelope) -> dict[str, Any]:
    """What the log shows. Recipient and subject, which have columns, are not written again: `shown` is what the input has
    beside them where the output is these two (a mail)."""
    input, output, to, subject = envelope.input, envelope.output, envelope.to, envelope.subject
    if output == {"to": to, "subject": subject} and input.get("to") == to and input.get("subject") == subject:
        rest = {key: value for key, value in input.items() if key not in _COLUMNS}
        return {"shown": storable(rest)}
    return {"input": storable(input), "output": storable(output)}


_COLUMNS = ("to", "subject")


def envelope_json(envelope: Envelope) -> str:
    """The same as text, for COPY. Marks are made while the text is; where data of the run look like marks (`$`), or are of a
    kind that JSON does not know, it is the slower way."""
    made: list[Any] = []

    def mark(value: Any) -> Any:
        if not isinstance(value, (StatusText, Decimal, date, Missing)):
            raise TypeError
        frozen = freeze(value)
        if frozen is not None:
            made.append(frozen)
        return frozen

    data = {"body": envelope.body, **_results(envelope), "subjects": envelope.subjects}
    try:
        text = orjson.dumps(data, mark, _MARKED).decode()
    except TypeError:
        return plain_text(to_json(envelope))
    if text.count('"$":') != len(made) or "\\u0000" in text:
        return plain_text(to_json(envelope))
    return text


def from_json(
    data: Mapping[str, Any], *, kind: str, to: str, subject: str, customer_mail: bool, waits: bool, money: bool
) -> Envelope:
    """The envelope of a delivery row. The retry policy stays with the row."""
    results = data
    if "shown" in data:
        columns = {"to": to, "subject": subject}
        results = {"input": {**columns, **data["shown"]}, "output": columns}
    return Envelope(
        kind=kind,
        body=thaw(data.get("body") or {}),
        input=results.get("input") or {},
        output=results.get("output") or {},
        to=to,
        subject=subject,
        subjects=data.get("subjects") or {},
        customer_mail=customer_mail,
        waits=waits,
        money=money,
    )


def freeze(value: Any) -> Any:
    """Plain data as JSON that `thaw` gives back unchanged."""
    kind = type(value)
    if kind is str:
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    if kind in _FROZEN:
        return value
    value = normalise(value)
    if isinstance(value, Mapping):
        frozen = {str(key): freeze(item) for key, item in value.items()}
        return {"$": ["map", frozen]} if "$" in frozen else frozen
    if isinstance(value, list):
        return [freeze(item) for item in value]
    if isinstance(value, StatusText):
        return {"$": ["status", str.__str__(value), value.stored, sorted(value.also)]}
    if isinstance(value, Decimal):
        return {"$": ["decimal", str(value)]}
    if isinstance(value, date):
        return {"$": ["time" if isinstance(value, datetime) else "date", value.isoformat()]}
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    return None if value is MISSING else value


_FROZEN = frozenset({int, bool, type(None)})


def thaw(data: Any) -> Any:
    """The data that `freeze` wrote."""
    if isinstance(data, list):
        return [thaw(item) for item in data]
    if not isinstance(data, dict):
        return data
    marked = data.get("$")
    return _MARKS[marked[0]](*marked[1:]) if marked else {key: thaw(item) for key, item in data.items()}


_MARKS: dict[str, Any] = {
    "map": lambda items: {key: thaw(item) for key, item in items.items()},
    "status": lambda text, stored, also: StatusText(text, stored, frozenset(also)),
    "decimal": Decimal,
    "time": datetime.fromisoformat,
    "date": date.fromisoformat,
}
