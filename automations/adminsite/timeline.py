"""The log of a run as a line of steps, oldest first: what each one did, by which output it was left, and why (EXE-11 to 17).

One query for the rows; labels come from the run's version, which cannot change (VER-08).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join

from accounts.adminsite.look import id_link, lasting, moment, plain, pretty
from automations.adminsite.words import STEPS
from automations.engine.registry import registry
from automations.models import Delivery, Run, StepLog

ROWS = 100  # newest ones first shown (CONTRACTS 10)
FALLBACK, LATE = 1, 2  # bits of `step_log.flags`
_FAMILIES = {
    "mail": "message", "webhook": "outside", "card": "money", "file-x": "money", "clock": "time", "hourglass": "time",
    "branch": "logic", "split": "logic", "percent": "logic", "repeat": "logic", "stop": "end",
}  # fmt: skip
_SIGNS = {
    "message": "mail", "outside": "outside", "money": "card", "time": "hourglass", "logic": "fork", "end": "flag",
    "record": "record",
}  # fmt: skip
_PORTS = {"next": "", "true": "yes", "false": "no", "error": "on error", "timeout": "on time-out", "each": "for each"}


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of the steps of a version: what people called them, else what they are."""

    nodes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> Labels:
        """From the graph form."""
        return cls({str(node["id"]): node for node in definition.get("nodes", ())})

    def name(self, step: str | None) -> str:
        """What people called it, else what it does in a line (`Wait 3d`), else its id."""
        node = self.nodes.get(step or "", {})
        return str(node.get("name") or _summary(node) or step or "")

    def kind(self, type_: str) -> str:
        """`Retry payment`; the key of a kind that is no more."""
        found = registry.kind(type_)
        return found.label if found else type_


def _summary(node: Mapping[str, Any]) -> str:
    kind = registry.kind(str(node.get("type", "")))
    if kind is None:
        return ""
    try:
        return kind.summary(kind.Config.model_validate(dict(node.get("config") or {})))
    except ValueError:  # made for another version of the kind
        return kind.label


