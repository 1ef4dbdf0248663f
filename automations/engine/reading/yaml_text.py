"""YAML text to plain data with lines: one document of YAML 1.2, no anchors, aliases, merge keys or tags (CONTRACTS 4).

Plain scalars follow JSON: `true`, `null`, `12`, `1.5` are values, and all else is text (`no`, `1:30`, `2026-11-20`, `007`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from automations.engine.problems import DefinitionError
from automations.engine.reading.parsed import Builder, Parsed, number, refusal

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|-?\.[0-9]+")
_ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}


def parse_yaml(text: str) -> Parsed:
    """Raises `DefinitionError` (`malformed`, `too_deep`, `alias_refused`, `duplicate_key`, `too_large`) with the line."""
    builder = Builder()
    documents = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    message = f"A second document begins on line {_line(event)}; a definition is one document."
                    raise refusal("malformed", message, _line(event))
            else:
                _HANDLERS.get(type(event), _ignore)(builder, event)
    except YAMLError as error:
        raise _malformed(error, text) from error
    return builder.finish()


def plain_value(text: str, line: int | None = None) -> Any:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return number(text, line)
    if _ENDLESS.fullmatch(text):
        raise refusal("malformed", f"{text} is no number that can be kept; write it as text in quotes.", line)
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _ignore(builder: Builder, event: Any) -> None:
    """Starts and ends of the stream say nothing about the data."""


def _alias(builder: Builder, event: Any) -> None:
    line = _line(event)
    message = f"Line {line} uses the alias “*{event.anchor}”; write the value out in both places."
    builder.report("alias_refused", message, line)
    if builder.in_mapping():
        builder.key(f"*{event.anchor}", line)
    else:
        builder.value(None, line)


def _start(builder: Builder, event: Any) -> None:
    line = _line(event)
    _refuse_marks(builder, event, line)
    if builder.in_mapping():
        raise refusal("malformed", f"Line {line} has a list or a mapping as a key; a key is one word.", line)
    builder.open({} if isinstance(event, MappingStartEvent) else [], line)


def _end(builder: Builder, event: Any) -> None:
    builder.close()


def _scalar(builder: Builder, event: Any) -> None:
    line = _line(event)
    _refuse_marks(builder, event, line)
    if not builder.in_mapping():
        builder.value(plain_value(event.value, line) if not event.style else event.value, line)
        return
    if event.value == "<<" and not event.style:
        builder.report("alias_refused", f"Line {line} merges another mapping in (“<<”); write its keys out.", line)
    builder.key(event.value, line)


def _refuse_marks(builder: Builder, event: Any, line: int) -> None:
    if event.anchor is not None:
        builder.report("alias_refused", f"Line {line} sets the anchor “&{event.anchor}”; remove it.", line)
    if event.tag is not None:
        builder.report(
            "malformed", f"Line {line} bears the tag “{event.tag}”; remove it, text can stand in quotes.", line
        )


_HANDLERS: dict[type, Callable[[Builder, Any], None]] = {
    AliasEvent: _alias,
    MappingStartEvent: _start,
    SequenceStartEvent: _start,
    MappingEndEvent: _end,
    SequenceEndEvent: _end,
    ScalarEvent: _scalar,
}


def _malformed(error: YAMLError, text: str) -> DefinitionError:
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = str(error.problem or error.context or "it cannot be read")
        line = mark.line + 1 if mark is not None else None
        place = f"line {line}: " if line is not None else ""
        return refusal("malformed", f"This is not YAML: {place}{what}.", line, help=_hint(what))
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        message = f"Line {line} holds a control character that YAML does not allow; remove it."
        return refusal("malformed", message, line)
    return refusal("malformed", "This is not YAML; it cannot be read.")


def _hint(what: str) -> str:
    if "mapping values are not allowed" in what or "could not find expected ':'" in what:
        return "Put texts with a colon or a brace in quotes."
    return "Indent with spaces, never with tabs." if "\\t" in what else ""
