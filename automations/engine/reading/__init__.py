"""Reads definitions: YAML or JSON, as a graph or nested, into one canonical value (DESIGN 4, CONTRACTS 4).

Shape errors are refused all at once with key path and line (`DefinitionError`); everything else is stored as it is and told by
`automations.engine.validation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from automations.engine.definition import Definition
from automations.engine.graph import canonical
from automations.engine.problems import DefinitionError
from automations.engine.reading.draft import MAX_NAME, Draft
from automations.engine.reading.graph_form import read_graph
from automations.engine.reading.head import read_exits, read_goal, read_settings, read_trigger
from automations.engine.reading.json_text import parse_json
from automations.engine.reading.lines import TOP, Lines
from automations.engine.reading.nested_form import read_nested
from automations.engine.reading.parsed import MAX_BYTES, Parsed, Path, refusal
from automations.engine.reading.plain import Cleaner
from automations.engine.reading.shape import Shape
from automations.engine.reading.yaml_text import parse_yaml
from automations.engine.registry import Registry

Format = Literal["yaml", "json", "data"]

_TOP = (
    "version",
    "key",
    "name",
    "description",
    "trigger",
    "filter",
    "conditions",
    "exits",
    "goal",
    "settings",
    "errorHandling",
    "nodes",
    "edges",
    "steps",
)


@dataclass(frozen=True, slots=True)
class Source:
    """A definition as it was written. `order` are the steps' ids as they were read, `made` those that the reader gave."""

    definition: Definition
    lines: Lines = field(default_factory=Lines)
    format: Format = "data"
    order: tuple[str, ...] = ()
    made: frozenset[str] = frozenset()


def read_definition(
    text: str | bytes | Mapping[str, Any], registry: Registry, fmt: Literal["yaml", "json"] | None = None
) -> Source:
    """Read a text (or data that was parsed already). Without `fmt`, a text that begins with a brace is tried as JSON.

    Raises `DefinitionError` with every shape problem: `malformed`, `too_deep`, `duplicate_key`, `alias_refused`, `too_large`
    when the text cannot be read, else `invalid_definition`.
    """
    if isinstance(text, Mapping):
        return read_data(text, registry, strict=True)
    decoded = _decoded(text)
    if fmt is None:
        fmt = "json" if decoded.lstrip()[:1] == "{" and not _is_flow_yaml(decoded) else "yaml"
    parsed = parse_json(decoded) if fmt == "json" else parse_yaml(decoded)
    return _read(parsed, registry, fmt, lenient=False)


def read_data(data: Mapping[str, Any], registry: Registry, strict: bool = False) -> Source:
    """Read plain data, such as the graph form of a stored version.

    Unless `strict`, step types that are not known are kept: an old version stays readable when an action is gone, and
    validation names it.
    """
    cleaned = Cleaner().clean(data)
    return _read(Parsed(cleaned, {}), registry, "data", lenient=not strict)


def _decoded(text: str | bytes) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise refusal(
            "too_large", f"The definition has {size:,} bytes; at most {MAX_BYTES:,} are allowed. Split it in two."
        )
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        message = f"The text is not UTF-8: byte {error.start + 1}, on line {line}, cannot be read."
        raise refusal("malformed", message, line) from error
    return decoded.removeprefix("\ufeff")


def _is_flow_yaml(text: str) -> bool:
    """`{name: x}` is YAML in braces; JSON has a quote or a closing brace there."""
    return re.match(r"\s*\{\s*[^\s\"}]", text) is not None


def _read(parsed: Parsed, registry: Registry, fmt: Format, lenient: bool) -> Source:
    shape = Shape(parsed.lines)
    draft = Draft(registry, shape, lenient)
    if not isinstance(parsed.data, dict):
        message = "A definition is a mapping with a name, a trigger and steps; this text is none."
        raise refusal("invalid_definition", message, None if fmt == "data" else 1)
    data = parsed.data
    shape.keys(data, _TOP, ())
    definition = _definition(data, draft)
    if shape.problems:
        raise DefinitionError("invalid_definition", shape.problems)
    definition = canonical(definition)
    order = tuple(step.id for step in draft.steps)
    made = frozenset(step.id for step in draft.steps if step.made)
    return Source(definition, _lines(definition, data, parsed, draft), fmt, order, made)


def _definition(data: dict[str, Any], draft: Draft) -> Definition:
    shape = draft.shape
    if data.get("version", 1) != 1 or data.get("version", 1) is True:
        shape.report("bad_config", ("version",), "“version” is 1; other versions of the format are not known.")
    name = shape.text(data, "name", (), MAX_NAME)
    if not name.strip():
        shape.report("missing_config", ("name",), "A definition needs a name; add “name”.")
    if "filter" in data and "conditions" in data:
        shape.report("bad_config", ("conditions",), "“conditions” is another word for “filter”; keep one of them.")
    definition = Definition(
        name,
        read_trigger(data.get("trigger"), shape),
        key=shape.text(data, "key", (), 100),
        description=shape.text(data, "description", ()),
        filter=shape.expressions(data, "filter" if "filter" in data else "conditions", ()),
        exits=read_exits(data.get("exits"), shape),
        goal=read_goal(data.get("goal"), shape),
        settings=read_settings(data.get("settings"), shape, data.get("errorHandling")),
    )
    _steps(data, draft)
    return replace(definition, nodes=draft.nodes(), edges=draft.wires())


def _steps(data: dict[str, Any], draft: Draft) -> None:
    if "steps" in data and ("nodes" in data or "edges" in data):
        message = "A definition has either “steps” or “nodes” with “edges”; keep one form."
        draft.shape.report("bad_config", ("steps",), message)
    elif "steps" in data:
        read_nested(data, draft)
    else:
        read_graph(data, draft)


def _lines(definition: Definition, data: dict[str, Any], parsed: Parsed, draft: Draft) -> Lines:
    renamed: dict[tuple[int, Path], Path] = {}
    steps = [draft.by_id[node.id] for node in definition.nodes]
    for index, step in enumerate(steps):
        for path, written in step.normal.renamed.items():
            renamed[index, ("config", *path)] = ("config", *written)
    if "filter" not in data and "conditions" in data:
        renamed[TOP, ("filter",)] = ("conditions",)
    return Lines(parsed.lines, tuple(step.path for step in steps), renamed, "steps" in data)


__all__ = ["DefinitionError", "Format", "Lines", "Source", "read_data", "read_definition"]