@dataclass(frozen=True, slots=True)
class Item:
    """One attempt of a visit, ready to be shown."""

    seq: int
    step: str
    name: str
    kind: str
    family: str
    sign: str
    state: tuple[str, str, str]
    port: str
    outcome: Any
    attempt: int
    at: datetime
    lasted: str
    error: Mapping[str, Any] | None = None
    warnings: Sequence[Any] = ()
    details: Sequence[tuple[str, Any]] = field(default_factory=list)
    notes: Sequence[str] = ()
    delivery: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A page of the log. `earlier` is the visit to go on before, None at the beginning."""

    items: Sequence[Item]
    earlier: int | None


def read_line(run: Run, labels: Labels, deliveries: Iterable[Delivery], before: int | None = None) -> Line:
    """The newest rows before the visit `before`, oldest first. One row more than fits says whether there are earlier ones; a
    visit whose attempts do not all fit is left to the earlier page."""
    rows = StepLog.objects.filter(run_id=run.pk)
    if before is not None:
        rows = rows.filter(seq__lt=before)
    found = list(rows.order_by("-seq", "-attempt", "-recorded_at")[: ROWS + 1])
    more = len(found) > ROWS
    shown = [row for row in found if row.seq > found[ROWS].seq] or found[:ROWS] if more else found
    by_visit = {delivery.visit: delivery.pk for delivery in deliveries if not delivery.effect}
    items = [item_of(row, labels, by_visit.get(row.seq)) for row in reversed(shown)]
    return Line(items, shown[-1].seq if more else None)


def item_of(row: StepLog, labels: Labels, delivery: int | None) -> Item:
    """One row of the log."""
    kind = registry.kind(row.type)
    family = _FAMILIES.get(kind.icon if kind else "", "record")
    named = (("Input", row.input), ("Output", row.output), ("Error", (row.error or {}).get("details") and row.error))
    return Item(
        seq=row.seq,
        step=row.step,
        name=labels.name(row.step),
        kind=labels.kind(row.type),
        family=family,
        sign=_SIGNS[family],
        state=STEPS.get(row.status, (row.status, "idle", "")),
        port=_PORTS.get(row.port or "", row.port or ""),
        outcome=outcome_of(row) if row.status == "succeeded" else "",
        attempt=row.attempt + 1,  # people count from one
        at=row.ended_at,
        lasted=_lasted(row),
        error=row.error,
        warnings=row.warnings or (),
        details=[(name, pretty(value)) for name, value in named if value],
        notes=_notes(row),
        delivery=delivery,
    )


def _lasted(row: StepLog) -> str:
    """How long it took; a later try has only the time since the step was entered."""
    span = row.ended_at - row.started_at
    if span < timedelta(milliseconds=1):
        return ""
    return f"took {lasting(span)}" if not row.attempt else f"{lasting(span)} after the step was entered"


def _notes(row: StepLog) -> list[str]:
    turn = f"item {'.'.join(str(int(part) + 1) for part in row.iteration.split('.'))}" if row.iteration else ""
    fallback = "fallback" if row.flags & FALLBACK else ""
    late = "came after the run had gone on" if row.flags & LATE else ""
    return [note for note in (turn, fallback, late) if note]


def outcome_of(row: StepLog) -> Any:
    """What came of the step, with the values that decided."""
    output = row.output or {}
    say = _SAID.get(row.type)
    return say(output) if say else pairs(output)


def pairs(output: Mapping[str, Any]) -> Any:
    """Plain values of an output: `paid · payment pay_179`; a `result` needs no name."""
    rest = [(words(key), _value(item)) for key, item in output.items() if key != "result" and _plain(item)]
    first = [("", _value(output["result"]))] if _plain(output.get("result")) else []
    said = (format_html("{} {}", key, item) if key else item for key, item in [*first, *rest][:4])
    return format_html_join(" · ", "{}", ((part,) for part in said))


def words(name: str) -> str:
    """`failureReason` is `failure reason`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: " " + match[1].lower(), name).replace("_", " ")


def _plain(value: Any) -> bool:
    return value not in (None, "") and not isinstance(value, (Mapping, list))


def _value(value: Any) -> Any:
    return id_link(value) if isinstance(value, str) else plain(value)


def _decision(output: Mapping[str, Any]) -> Any:
    values = output.get("values") or {}
    shown = (format_html("<code>{}</code> is {}", key, _value(value)) for key, value in values.items() if _plain(value))
    return format_html_join(", ", "{}", ((part,) for part in shown))


def _split(output: Mapping[str, Any]) -> Any:
    if output.get("kept"):
        return "kept from an earlier visit"
    below = "below" if output.get("branch") == "a" else "not below"
    return f"bucket {output.get('bucket')} is {below} {output.get('threshold')}"


def _delay(output: Mapping[str, Any]) -> Any:
    until = parse_datetime(str(output.get("until") or ""))
    if output.get("outcome") == "no_date":
        return "went on at once: the date is not set"
    said = "went on at once: the time had passed" if output.get("outcome") == "past" else "waited"
    return format_html("{} until {}", said, moment(until)) if until and said == "waited" else said


def _wait(output: Mapping[str, Any]) -> Any:
    if output.get("outcome") == "timeout":
        return "nothing came in time"
    return format_html("{} came", id_link(output.get("event"))) if output.get("event") else pairs(output)


def _loop(output: Mapping[str, Any]) -> Any:
    count = output.get("count")
    return pairs(output) if count is None else f"{count} {'item' if count == 1 else 'items'}"


_SAID: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "condition": _decision,
    "branch": _decision,
    "percentage_split": _split,
    "delay": _delay,
    "wait_until": _wait,
    "loop": _loop,
}
