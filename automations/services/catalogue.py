"""The catalogue: every trigger, step, action and variable with its JSON Schemas, made from their declarations (CONTRACTS 6, TRG-48).

It changes only with the code and with the custom events that a workspace has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from accounts.actor import Actor
from automations.engine.expressions import filters, operators
from automations.engine.kinds import Action, Kind, Root, Trigger
from automations.engine.registry import registry
from automations.models import EventShape
from automations.services.jsontext import dumps

#: Names of ports as people read them.
PORT_LABELS = {
    "next": "Next",
    "true": "Yes",
    "false": "No",
    "a": "A",
    "b": "B",
    "each": "For each",
    "default": "Otherwise",
    "timeout": "Timed out",
    "error": "On error",
}
#: Roots that are there without a declaration (CONTRACTS 5), with what they offer.
BUILT_IN: tuple[tuple[str, str, str], ...] = (
    ("run.id", "text", "Run"),
    ("run.startedAt", "datetime", "Run started at"),
    ("run.step", "text", "Step"),
    ("workspace.name", "text", "Workspace"),
    ("workspace.currency", "text", "Currency"),
    ("workspace.timeZone", "text", "Time zone"),
    ("wait.outcome", "text", "Outcome of the latest wait"),
    ("loop.index", "number", "Number of the iteration"),
    ("loop.first", "boolean", "First iteration"),
    ("loop.last", "boolean", "Last iteration"),
    ("now", "datetime", "Now"),
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The document and its entity tag."""

    data: dict[str, Any]
    etag: str


def catalogue(*, actor: Actor) -> Catalogue:
    """All that can be used in this workspace, in one query."""
    actor.require("read")
    learned = EventShape.objects.filter(workspace_id=actor.workspace_id).order_by("name")
    events = [{"name": name, "fields": paths} for name, paths in learned.values_list("name", "paths")]
    data = {**declared(), "events": events}
    return Catalogue(data, hashlib.sha256(dumps(data, sort_keys=True).encode()).hexdigest()[:32])


@lru_cache(maxsize=1)
def declared() -> dict[str, Any]:
    """What follows from the code alone; the registry does not change once the process has started."""
    return {
        "triggers": [_trigger(trigger) for trigger in _by_key(registry.triggers)],
        "steps": [_step(step) for step in _by_key(registry.steps)],
        "actions": [_step(action) for action in _by_key(registry.actions)],
        "variables": list(_variables()),
        "operators": operators(),
        "filters": filters(),
        "queries": [{"name": query.name, "root": query.root} for query in _by_key(registry.queries)],
    }


def _by_key(table: Mapping[str, Any]) -> list[Any]:
    return [table[key] for key in sorted(table)]


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a configuration, in written (camelCase) names."""
    return model.model_json_schema(by_alias=True)


def _trigger(trigger: Trigger) -> dict[str, Any]:
    return {
        "name": trigger.key,
        "label": trigger.label,
        "hint": trigger.hint,
        "group": trigger.group,
        "type": trigger.type,
        "subject": trigger.subject,
        "dispatch": trigger.dispatch,
        "ends": [{"event": end.event, "reason": end.reason} for end in trigger.ends],
        "parameters": schema_of(trigger.Parameters),
        "variables": schema_of(trigger.Data) if trigger.Data is not None else {"type": "object"},
        "actions": [action.key for action in _by_key(registry.actions) if allowed(action, trigger)],
        "filters": [item["path"] for item in _variables() if item["root"] in trigger.provides],
        "sample": dict(trigger.sample),
        "legacy": trigger.legacy,
    }


def allowed(action: Action, trigger: Trigger) -> bool:
    """Whether the action can stand on the trigger: named by it, or the trigger's runs are about all that it needs (ACT-33)."""
    if action.triggers is not None:
        return trigger.key in action.triggers
    return action.subjects <= trigger.provides


def _step(kind: Kind) -> dict[str, Any]:
    sample = kind.sample()
    return {
        "name": kind.key,
        "label": kind.label,
        "help": kind.help,
        "group": kind.group,
        "icon": kind.icon,
        "config": schema_of(kind.Config),
        "ports": [_port(name, when) for name, when in _ports(kind, sample).items()],
        "output": schema_of(kind.Output),
        "subjects": sorted(kind.subjects),
        "triggers": None if kind.triggers is None else sorted(kind.triggers),
        "effect": kind.effect,
        "money": kind.money,
        "example": sample.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }


def _port(name: str, when: str | None) -> dict[str, Any]:
    return {"name": name, "label": PORT_LABELS.get(name, name), "optional": name == "error", "when": when}


def _ports(kind: Kind, sample: BaseModel) -> dict[str, str | None]:
    """Outputs of the sample, and those that a switch of the configuration adds, with the switch."""
    ports: dict[str, str | None] = dict.fromkeys(kind.ports(sample))
    for name, field in type(sample).model_fields.items():
        value = getattr(sample, name)
        if isinstance(value, bool):
            for port in kind.ports(sample.model_copy(update={name: not value})):
                ports.setdefault(port, field.alias or name)
    return ports


@lru_cache(maxsize=1)
def _variables() -> tuple[dict[str, Any], ...]:
    declared = [item for name in sorted(registry.roots) for item in _fields(registry.roots[name])]
    built_in = [
        {"path": path, "type": type_, "label": label, "root": path.split(".")[0], "aliases": []}
        for path, type_, label in BUILT_IN
    ]
    return (*declared, *built_in)


def _fields(root: Root) -> Iterator[dict[str, Any]]:
    bare: dict[str, list[str]] = {}
    for name, path in root.bare.items():
        bare.setdefault(path, []).append(name)
    for field, schema in _properties(root.Fields):
        others = [f"{other}.{field}" for other in root.other_names]
        yield {
            "path": f"{root.name}.{field}",
            "type": type_of(schema),
            "label": schema.get("title", field),
            "root": root.name,
            "aliases": [*others, *bare.get(field, ())],
        }


def _properties(model: type[BaseModel]) -> list[tuple[str, dict[str, Any]]]:
    return list(schema_of(model).get("properties", {}).items())


def type_of(schema: Mapping[str, Any]) -> str:
    """The type that conditions know, of a field's JSON Schema: text, number, boolean, date, datetime, list or object."""
    kinds = [item for item in schema.get("anyOf", (schema,)) if item.get("type") != "null"]
    first = kinds[0] if kinds else schema
    if first.get("format") in ("date", "date-time"):
        return "date" if first["format"] == "date" else "datetime"
    names = {"integer": "number", "number": "number", "boolean": "boolean", "array": "list", "object": "object"}
    if "$ref" in first:
        return "object"
    return names.get(str(first.get("type")), "text")
