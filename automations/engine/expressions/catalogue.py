"""Operators and filters as the catalogue lists them, for the form of conditions and for the reference (CONTRACTS 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from automations.engine.expressions.filtering import FILTERS


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the builder. `op` is its name in the tree that the parser gives, empty for the states of `is`; `types` are
    the types of fields that it is offered for."""

    name: str
    sign: str
    label: str
    op: str
    types: tuple[str, ...]
    takes_value: bool = True


_EVERY: Final = ("text", "number", "boolean", "date", "datetime", "list", "object")
_SINGLE: Final = ("text", "number", "boolean", "date", "datetime")
_ORDERED: Final = ("number", "date", "datetime", "text")

OPERATORS: Final = (
    Operator("equals", "==", "equals", "eq", _SINGLE),
    Operator("not_equals", "!=", "does not equal", "ne", _SINGLE),
    Operator("greater_than", ">", "is greater than", "gt", _ORDERED),
    Operator("at_least", ">=", "is at least", "gteq", _ORDERED),
    Operator("less_than", "<", "is less than", "lt", _ORDERED),
    Operator("at_most", "<=", "is at most", "lteq", _ORDERED),
    Operator("in", "in", "is one of", "in", _SINGLE),
    Operator("not_in", "not in", "is none of", "notin", _SINGLE),
    Operator("contains", "contains", "contains", "contains", ("text", "list")),
    Operator("not_contains", "not contains", "does not contain", "notcontains", ("text", "list")),
    Operator("is_empty", "is empty", "is empty", "", _EVERY, takes_value=False),
    Operator("is_not_empty", "is not empty", "is not empty", "", _EVERY, takes_value=False),
    Operator("is_defined", "is defined", "is known", "", _EVERY, takes_value=False),
    Operator("is_not_defined", "is not defined", "is not known", "", _EVERY, takes_value=False),
)


def operators() -> list[dict[str, Any]]:
    """All operators, in the order of the form (CND-03 to 05)."""
    return [
        {
            "name": one.name,
            "sign": one.sign,
            "label": one.label,
            "types": list(one.types),
            "takesValue": one.takes_value,
        }
        for one in OPERATORS
    ]


def filters() -> list[dict[str, Any]]:
    """All filters, with their arguments."""
    return [
        {
            "name": one.name,
            "label": one.label,
            "usage": one.usage,
            "arguments": [{"name": arg.name, "type": arg.kind, "optional": arg.optional} for arg in one.arguments],
        }
        for one in FILTERS.values()
    ]
