"""Finds expressions, templates and durations in a typed configuration by the marks on its fields (`kinds.Marker`)."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel

from automations.engine.kinds import Marker

#: Where a text stands in the configuration, in written (camelCase) keys: `("cases", 0, "if")`.
Path = tuple[str | int, ...]

_UNIONS = (Union, types.UnionType)


def marked(model: type[BaseModel], config: BaseModel) -> Iterator[tuple[Path, str, Marker]]:
    """Every text in the validated `config` that is read as an expression, a template or a duration, in field order.

    Nested models, unions, lists and mappings are walked. A marked field of nested data (`TemplateData`) yields every
    text inside it. Texts that are None or absent yield nothing.
    """
    return _model(model, config, ())


def _model(model: type[BaseModel], config: BaseModel, path: Path) -> Iterator[tuple[Path, str, Marker]]:
    plain = issubclass(model, RootModel)  # its one field has no key of its own in the written form
    for name, info in model.model_fields.items():
        below = path if plain else (*path, info.alias or name)
        yield from _value(info.annotation, _marker(info.metadata), getattr(config, name), below)


def _marker(metadata: Sequence[Any]) -> Marker | None:
    return next((item for item in metadata if isinstance(item, Marker)), None)


def marked_in(model: type[BaseModel], data: Mapping[str, Any]) -> Iterator[tuple[Path, str, Marker]]:
    """The same for configuration as it was written, which need not validate: what does not fit its field yields nothing."""
    return _written(model, data, ())


def _written(model: type[BaseModel], data: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str, Marker]]:
    for name, info in model.model_fields.items():
        key = info.alias if info.alias is not None and info.alias in data else name
        if key in data:
            yield from _value(info.annotation, _marker(info.metadata), data[key], (*path, key))


def _value(annotation: Any, marker: Marker | None, value: Any, path: Path) -> Iterator[tuple[Path, str, Marker]]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from _value(inner, marker or _marker(metadata), value, path)
    elif get_origin(annotation) in _UNIONS:
        yield from _value(*_arm(annotation, marker, value), value, path)
    elif isinstance(value, BaseModel):
        yield from _model(type(value), value, path)
    elif isinstance(value, Mapping) and marker is None and _is_model(annotation):
        yield from _written(annotation, value, path)
    elif isinstance(value, str):
        if marker is not None:
            yield path, value, marker
    else:
        yield from _items(annotation, marker, value, path)


def _items(annotation: Any, marker: Marker | None, value: Any, path: Path) -> Iterator[tuple[Path, str, Marker]]:
    """Texts inside a mapping or a list; the element's own annotation says how they are read."""
    args = get_args(annotation)
    if isinstance(value, Mapping):
        element = args[1] if len(args) == 2 else Any
        for key, item in value.items():
            yield from _value(element, marker, item, (*path, str(key)))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            element = args[index] if index < len(args) and args[-1] is not Ellipsis else (args[0] if args else Any)
            yield from _value(element, marker, item, (*path, index))


def _arm(union: Any, marker: Marker | None, value: Any) -> tuple[Any, Marker | None]:
    """The member of a union that this value belongs to, with its mark: by its class, marked before plain."""
    arms = [_unwrap(arm, marker) for arm in get_args(union)]
    fitting = [arm for arm in arms if _fits(arm[0], value)]
    fitting.sort(key=lambda arm: (arm[0] is Any, arm[1] is None))
    return fitting[0] if fitting else (Any, marker)


def _unwrap(annotation: Any, marker: Marker | None) -> tuple[Any, Marker | None]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return _unwrap(inner, marker or _marker(metadata))
    return annotation, marker


def _fits(annotation: Any, value: Any) -> bool:
    if annotation is Any:
        return True
    base = get_origin(annotation) or annotation
    return isinstance(base, type) and (isinstance(value, base) or (isinstance(value, Mapping) and _is_model(base)))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
