"""The graph form as plain JSON data: what a version stores and the API shows (CONTRACTS 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from automations.engine.definition import Definition, ErrorHandling, ExitSpec, GoalSpec, Node, Settings, TriggerSpec
from automations.engine.graph import canonical


def to_data(definition: Definition) -> dict[str, Any]:
    """JSON data of the canonical graph form. Numbers with a point are floats here; the reader refuses those that a float does
    not keep, so `read_data(to_data(d))` is `d` and the data passes through any JSON store."""
    definition = canonical(definition)
    return {
        "version": definition.version,
        "key": definition.key,
        "name": definition.name,
        "description": definition.description,
        **head_data(definition),
        "exits": [_exit(item) for item in definition.exits],
        "settings": settings_data(definition.settings),
        "nodes": [node_data(node) for node in definition.nodes],
        "edges": [{"from": edge.source, "port": edge.port, "to": edge.target} for edge in definition.edges],
    }


def fingerprint(definition: Definition) -> str:
    """SHA-256 of the canonical graph form, in hexadecimal: equal for equal graphs, however they were written (P5)."""
    text = json.dumps(to_data(definition), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def head_data(definition: Definition) -> dict[str, Any]:
    """Trigger, filter and goal; absent ones are left out."""
    data: dict[str, Any] = {"trigger": _trigger(definition.trigger)}
    if definition.filter:
        data["filter"] = _expressions(definition.filter)
    if definition.goal is not None:
        data["goal"] = _goal(definition.goal)
    return data


def exits_data(definition: Definition) -> list[dict[str, Any]]:
    """The exits in order."""
    return [_exit(item) for item in definition.exits]


def node_data(node: Node) -> dict[str, Any]:
    """One step of the graph form."""
    data: dict[str, Any] = {"id": node.id, "type": node.type, **common_data(node), "config": plain(node.config)}
    if node.error_handling is not None:
        data["errorHandling"] = error_handling_data(node.error_handling)
    if node.position is not None:
        data["position"] = position_data(node.position)
    return data


def common_data(node: Node) -> dict[str, Any]:
    """Name and note, where given."""
    return {key: value for key, value in (("name", node.name), ("note", node.note)) if value}


def position_data(position: tuple[float, float]) -> dict[str, Any]:
    """Whole numbers without a point."""
    return {axis: int(value) if value == int(value) else value for axis, value in zip("xy", position, strict=True)}


def error_handling_data(handling: ErrorHandling) -> dict[str, Any]:
    """All three values, as written or by default (DEF-19)."""
    return {
        "retries": handling.retries,
        "retryDelay": handling.retry_delay,
        "backoffMultiplier": handling.backoff_multiplier,
    }


def settings_data(settings: Settings) -> dict[str, Any]:
    """What differs from the defaults."""
    standard = Settings()
    data: dict[str, Any] = {}
    if settings.scope:
        data["scope"] = list(settings.scope)
    for key, value, default in (
        ("pacing", settings.pacing, standard.pacing),
        ("reentry", settings.reentry, standard.reentry),
        ("transactional", settings.transactional, None),
        ("restartOnOwnEffects", settings.restart_on_own_effects, False),
        ("maxRunAge", settings.max_run_age, None),
    ):
        if value != default:
            data[key] = value
    if settings.error_handling is not None:
        data["errorHandling"] = error_handling_data(settings.error_handling)
    return data


def plain(value: Any) -> Any:
    """Nested data as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def _expressions(texts: tuple[str, ...]) -> str | list[str]:
    return texts[0] if len(texts) == 1 and texts[0] else list(texts)


def _trigger(trigger: TriggerSpec) -> dict[str, Any]:
    data: dict[str, Any] = {"type": trigger.type}
    if trigger.type == "event":
        data["event"] = trigger.event
        if trigger.where:
            data["where"] = _expressions(trigger.where)
        if trigger.max_age is not None:
            data["maxAge"] = trigger.max_age
    return data | plain(trigger.parameters)


def _exit(item: ExitSpec) -> dict[str, Any]:
    data: dict[str, Any] = {"event": item.event}
    if item.where:
        data["where"] = _expressions(item.where)
    return data | ({"reason": item.reason} if item.reason else {})


def _goal(goal: GoalSpec) -> dict[str, Any]:
    data: dict[str, Any] = {"event": goal.event, "within": goal.within}
    if goal.where:
        data["where"] = _expressions(goal.where)
    return data | ({"endsRun": True} if goal.ends_run else {})
