"""From a tree back to text, in one canonical spelling: reading it again gives the same tree."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from jinja2 import nodes

from automations.engine.values import number_text

# How tightly each part binds; an operand that binds weaker stands in parentheses.
OR, AND, NOT, COMPARE, SUM, TERM, FILTER, SIGN, ATOM = range(9)

_SIGNS: Final = {
    "eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<=",
    "in": "in", "notin": "not in", "contains": "contains", "notcontains": "not contains",
}  # fmt: skip
_BINARY: Final[dict[type[nodes.Node], tuple[int, str]]] = {
    nodes.Or: (OR, "OR"),
    nodes.And: (AND, "AND"),
    nodes.Add: (SUM, "+"),
    nodes.Sub: (SUM, "-"),
    nodes.Mul: (TERM, "*"),
    nodes.Div: (TERM, "/"),
    nodes.Mod: (TERM, "%"),
}
_ESCAPES: Final = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def literal_text(value: Any) -> str:
    """A literal as it is written: `'it'`, `129.00`, `true`, `null`, `['a', 1]`."""
    if isinstance(value, str):
        quote = '"' if "'" in value and '"' not in value else "'"
        escapes = {**_ESCAPES, quote: "\\" + quote}
        return quote + "".join(escapes.get(sign, sign) for sign in value) + quote
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal_text(item) for item in value) + "]"
    return number_text(value) if isinstance(value, (int, Decimal)) else "null"


def expression_text(node: nodes.Node, least: int = OR) -> str:
    """The text of a tree that `parse_expression` gave, in parentheses if it binds weaker than `least`."""
    level, text = _written(node)
    return text if level >= least else f"({text})"


def _written(node: Any) -> tuple[int, str]:
    if type(node) in _BINARY:
        level, sign = _BINARY[type(node)]
        return level, f"{expression_text(node.left, level)} {sign} {expression_text(node.right, level + 1)}"
    return _WRITERS[type(node)](node)


def _compare(node: nodes.Compare) -> tuple[int, str]:
    operand = node.ops[0]
    return COMPARE, f"{expression_text(node.expr, SUM)} {_SIGNS[operand.op]} {expression_text(operand.expr, SUM)}"


def _test(node: nodes.Test) -> tuple[int, str]:
    return COMPARE, f"{expression_text(node.node, SUM)} is {node.name}"


def _not(node: nodes.Not) -> tuple[int, str]:
    if isinstance(node.node, nodes.Test):
        return COMPARE, f"{expression_text(node.node.node, SUM)} is not {node.node.name}"
    return NOT, f"NOT {expression_text(node.node, NOT)}"


def _filter(node: nodes.Filter) -> tuple[int, str]:
    arguments = ", ".join(expression_text(argument) for argument in node.args)
    subject = expression_text(node.node, FILTER) if node.node is not None else ""
    return FILTER, f"{subject} | {node.name}" + (f"({arguments})" if node.args else "")


def _item(node: nodes.Getitem) -> tuple[int, str]:
    return ATOM, f"{expression_text(node.node, ATOM)}[{expression_text(node.arg)}]"


_WRITERS: Final[dict[type[nodes.Node], Callable[[Any], tuple[int, str]]]] = {
    nodes.Name: lambda node: (ATOM, node.name),
    nodes.Const: lambda node: (ATOM, literal_text(node.value)),
    nodes.List: lambda node: (ATOM, "[" + ", ".join(expression_text(item) for item in node.items) + "]"),
    nodes.Getattr: lambda node: (ATOM, f"{expression_text(node.node, ATOM)}.{node.attr}"),
    nodes.Getitem: _item,
    nodes.Neg: lambda node: (SIGN, f"-{expression_text(node.node, SIGN)}"),
    nodes.Not: _not,
    nodes.Compare: _compare,
    nodes.Test: _test,
    nodes.Filter: _filter,
}
