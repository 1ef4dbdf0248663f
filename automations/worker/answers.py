"""Outcomes as JSON: what a settled delivery leaves in `delivery.outcome` and in `run.answer["outcome"]`.

{"kind": "done", "output": {...}}
{"kind": "failed", "code", "message", "temporary", "details"}
{"kind": "refused", "code", "message"}        {"kind": "unknown", "message"}
{"kind": "suppressed" | "skipped", "code": <reason>, "message": ""}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automations.engine.outcomes import Done, Failed, Outcome, Refused, Skipped, Suppressed, Unknown
from automations.engine.values import plain


def encode(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON data that the database can hold."""
    if isinstance(outcome, Done):
        return {"kind": "done", "output": storable(outcome.output)}
    if isinstance(outcome, Failed):
        return {
            "kind": "failed",
            "code": outcome.code,
            "message": storable(outcome.message),
            "temporary": outcome.temporary,
            "details": storable(outcome.details),
        }
    if isinstance(outcome, Refused):
        return {"kind": "refused", "code": outcome.code, "message": storable(outcome.message)}
    if isinstance(outcome, Unknown):
        return {"kind": "unknown", "message": storable(outcome.message)}
    kind = "suppressed" if isinstance(outcome, Suppressed) else "skipped"
    return {"kind": kind, "code": outcome.reason, "message": ""}


def decode(data: Mapping[str, Any]) -> Outcome:
    """The outcome that `encode` wrote. A kind that is not known is a `KeyError`: nothing else writes this column."""
    return _READERS[data["kind"]](data)


_READERS: dict[str, Any] = {
    "done": lambda data: Done(data.get("output") or {}),
    "failed": lambda data: Failed(
        data.get("code") or "failed", data.get("message") or "", bool(data.get("temporary")), data.get("details") or {}
    ),
    "refused": lambda data: Refused(data.get("code") or "refused", data.get("message") or ""),
    "unknown": lambda data: Unknown(data.get("message") or ""),
    "suppressed": lambda data: Suppressed(data.get("code") or ""),
    "skipped": lambda data: Skipped(data.get("code") or ""),
}


def decode_answer(data: Mapping[str, Any]) -> Any:
    """What moved a parked run, as the walk takes it: the `Outcome` of its delivery, or the data as they stand."""
    return decode(data["outcome"]) if "outcome" in data else data


def error_of(outcome: Outcome) -> dict[str, Any] | None:
    """The error that a log row or an attempt shows, in the shape of CONTRACTS 9; None when there is none."""
    data = encode(outcome)
    if data["kind"] == "done":
        return None
    return {
        "code": data.get("code") or data["kind"],
        "message": data["message"],
        "temporary": data.get("temporary", False),
        "details": data.get("details", {}),
    }


def storable(value: Any) -> Any:
    """Plain JSON data without the one character that jsonb refuses."""
    return without_nul(plain(value))


def without_nul(value: Any) -> Any:
    """The same data with the replacement character in the place of NUL."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    if isinstance(value, dict):
        return {without_nul(key): without_nul(item) for key, item in value.items()}
    return [without_nul(item) for item in value] if isinstance(value, list) else value
