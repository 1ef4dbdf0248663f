"""Definitions as texts: reading what was sent, storing it, and showing it again as it was written (CONTRACTS 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from accounts.errors import STATUS, Refusal
from automations.engine.align import align
from automations.engine.definition import Definition
from automations.engine.problems import DefinitionError
from automations.engine.reading import Source, read_data, read_definition
from automations.engine.registry import registry
from automations.engine.writing import to_data, to_yaml
from automations.models import Version
from automations.services import jsontext

Format = Literal["yaml", "json"]


def format_named(name: str | None) -> Format | None:
    """`yaml` or `json`; None lets the reader find out."""
    return "yaml" if name == "yaml" else "json" if name == "json" else None


def read_text(text: str | bytes | Mapping[str, Any], fmt: str | None) -> Source:
    """Read a definition that somebody sent. Without a shape it is refused with all that is wrong, and nothing is stored."""
    try:
        return read_definition(text, registry, fmt=format_named(fmt))
    except DefinitionError as error:
        raise refusal_of(error) from error


def refusal_of(error: DefinitionError) -> Refusal:
    """The refusal that says what is wrong with the text, every problem with its line."""
    code = error.code if error.code in STATUS else "invalid_definition"
    message = error.problems[0].message if error.problems else "This definition cannot be read."
    if len(error.problems) > 1:
        message = f"{message} ({len(error.problems) - 1} more problems are listed in details.)"
    problems = [{name: _whole(value) for name, value in problem.as_json().items()} for problem in error.problems]
    return Refusal(code, _whole(message), {"problems": problems})


def _whole(value: Any) -> Any:
    """A refused text may hold half characters, and the refusal quotes it: they cannot be written into an answer."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def definition_of(version: Version) -> Definition:
    """The stored graph as the engine's value."""
    return read_data(version.definition, registry).definition


def stored(definition: Definition) -> tuple[dict[str, Any], str]:
    """The graph form as the database keeps it, and the SHA-256 of its canonical text."""
    text = jsontext.dumps(to_data(definition), sort_keys=True)
    return json.loads(text), hashlib.sha256(text.encode()).hexdigest()


def yaml_of(version: Version, *, plain: bool = False) -> str:
    """The version as YAML: the text as it was written while it still says the same graph, else made from the graph. `plain`
    leaves ids and positions out."""
    if not plain and version.source_format == "yaml" and written_source(version) is not None:
        return version.source
    return to_yaml(definition_of(version), registry, plain=plain)


def written_source(version: Version) -> Source | None:
    """The kept text, read again, when it still parses to the version's graph; its lines are where problems stand."""
    if not version.source:
        return None
    try:
        source = read_definition(version.source, registry, fmt=format_named(version.source_format))
    except DefinitionError:  # written for an older reader: the graph is what counts
        return None
    definition = definition_of(version)
    return source if align(source.definition, definition) == definition else None


@dataclass(frozen=True, slots=True)
class Shown:
    """A version's text as it is shown, its definition, and the lines of its parts in that text."""

    text: str
    definition: Definition
    lines: Any


def shown_yaml(version: Version) -> Shown:
    """The version as YAML with the lines of that very text, for pages that link problems to lines."""
    text = yaml_of(version)
    definition = definition_of(version)
    return Shown(text, definition, read_definition(text, registry, fmt="yaml").lines)
