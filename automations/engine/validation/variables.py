"""Whether a path can ever have a value: by the declared fields of roots, events and outputs, and by what was learned (VAR-26)."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from automations.engine.kinds import Root, Trigger
from automations.engine.registry import Registry
from automations.engine.writing.mentions import folded

Segments = tuple[str, ...]

#: Fields of the roots that are there without a declaration (CONTRACTS 5).
BUILT_IN: Mapping[str, frozenset[str]] = {
    "loop": frozenset({"index", "first", "last"}),
    "wait": frozenset({"outcome", "event"}),
    "run": frozenset({"id", "startedAt", "step", "automation", "customer"}),
}


@dataclass(frozen=True, slots=True)
class Miss:
    """A segment that nothing supplies, and the names that are there in its place."""

    name: str
    known: tuple[str, ...] = ()
    code: str = "unknown_variable"


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen where a text stands: objects that the run is about, loop items by name (with their root, where their
    records have one), and the event in whose filter the text stands."""

    subjects: frozenset[str]
    items: Mapping[str, str] = field(default_factory=dict)
    event: str | None = None


def missing_in(annotation: Any, segments: Segments) -> Miss | None:
    """The first segment that a declared type does not have; None when all are there or the type is open."""
    if not segments:
        return None
    origin = get_origin(annotation)
    if origin is Annotated:
        return missing_in(get_args(annotation)[0], segments)
    if origin in (Union, types.UnionType):
        misses = [missing_in(arm, segments) for arm in get_args(annotation) if arm is not type(None)]
        return None if not misses or None in misses else misses[0]
    if origin in (list, tuple, set, frozenset):
        element = (get_args(annotation) or (Any,))[0]
        return missing_in(element, segments[1:]) if segments[0].isdigit() else Miss(segments[0])
    if origin in (dict, Mapping) or annotation in (dict, Any, object):
        arguments = get_args(annotation)
        return missing_in(arguments[1], segments[1:]) if len(arguments) == 2 else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _missing_in_model(annotation, segments)
    return Miss(segments[0])


def _missing_in_model(model: type[BaseModel], segments: Segments) -> Miss | None:
    wanted = folded(segments[0])
    for name, info in model.model_fields.items():
        if wanted in (folded(info.alias or name), folded(name)):
            return missing_in(info.annotation, segments[1:])
    return Miss(segments[0], tuple(info.alias or name for name, info in model.model_fields.items()))


def missing_in_event(
    trigger: Trigger, registry: Registry, learned: Collection[str] | None, segments: Segments
) -> Miss | None:
    """The first segment that the data of this trigger's events never had. The payload of a manual trigger is the caller's."""
    if not segments or trigger.type == "manual":
        return None
    miss = _missing_in_declared(trigger, registry, segments)
    if miss is None:
        return None
    if _was_seen(learned or (), segments):
        return None if trigger.key == "custom" else Miss(segments[0], code="learned_field")
    return Miss(segments[0], tuple(learned or ()), "unseen_field") if trigger.key == "custom" else miss


def _missing_in_declared(trigger: Trigger, registry: Registry, segments: Segments) -> Miss | None:
    first = folded(segments[0])
    if first == "accountowner" and len(segments) == 1:
        return None
    if first in {folded(name) for name in trigger.derived}:
        return None
    miss = missing_in(trigger.Data, segments) if trigger.Data is not None else Miss(segments[0], tuple(trigger.sample))
    if miss is None:
        return None
    for name in trigger.provides:
        root = registry.roots.get(name)
        if folded(name) == first and root is not None:
            return missing_in(root.Fields, segments[1:])
    if trigger.Data is None and trigger.key != "custom" and first in {folded(key) for key in trigger.sample}:
        return None
    return miss


def _was_seen(learned: Collection[str], segments: Segments) -> bool:
    """Whether the path, something within it, or a list or text that holds it was seen."""
    wanted = [folded(part) for part in segments]
    for path in learned:
        seen = [folded(part) for part in path.split(".")]
        length = min(len(seen), len(wanted))
        if seen[:length] == wanted[:length] and (len(seen) >= len(wanted) or wanted[len(seen)].isdigit()):
            return True
    return False


def missing_in_root(root: Root, segments: Segments) -> Miss | None:
    """The first segment that records of this root do not have."""
    return missing_in(root.Fields, segments)


def supplied(root: Root, subjects: Collection[str]) -> bool:
    """Whether a run about these objects has such a record."""
    return root.subject in ("", "run", "workspace") or root.subject in subjects
