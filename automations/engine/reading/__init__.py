"""Reads definitions: YAML or JSON, as a graph or nested, into one canonical value (DESIGN 4, CONTRACTS 4).

Shape errors are refused all at once with key path and line (`DefinitionError`); everything else is stored as it is and told by
`automations.engine.validation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from automations.engine.definition import Definition, Node
from automations.engine.graph import canonical
from automations.engine.problems import DefinitionError
from automations.engine.reading.draft import MAX_NAME, Draft
from automations.engine.reading.graph_form import read_graph
from automations.engine.reading.head import read_exits, read_goal, read_settings, read_trigger
from automations.engine.reading.json_text import parse_json
from automations.engine.reading.lines import Lines
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
    """A definition as it was written. `made` are the ids that the reader gave to steps without one; `align` may change them."""

    definition: Definition
    lines: Lines = field(default_factory=Lines)
    format: Format = "data"
    made: frozenset[str] = frozenset()


@dataclass
class ShapeError(DefinitionError):
    """A `DefinitionError` that also carries what could be read (`partial`), so that validation can add its own problems and
    everything is reported together (DEF-25). Nothing of it is ever stored."""

    partial: Source | None = None


def read_definition(
    text: str | bytes | Mapping[str, Any], registry: Registry, fmt: Literal["yaml", "json"] | None = None
) -> Source:
    """Read a text (or data that was parsed already). Without `fmt`, a text that begins with a brace is tried as JSON.

    Raises `DefinitionError` with every shape problem: `malformed`, `too_deep`, `duplicate_key`, `alias_refused`, `too_large`
    when the text cannot be read, else `invalid_definition`.
    """
    if isinstance(text, Mapping):
        return read_data(text, registry)
    decoded = _decoded(text)
    if fmt is None:
        fmt = "json" if decoded.lstrip()[:1] == "{" and not _is_flow_yaml(decoded) else "yaml"
    parsed = parse_json(decoded) if fmt == "json" else parse_yaml(decoded)
    return _read(parsed, registry, fmt, lenient=False)


def read_data(data: Mapping[str, Any], registry: Registry, stored: bool = False) -> Source:
    """Read plain data, for instance the graph form of a stored version.

    `stored` keeps step types that are no longer known, so that old versions can be shown and validated.
    """
    cleaned = Cleaner().clean(data)
    return _read(Parsed(cleaned, {}), registry, "data", lenient=stored)


def _decoded(text: str | bytes) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise refusal(
            "too_large", f"The definition has {size:,} bytes; at most {MAX_BYTES:,} are allowed. Split it in two."
        )
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise refusal("malformed", f"The text is not UTF-8: byte {error.start + 1} cannot be read.") from error
    return decoded.removeprefix("\ufeff")


def _is_flow_yaml(text: str) -> bool:
    """`{name: x}` is YAML in braces; JSON has a quote or a closing brace there."""
    return re.match(r"\s*\{\s*[^\s\"}]", text) is not None


def _read(parsed: Parsed, registry: Registry, fmt: Format, lenient: bool) -> Source:
    shape = Shape(parsed.lines)
    draft = Draft(registry, shape, lenient)
    if not isinstance(parsed.data, dict):
        message = "A definition is a mapping with a name, a trigger and steps; this text is none."
        raise refusal("invalid_definition", message, 1 if parsed.lines else None)
    data = parsed.data
    shape.keys(data, _TOP, ())
    definition = _definition(data, draft)
    source = Source(
        canonical(definition) if _sound(definition) else definition,
        _lines(data, parsed, draft),
        fmt,
        frozenset(step.id for step in draft.steps if step.made),
    )
    if shape.problems:
        raise ShapeError("invalid_definition", shape.problems, source)
    return source


def _definition(data: dict[str, Any], draft: Draft) -> Definition:
    shape = draft.shape
    if data.get("version", 1) != 1 or data.get("version", 1) is True:
        shape.report("bad_config", ("version",), "“version” is 1; other versions of the format are not known.")
    name = shape.text(data, "name", (), MAX_NAME)
    if not name.strip():
        shape.report("missing_config", ("name",), "A definition needs a name; add “name”.")
    if "filter" in data and "conditions" in data:
        shape.report("bad_config", ("conditions",), "“conditions” is another word for “filter”; keep one of them.")
    trigger = read_trigger(data.get("trigger"), shape)
    head = {
        "key": shape.text(data, "key", (), 100),
        "description": shape.text(data, "description", ()),
        "filter": shape.expressions(data, "filter" if "filter" in data else "conditions", ()),
        "exits": read_exits(data.get("exits"), shape),
        "goal": read_goal(data.get("goal"), shape),
        "settings": read_settings(data.get("settings"), shape, data.get("errorHandling")),
    }
    _steps(data, draft)
    return Definition(name, trigger, draft.nodes(), draft.wires(), **head)


def _steps(data: dict[str, Any], draft: Draft) -> None:
    if "steps" in data and ("nodes" in data or "edges" in data):
        message = "A definition has either “steps” or “nodes” with “edges”; keep one form."
        draft.shape.report("bad_config", ("steps",), message)
    elif "steps" in data:
        read_nested(data, draft)
    else:
        read_graph(data, draft)


def _sound(definition: Definition) -> bool:
    """Doubled ids cannot be put into order; they are refused anyway."""
    ids: list[Node] = list(definition.nodes)
    return len({node.id for node in ids}) == len(ids)


def _lines(data: dict[str, Any], parsed: Parsed, draft: Draft) -> Lines:
    nested = "steps" in data
    renamed: dict[tuple[str, Path], Path] = {}
    for step in draft.steps:
        for path, written in step.normal.renamed.items():
            renamed[step.id, ("config", *path)] = ("config", *written)
    if "filter" not in data and "conditions" in data:
        renamed["", ("filter",)] = ("conditions",)
    return Lines(parsed.lines, {step.id: step.path for step in draft.steps}, renamed, nested)


__all__ = ["DefinitionError", "Format", "Lines", "ShapeError", "Source", "read_data", "read_definition"]
