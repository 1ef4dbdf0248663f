"""Spellings that are read and never written (CONTRACTS 4): type names, configuration keys and ports of the products followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from automations.engine.durations import Duration, DurationError
from automations.engine.ports import EACH, NEXT, case_ids
from automations.engine.reading.head import event_name
from automations.engine.reading.parsed import Path

TYPES = {
    "wait": "delay",
    "WAIT": "delay",
    "SEND_EMAIL": "send_email",
    "WAIT_UNTIL": "wait_until",
    "CONDITIONAL_SPLIT": "condition",
    "PERCENTAGE_SPLIT": "percentage_split",
}

#: Keys of a step that hold what follows one of its outputs. Every step has `onError` besides.
ARMS: Mapping[str, Mapping[str, str]] = {
    "condition": {"then": "true", "else": "false", "a": "true", "matched": "true", "b": "false"},
    "percentage_split": {"a": "a", "b": "b"},
    "wait_until": {"onEvent": NEXT, "onTimeout": "timeout"},
    "loop": {"steps": EACH, "body": EACH},
    "branch": {"default": "default"},
}
_PORTS: Mapping[str, Mapping[str, str]] = {
    "condition": {"a": "true", "matched": "true", "b": "false"},
    "wait_until": {"event": NEXT},
    "loop": {"body": EACH},
}
_LENGTHS = ("months", "days", "hours", "minutes")


@dataclass(slots=True)
class Normal:
    """A step in its canonical spelling. `renamed` maps paths in `config` to the written ones; `ports` renames outputs."""

    type: str
    config: dict[str, Any]
    renamed: dict[Path, Path] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)


def canonical_type(name: str) -> str:
    """The registry's name of a type or action."""
    return TYPES.get(name, name)


def canonical_port(step: Normal, port: str) -> str:
    """The output that is meant by `port` as it was written."""
    if port in step.ports:
        return step.ports[port]
    if step.type == "branch" and port in case_ids(step.config):
        return port
    named = _PORTS.get(step.type, {}).get(port, port)
    return NEXT if named == "out" else named


def normal(type_: str, config: dict[str, Any], has_default: bool = False) -> Normal:
    """Resolve the aliases of a step. `has_default`: its default is written, so it stays a branch with a case without `if`."""
    step = Normal(type_, dict(config))
    if type_ == "branch" and not (has_default and "cases" in config):
        _branch_as_condition(step)
    _FORMS.get(step.type, _as_it_is)(step)
    return step


def _as_it_is(step: Normal) -> None:
    """Most steps have one spelling."""


def _branch_as_condition(step: Normal) -> None:
    """A branch with an `if` of its own, or with two cases of which the last has none, is a condition."""
    cases: Any = step.config.get("cases")
    if cases is None and "if" in step.config:
        step.type, step.ports = "condition", {"default": "false"}
    elif _is_two_way(cases) and set(step.config) == {"cases"}:
        step.type, step.config = "condition", {"if": cases[0]["if"]}
        step.renamed[("if",)] = ("cases", 0, "if")
        step.ports = {
            str(case.get("id")): port for case, port in zip(cases, ("true", "false"), strict=True) if "id" in case
        }
        step.ports["default"] = "false"


def _is_two_way(cases: Any) -> bool:
    return (
        isinstance(cases, list)
        and len(cases) == 2
        and all(isinstance(case, dict) for case in cases)
        and "if" in cases[0]
        and "if" not in cases[1]
    )


def _condition(step: Normal) -> None:
    if "if" not in step.config and "condition" in step.config:
        step.config["if"] = step.config.pop("condition")
        step.renamed[("if",)] = ("condition",)


def _delay(step: Normal) -> None:
    """`{months, days, hours, minutes}` in any combination are a duration (STP-12)."""
    given = {key: step.config[key] for key in _LENGTHS if key in step.config}
    if not given or {"duration", "until", "anchor"} & set(step.config):
        return
    try:
        duration = Duration.from_fields({key: value or 0 for key, value in given.items()})
    except DurationError:
        return  # kept as written; validation says what is wrong with it
    for key in given:
        del step.config[key]
    step.config["duration"] = str(duration)
    step.renamed[("duration",)] = (next(iter(given)),)


def _wait_until(step: Normal) -> None:
    event = step.config.get("event")
    if isinstance(event, str):
        step.config["event"] = event_name(event)


_FORMS: Mapping[str, Callable[[Normal], None]] = {
    "condition": _condition,
    "delay": _delay,
    "wait_until": _wait_until,
}
