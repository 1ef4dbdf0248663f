"""The rows of the visual builder are a view of the same tree, and the catalogue lists what they offer (C-09, CND-02 to 06)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.engine.expressions import ExpressionError, compile_expression, from_tree, operators, to_tree
from automations.engine.expressions.catalogue import OPERATORS
from automations.engine.expressions.printer import literal_text
from tests.engine.language import NAMES, environment, holds, value
from tests.engine.test_expressions_examples import SOURCES


def row(field: str, operator: str, shown: Any, kind: str) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": shown, "type": kind}


# source, tree, canonical source
VIEWS: list[tuple[str, dict[str, Any], str]] = [
    ("invoice.amount > 1000", row("invoice.amount", "greater_than", "1000", "number"), "invoice.amount > 1000"),
    ("{{invoice.amount}} >= -10.50", row("invoice.amount", "at_least", "-10.50", "number"), "invoice.amount >= -10.50"),
    ("bucket=Churned", row("bucket", "equals", "Churned", "field"), "bucket == Churned"),
    ("bucket != 'Churned'", row("bucket", "not_equals", "Churned", "text"), "bucket != 'Churned'"),
    ("email_opened = TRUE", row("email_opened", "equals", True, "boolean"), "email_opened == true"),
    ("a == null", row("a", "equals", None, "null"), "a == null"),
    ("a < b.c", row("a", "less_than", "b.c", "field"), "a < b.c"),
    ("a <= 5", row("a", "at_most", "5", "number"), "a <= 5"),
    ("a contains 'x'", row("a", "contains", "x", "text"), "a contains 'x'"),
    ('a NOT contains "it\'s"', row("a", "not_contains", "it's", "text"), 'a not contains "it\'s"'),
    ("a is empty", row("a", "is_empty", None, "none"), "a is empty"),
    ("a is not empty", row("a", "is_not_empty", None, "none"), "a is not empty"),
    ("a is defined", row("a", "is_defined", None, "none"), "a is defined"),
    ("not a is defined", row("a", "is_not_defined", None, "none"), "a is not defined"),
    (
        "country in ['US', 5, true]",
        row(
            "country",
            "in",
            [{"value": "US", "type": "text"}, {"value": "5", "type": "number"}, {"value": True, "type": "boolean"}],
            "list",
        ),
        "country in ['US', 5, true]",
    ),
    ("country not in []", row("country", "not_in", [], "list"), "country not in []"),
    ("x['a b'].c[0] == 1", row("x['a b'].c[0]", "equals", "1", "number"), "x['a b'].c[0] == 1"),
    ("a.0.b == 1", row("a[0].b", "equals", "1", "number"), "a[0].b == 1"),
    (
        "a == 1 and (b == 2 or not c == 3) and d is empty",
        {
            "all": [
                row("a", "equals", "1", "number"),
                {"any": [row("b", "equals", "2", "number"), {"not": row("c", "equals", "3", "number")}]},
                row("d", "is_empty", None, "none"),
            ]
        },
        "a == 1 AND (b == 2 OR NOT c == 3) AND d is empty",
    ),
    ("a", {"text": "a"}, "a"),
    ("1 == a", {"text": "1 == a"}, "1 == a"),
    ("a+1 == 2", {"text": "a + 1 == 2"}, "a + 1 == 2"),
    ("a|length > 2", {"text": "a | length > 2"}, "a | length > 2"),
    ("a == [[1]]", {"text": "a == [[1]]"}, "a == [[1]]"),
    ("a == b | upper", {"text": "a == b | upper"}, "a == b | upper"),
    ("a - (b - c) == -(1) | round(2)", {"text": "a - (b - c) == -1 | round(2)"}, "a - (b - c) == -1 | round(2)"),
    ("(a or b) and c", {"all": [{"any": [{"text": "a"}, {"text": "b"}]}, {"text": "c"}]}, "(a OR b) AND c"),
]


@pytest.mark.parametrize(("source", "tree", "canonical"), VIEWS)
def test_an_expression_as_rows_and_back(source: str, tree: dict[str, Any], canonical: str) -> None:
    assert to_tree(source) == tree
    assert from_tree(tree) == canonical
    assert to_tree(canonical) == tree


@pytest.mark.parametrize("source", SOURCES)
def test_every_example_of_the_sources_keeps_its_meaning(source: str) -> None:
    again = from_tree(to_tree(source))
    assert holds(again) is holds(source)
    assert from_tree(to_tree(again)) == again
    assert compile_expression(again, NAMES).paths == compile_expression(source, NAMES).paths


@pytest.mark.parametrize(
    ("tree", "source"),
    [
        ({"field": "a", "operator": "equals", "value": 5}, "a == 5"),
        ({"field": "a", "operator": "equals", "value": 0.5}, "a == 0.5"),
        ({"field": "a", "operator": "equals", "value": Decimal("1.50")}, "a == 1.50"),
        ({"field": "a", "operator": "equals", "value": "5"}, "a == '5'"),
        ({"field": "a", "operator": "equals", "value": "5", "type": "number"}, "a == 5"),
        ({"field": "a", "operator": "equals", "value": None}, "a == null"),
        ({"field": "a", "operator": "equals"}, "a == null"),
        ({"field": "a", "operator": "in", "value": ["x", 1]}, "a in ['x', 1]"),
        ({"field": "a", "operator": "is_empty"}, "a is empty"),
        ({"all": [{"text": "a or b"}, {"text": "c"}]}, "(a OR b) AND c"),
        ({"all": [{"text": "a"}]}, "a"),
    ],
)
def test_values_without_a_type_count_by_their_own(tree: dict[str, Any], source: str) -> None:
    assert from_tree(tree) == source


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        "a == 1",
        {},
        {"all": []},
        {"all": {}},
        {"any": [1]},
        {"not": None},
        {"text": 5},
        {"text": "a b"},
        {"text": "a) OR (b"},
        {"field": "a"},
        {"field": 5, "operator": "equals", "value": 1},
        {"field": "a", "operator": "like", "value": 1},
        {"field": "a OR true", "operator": "equals", "value": 1},
        {"field": "a) OR (true", "operator": "equals", "value": 1},
        {"field": "'a'", "operator": "equals", "value": 1},
        {"field": "", "operator": "equals", "value": 1},
        {"field": "a", "operator": "equals", "value": {"x": 1}},
        {"field": "a", "operator": "equals", "value": "x", "type": "number"},
        {"field": "a", "operator": "equals", "value": True, "type": "number"},
        {"field": "a", "operator": "equals", "value": "b OR true", "type": "field"},
        {"field": "a", "operator": "in", "value": [[1]]},
    ],
)
def test_what_is_no_tree_is_refused(tree: Any) -> None:
    with pytest.raises(ExpressionError) as caught:
        from_tree(tree)
    assert caught.value.message[-1] == "."


def test_a_tree_nested_too_deep_is_refused() -> None:
    tree: dict[str, Any] = {"text": "a"}
    for _ in range(30):
        tree = {"not": tree}
    with pytest.raises(ExpressionError, match="24 deep"):
        from_tree(tree)


@given(st.text(max_size=30))
def test_any_text_is_a_value_and_never_more(text: str) -> None:
    # A value typed into the form cannot change the condition.
    source = from_tree(row("trigger.a", "equals", text, "text"))
    if "\0" not in text:
        assert value(source, environment(trigger={"a": text})) is True
    assert value(source, environment(trigger={"a": text + "x"})) is False


@given(
    st.one_of(
        st.integers(-(10**20), 10**20),
        st.text(max_size=10),
        st.booleans(),
        st.none(),
        st.lists(st.integers(), max_size=3),
    )
)
def test_a_literal_reads_back_as_itself(literal: Any) -> None:
    text = literal_text(literal)
    if isinstance(literal, list) and any(abs(number) >= 10**30 for number in literal):
        return
    assert value(text) == literal


def test_the_catalogue_lists_every_operator_with_its_sign() -> None:
    # CND-03 to 05
    listed = operators()
    assert [entry["name"] for entry in listed] == [operator.name for operator in OPERATORS]
    assert {"equals", "greater_than", "contains"} <= {entry["name"] for entry in listed}
    assert all(set(entry) == {"name", "sign", "label", "types", "takesValue"} and entry["types"] for entry in listed)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_every_operator_of_the_catalogue_can_be_written_and_read(operator: Any) -> None:
    kind = "text" if operator.takes_value else "none"
    tree = row("invoice.number", operator.name, "x" if operator.takes_value else None, kind)
    source = from_tree(tree)
    assert operator.sign in source
    assert to_tree(source) == tree
    assert holds(source) in (True, False)
