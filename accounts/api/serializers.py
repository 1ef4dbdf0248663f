"""Strict request bodies: unknown keys are refused with the nearest known one (CONTRACTS 1)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.errors import Refusal
from accounts.ids import read_id
from accounts.services.fields import camel


def unknown_key(key: str, known: list[str], path: str = "") -> Refusal:
    """`unknown_key`, with the nearest known name."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6) or [k for k in known if k.lower() == key.lower()]
    where = f" in {path}" if path else ""
    help_text = f"did you mean “{near[0]}”?" if near else f"known are {', '.join(known) or 'none'}."
    details = {"key": key[:80], "path": path, "nearest": near[0] if near else None, "known": known}
    return Refusal("unknown_key", f"Unknown key “{key[:80]}”{where}; {help_text}", details)


class StrictSerializer(serializers.Serializer[Any]):
    """A request body or a part of it. Fields are declared in snake_case and written in camelCase; `validated_data` has
    snake_case again. Absent optional fields stay absent."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """The declared fields under their written names."""
        written = {}
        for name, field in super().get_fields().items():
            key = camel(name)
            if key != name and field.source is None:
                field.source = name
            written[key] = field
        return written

    def to_internal_value(self, data: Any) -> Any:
        """Refuse unknown keys before looking at values."""
        if isinstance(data, Mapping):
            known = [name for name, field in self.fields.items() if not field.read_only]
            for key in data:
                if key not in known:
                    raise unknown_key(str(key), known, _path(self))
        return super().to_internal_value(data)


def _path(field: Any) -> str:
    parts = []
    while field is not None and getattr(field, "parent", None) is not None:
        if field.field_name:
            parts.append(field.field_name)
        field = field.parent
    return ".".join(reversed(parts))


@dataclass(frozen=True, slots=True)
class Reference:
    """How a request names an object: by its id, or by its external id; a customer also by its e-mail address."""

    number: int | None = None
    external_id: str = ""
    email: str = ""


_SHOWN = {
    "oneOf": [
        {"type": "string", "description": "The object's id."},
        {"type": "object", "properties": {"externalId": {"type": "string"}, "email": {"type": "string"}}},
    ]
}


@extend_schema_field(_SHOWN)
class ReferenceField(serializers.Field[Any, Any, Any, Any]):
    """`"inv_8"` or `{"externalId": "A-17"}`; with `email=True` (customers) also `{"email": ...}`. Gives a
    `Reference`."""

    def __init__(self, prefix: str, *, email: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix
        self.keys = ["externalId", "email"] if email else ["externalId"]

    def to_internal_value(self, data: Any) -> Reference:
        """Reads the form only; whether it exists is asked by the service."""
        if isinstance(data, str):
            number = read_id(self.prefix, data)
            if number is not None:
                return Reference(number)
        elif isinstance(data, Mapping) and data:
            for key in data:
                if key not in self.keys:
                    raise unknown_key(str(key), self.keys, _path(self))
            if all(isinstance(value, str) and 0 < len(value) <= 254 for value in data.values()):
                return Reference(None, data.get("externalId", ""), data.get("email", ""))
        forms = " or ".join([f"“{self.prefix}_7”", *(f'{{"{key}": "…"}}' for key in self.keys)])
        raise serializers.ValidationError(f"Write {forms}.")

    def to_representation(self, value: Any) -> Any:
        """References are only read."""
        return value


class TimeField(serializers.DateTimeField):
    """An ISO time; without an offset it is UTC."""

    def enforce_timezone(self, value: datetime) -> datetime:
        """UTC, whatever it was written in."""
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def stamp(moment: datetime | None) -> str | None:
    """`2026-11-20T09:14:02.120Z` (CONTRACTS 1)."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
