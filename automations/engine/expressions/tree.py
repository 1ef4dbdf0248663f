"""The view that the visual builder shows: field, operator and value, nested by AND and OR. Never stored; the text is (DESIGN 4).

A tree is `{"all": [...]}`, `{"any": [...]}`, `{"not": tree}`, `{"field", "operator", "value", "type"}`, or `{"text": "..."}` for what
the builder cannot show as a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from jinja2 import nodes

from automations.engine.expressions.catalogue import OPERATORS
from automations.engine.expressions.errors import ExpressionError
from automations.engine.expressions.lexer import MAX_NESTING
from automations.engine.expressions.parser import parse_expression
from automations.engine.expressions.printer import expression_text, literal_text
from automations.engine.values import as_number, number_text

Tree = dict[str, Any]

_PATH: Final = (nodes.Name, nodes.Getattr, nodes.Getitem)
_BY_SIGN: Final = {operator.op: operator.name for operator in OPERATORS if operator.op}
_BY_NAME: Final = {operator.name: operator for operator in OPERATORS}


def to_tree(source: str) -> Tree:
    """The tree of an expression. Raises `ExpressionError` when it cannot be read."""
    return _tree(parse_expression(source))


def _tree(node: nodes.Node) -> Tree:
    for kind, name in ((nodes.And, "all"), (nodes.Or, "any")):
        if isinstance(node, kind):
            return {name: [_tree(item) for item in _operands(node, kind)]}
    row = _row(node)
    if row is not None:
        return row
    if isinstance(node, nodes.Not):
        return {"not": _tree(node.node)}
    return {"text": expression_text(node)}


def _operands(node: Any, kind: type[nodes.BinExpr]) -> list[nodes.Node]:
    items: list[nodes.Node] = []
    while type(node) is kind:
        items.append(node.right)
        node = node.left
    return [node, *reversed(items)]


def _row(node: nodes.Node) -> Tree | None:
    negated = isinstance(node, nodes.Not)
    inner = node.node if isinstance(node, nodes.Not) else node
    if isinstance(inner, nodes.Test) and isinstance(inner.node, _PATH):
        name = f"is_{'not_' if negated else ''}{inner.name}"
        return {"field": expression_text(inner.node), "operator": name, "value": None, "type": "none"}
    if not isinstance(node, nodes.Compare) or not isinstance(node.expr, _PATH):
        return None
    value = _value(node.ops[0].expr)
    return value and {"field": expression_text(node.expr), "operator": _BY_SIGN[node.ops[0].op], **value}


def _value(node: nodes.Node) -> Tree | None:
    if (
        isinstance(node, nodes.Neg)
        and isinstance(node.node, nodes.Const)
        and not isinstance(node.node.value, (str, bool))
    ):
        return {"value": "-" + number_text(node.node.value), "type": "number"}
    if isinstance(node, _PATH):
        return {"value": expression_text(node), "type": "field"}
    if isinstance(node, nodes.List):
        items = [_value(item) for item in node.items]
        if any(item is None or item["type"] == "list" for item in items):
            return None
        return {"value": items, "type": "list"}
    return _constant(node.value) if isinstance(node, nodes.Const) else None


def _constant(value: Any) -> Tree:
    if value is None:
        return {"value": None, "type": "null"}
    if isinstance(value, bool):
        return {"value": value, "type": "boolean"}
    if isinstance(value, str):
        return {"value": value, "type": "text"}
    return {"value": number_text(value), "type": "number"}


def from_tree(tree: Mapping[str, Any]) -> str:
    """The expression of a tree, in canonical spelling. Raises `ExpressionError` when the tree has no such form."""
    return expression_text(parse_expression(_text(tree, 0)))


def _text(tree: Any, depth: int) -> str:
    if not isinstance(tree, Mapping) or depth > MAX_NESTING:
        _refuse("A condition is an object, and not nested more than 24 deep.")
    for name, word in (("all", " AND "), ("any", " OR ")):
        if name in tree:
            items = tree[name]
            if not isinstance(items, list) or not items:
                _refuse(f"“{name}” needs a list of at least one condition.")
            return word.join(f"({_text(item, depth + 1)})" for item in items)
    if "not" in tree:
        return f"NOT ({_text(tree['not'], depth + 1)})"
    return _checked(tree["text"]) if "text" in tree else _row_text(tree)


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        _refuse("“text” holds an expression.")
    return expression_text(parse_expression(text))


def _row_text(tree: Mapping[str, Any]) -> str:
    field, operator = tree.get("field"), _BY_NAME.get(str(tree.get("operator")))
    if not isinstance(field, str) or operator is None:
        _refuse("A condition needs a field and one of the operators that the catalogue lists.")
    left = _path(field)
    if not operator.takes_value:
        return f"{left} {operator.sign}"
    return f"{left} {operator.sign} {_value_text(tree.get('value'), tree.get('type'))}"


def _path(text: str) -> str:
    node = parse_expression(text)
    if not isinstance(node, _PATH):
        _refuse(f"“{text[:40]}” is no field.")
    return expression_text(node)


def _value_text(value: Any, kind: Any) -> str:
    """A value as it is written. Without a `type` the value's own type counts."""
    if not isinstance(value, list):
        return _single_text(value, kind)
    rows = [item if isinstance(item, Mapping) else {"value": item} for item in value]
    return "[" + ", ".join(_single_text(row.get("value"), row.get("type")) for row in rows) + "]"


def _single_text(value: Any, kind: Any) -> str:
    if kind == "field" and isinstance(value, str):
        return _path(value)
    if kind == "number":
        number = None if isinstance(value, bool) else as_number(value)
        if number is None:
            _refuse(f"“{str(value)[:40]}” is no number.")
        return literal_text(number)
    if isinstance(value, float):
        return literal_text(Decimal(repr(value)))
    if value is not None and not isinstance(value, (str, bool, int, Decimal)):
        _refuse("The value of a condition is a text, a number, true or false, or a list of these.")
    return literal_text(value)


def _refuse(message: str) -> NoReturn:
    raise ExpressionError(message)
