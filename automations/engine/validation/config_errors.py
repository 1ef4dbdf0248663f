"""Pydantic's errors as sentences with the key path as it was written, one for each (CNV-13)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from automations.engine.durations import DurationError
from automations.engine.reading.parsed import Path, shown
from automations.engine.reading.shape import did_you_mean


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One problem, its path below the configuration."""

    code: str
    message: str
    path: Path
    help: str = ""


def config_problems(
    errors: list[Any], data: Mapping[str, Any], model: type[BaseModel], what: str, told: Mapping[Path, str]
) -> Iterator[ConfigProblem]:
    """The problems behind pydantic's errors. `told` are paths about which something was said already; the same place is not
    mentioned twice, nor is the whole then blamed for it."""
    seen: set[Path] = set(told)
    for error in _best_of_unions(errors, data):
        path = written_path(error["loc"], data)
        if path in seen or (not path and told and error["type"] == "value_error"):
            continue
        seen.add(path)
        yield _problem(error, path, model, what)


def _problem(error: Any, path: Path, model: type[BaseModel], what: str) -> ConfigProblem:
    where = f"“{shown(path)}” of {what}" if path else _capital(what)
    if error["type"] in ("missing", "string_too_short", "too_short"):
        return ConfigProblem("missing_config", f"{_capital(what)} needs “{shown(path)}”; fill it in.", path)
    if error["type"] == "extra_forbidden":
        key = str(path[-1]) if path else ""
        help = did_you_mean(key, keys_of(model)) if len(path) == 1 else ""
        return ConfigProblem("bad_config", f"{_capital(what)} has no setting “{shown(path)}”; remove it.", path, help)
    cause = error.get("ctx", {}).get("error")
    code = "bad_duration" if isinstance(cause, DurationError) else "bad_config"
    text = str(cause) if cause is not None else str(error["msg"])
    return ConfigProblem(code, f"{where}: {_small(text).rstrip('.')}.", path)


def keys_of(model: type[BaseModel]) -> Collection[str]:
    """The written keys of a model."""
    return [info.alias or name for name, info in model.model_fields.items()]


def written_path(loc: tuple[Any, ...], data: Any) -> Path:
    """The part of pydantic's `loc` that is a path in the data: it also names members of unions, which nobody wrote."""
    path: Path = ()
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(data, Mapping):
            if part in data or (last and not _is_tag(part)):
                path = (*path, part)
                data = data.get(part)
        elif isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data):
            path = (*path, part)
            data = data[part]
    return path


def _is_tag(part: Any) -> bool:
    return not isinstance(part, str) or part in ("str", "int", "float", "bool") or part[:1].isupper() or "[" in part


def _best_of_unions(errors: list[Any], data: Mapping[str, Any]) -> list[Any]:
    """Of the errors of several members of a union keep those of the member that came closest: the deepest ones."""
    deepest: dict[Path, int] = {}
    for error in errors:
        path = written_path(error["loc"], data)
        for length in range(len(path)):
            deepest[path[:length]] = max(deepest.get(path[:length], 0), len(path))
    kept = []
    for error in errors:
        path = written_path(error["loc"], data)
        if not (path and path in deepest and len(error["loc"]) > len(path)):
            kept.append(error)
    return kept


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
