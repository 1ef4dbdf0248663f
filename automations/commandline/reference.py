"""The reference page of the documentation, made from the declarations of triggers, steps, actions, variables and the language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from automations.services.catalogue import declared

HEAD = """# Reference

Made by `python manage.py automations reference` from the declarations in the code; `tests/commands/test_reference.py` keeps it equal.
The same declarations give `GET /api/v1/catalogue`, the palette, the forms and the validator.
"""


def page() -> str:
    """The whole page in Markdown."""
    data = declared()
    parts = [HEAD, "## Triggers\n", *map(_trigger, data["triggers"]), "## Control steps\n", *map(_step, data["steps"])]
    parts += ["## Actions\n", *map(_step, data["actions"]), "## Variables\n", _variables(data["variables"])]
    parts += ["## Operators and filters\n", _language(data), "## Queries\n", _queries(data["queries"])]
    return "\n".join(parts).rstrip() + "\n"


def _trigger(trigger: Mapping[str, Any]) -> str:
    lines = [f"### `{trigger['name']}`: {trigger['label']}\n"]
    lines += [f"{trigger['hint']}\n"] if trigger["hint"] else []
    facts = f"Group {trigger['group']}; about the {trigger['subject']}; {trigger['dispatch']}."
    ends = ", ".join(f"`{end['event']}` ({end['reason']})" for end in trigger["ends"])
    lines.append(facts + (f" Ends on {ends}." if ends else "") + (" Legacy." if trigger["legacy"] else "") + "\n")
    return "\n".join(lines + _fields("Parameter", trigger["parameters"]))


def _step(step: Mapping[str, Any]) -> str:
    ports = ", ".join(
        f"`{port['name']}`" + (f" ({port['when']})" if port.get("when") else "") for port in step["ports"]
    )
    effect = {"none": "steers only", "local": "changes our own records", "outside": "acts outside"}[step["effect"]]
    lines = [
        f"### `{step['name']}`: {step['label']}\n",
        f"{step['help']}\n",
        f"Group {step['group']}; {effect}; outputs {ports or 'none'}.\n",
    ]
    return "\n".join(lines + _fields("Setting", step["config"]) + _fields("Output", step["output"]))


def _fields(title: str, schema: Mapping[str, Any]) -> list[str]:
    properties = schema.get("properties", {})
    if not properties:
        return []
    needed = set(schema.get("required", ()))
    rows = [
        f"| `{name}` | {_type(field, schema)} | {'yes' if name in needed else ''} | {_words(field)} |"
        for name, field in properties.items()
    ]
    return [f"| {title} | Type | Needed | |", "|---|---|---|---|", *rows, ""]


def _type(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"] if value is not None)
    if "anyOf" in field:
        return " or ".join(_type(choice, schema) for choice in field["anyOf"] if choice.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), schema)}"
    return str(field.get("type", "any"))


def _words(field: Mapping[str, Any]) -> str:
    words = [str(field[name]) for name in ("title", "description") if field.get(name)]
    return ". ".join(words).replace("|", "\\|").replace("\n", " ")


def _variables(variables: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        f"| `{item['path']}` | {item['type']} | {item['label']} | {', '.join(f'`{name}`' for name in item['aliases'])} |"
        for item in variables
    ]
    return "\n".join(["| Variable | Type | | Also |", "|---|---|---|---|", *rows, ""])


def _language(data: Mapping[str, Any]) -> str:
    operators = ", ".join(f"`{item['name']}`" for item in data["operators"])
    rows = [f"| `{item['name']}` | {item.get('label', '')} |" for item in data["filters"]]
    return "\n".join([f"Operators: {operators}.\n", "| Filter | |", "|---|---|", *rows, ""])


def _queries(queries: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(f"- `{query['name']}`: every {query['root']} of the workspace" for query in queries) + "\n"
