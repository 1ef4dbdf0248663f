"""Plain data as YAML text in the style of the quick start: blocks, two spaces, texts in double quotes where they need any.

Written by hand because the reader is stricter than YAML: whatever it would not read back as the same text is quoted.
"""

from __future__ import annotations

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./-][A-Za-z0-9_]+|[ ,]+[A-Za-z0-9_][A-Za-z0-9_]*|\.)*")
_PLAIN_DURATION = re.compile(r"(?:[0-9]+(?:mo|[wdhms]))+")
_WORDS = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])
_ODD = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_LONG_KEY = 100  # an implicit key has an upper bound in YAML; longer ones are written with a question mark


def yaml_text(data: dict[str, Any], apart: tuple[str, ...] = ()) -> str:
    """The text; keys in `apart` get an empty line before them."""
    lines: list[str] = []
    for key, value in data.items():
        if key in apart and lines:
            lines.append("")
        _pair(key, value, "", lines)
    return "\n".join(lines) + "\n"


def _pair(key: str, value: Any, indent: str, lines: list[str]) -> None:
    written = scalar(key)
    if len(written) > _LONG_KEY:
        lines.append(f"{indent}? {written}")
        written = ""
    if isinstance(value, dict) and value:
        lines.append(f"{indent}{written}:")
        for inner, item in value.items():
            _pair(inner, item, indent + "  ", lines)
    elif isinstance(value, list) and value:
        lines.append(f"{indent}{written}:")
        for item in value:
            _item(item, indent + "  ", lines)
    else:
        lines.append(f"{indent}{written}: {_leaf(value, indent)}")


def _item(value: Any, indent: str, lines: list[str]) -> None:
    if not isinstance(value, (dict, list)) or not value:
        lines.append(f"{indent}- {_leaf(value, indent)}")
        return
    start = len(lines)
    if isinstance(value, dict):
        for key, item in value.items():
            _pair(key, item, indent + "  ", lines)
    else:
        for item in value:
            _item(item, indent + "  ", lines)
    lines[start] = f"{indent}- {lines[start][len(indent) + 2 :]}"


def _leaf(value: Any, indent: str) -> str:
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, str):
        return _block(value, indent) if _fits_block(value) else scalar(value)
    return json.dumps(value)


def scalar(text: str) -> str:
    """A text on one line, quoted unless it is plainly text."""
    plain = _PLAIN.fullmatch(text) or _PLAIN_DURATION.fullmatch(text)
    if plain and text.lower() not in _WORDS and len(text) < 1000:
        return text
    return _ODD.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _fits_block(text: str) -> bool:
    """Whether a text of several lines can stand as it is: no odd characters, nothing lost at the ends of lines."""
    body = text.removesuffix("\n")
    return (
        "\n" in body
        and "\t" not in text
        and not _ODD.search(text)
        and all(line == line.strip() and line for line in (body.split("\n")[0], body.split("\n")[-1]))
        and all(line == line.rstrip() for line in body.split("\n"))
    )


def _block(text: str, indent: str) -> str:
    mark = "|" if text.endswith("\n") else "|-"
    lines = text.removesuffix("\n").split("\n")
    return "\n".join([mark, *(f"{indent}  {line}" if line else "" for line in lines)])
