"""Properties of every expression, with generated ones (INVARIANTS P4): bounded, pure, equal to a plain interpreter, and printable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from automations.engine.expressions import (
    MISSING,
    Budget,
    BudgetExceeded,
    Environment,
    ExpressionError,
    Names,
    compile_expression,
    compile_template,
)
from automations.engine.expressions.parser import parse_expression
from automations.engine.expressions.printer import expression_text
from tests.engine.language import DATA, NAMES, NOW, environment

NAME_LIST = ["a", "b", "c", "someName", "other_name"]
FREE = Names(frozenset({"data"}))

plain_numbers = st.integers(-1_000, 1_000)
plain_texts = st.text("abAB 01'\"\\\n{}%|", max_size=5)
scalars = st.one_of(plain_numbers, plain_texts, st.booleans(), st.none(), st.decimals(-1_000, 1_000, places=2))
lists = st.lists(scalars, max_size=4)


# A tree of our own, its text in one of many spellings, and its meaning by the shortest code possible.


@dataclass(frozen=True)
class Tree:
    """An operator and its operands; a leaf has the operator `value` or `name`."""

    op: str
    parts: tuple[Any, ...]


def leaf(value: Any) -> Tree:
    return Tree("value", (value,))


leaves = st.one_of(
    plain_numbers.map(leaf),
    plain_texts.map(leaf),
    st.booleans().map(leaf),
    st.sampled_from(NAME_LIST).map(lambda n: Tree("name", (n,))),
)


def branches(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.tuples(
            st.sampled_from(["and", "or", "==", "!=", "<", ">", "<=", ">=", "+", "-", "*"]), children, children
        ).map(lambda drawn: Tree(drawn[0], drawn[1:])),
        st.tuples(st.sampled_from(["not", "empty", "defined"]), children).map(lambda drawn: Tree(drawn[0], drawn[1:])),
        st.lists(children, max_size=3).map(lambda items: Tree("list", tuple(items))),
    )


trees = st.recursive(leaves, branches, max_leaves=12)


def written(tree: Tree, spell: Any) -> str:
    """The tree as text, fully in parentheses; `spell` chooses among spellings of one thing."""
    match tree.op:
        case "value":
            return literal(tree.parts[0])
        case "name":
            return spell([f"data.{tree.parts[0]}", f"{{{{data.{tree.parts[0]}}}}}", f"data['{tree.parts[0]}']"])
        case "list":
            return "[" + ", ".join(written(part, spell) for part in tree.parts) + "]"
        case "not":
            return f"({spell(['NOT', 'not', 'Not'])} {written(tree.parts[0], spell)})"
        case "empty" | "defined":
            return f"({written(tree.parts[0], spell)} is {tree.op})"
        case op:
            sign = spell([op, op.upper()]) if op in ("and", "or") else spell(["=", "=="]) if op == "==" else op
            left, right = (written(part, spell) for part in tree.parts)
            return f"({left}{spell([' ', '  ', chr(10)])}{sign} {right})"


def literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{escaped}'"
    return str(value)


def number_of(value: Any) -> Any:
    if type(value) in (int, Decimal):
        return value
    if isinstance(value, str):
        digits = value.removeprefix("-").removeprefix("+") if value[:1] in "+-" and len(value) > 1 else value
        return int(value) if digits.isascii() and digits.isdigit() else None
    return None


def nothing(value: Any) -> bool:
    return value is None or value is MISSING


def meaning(tree: Tree, data: dict[str, Any]) -> Any:
    """What the tree means, without any speed or budget: the reference."""
    match tree.op:
        case "value":
            return tree.parts[0]
        case "name":
            return data.get(tree.parts[0], MISSING)
        case "list":
            return [meaning(part, data) for part in tree.parts]
        case "not":
            return not meaning(tree.parts[0], data)
        case "empty":
            found = meaning(tree.parts[0], data)
            return nothing(found) or (found in ("", []) and not isinstance(found, bool))
        case "defined":
            return not nothing(meaning(tree.parts[0], data))
        case "and":
            return all(meaning(part, data) for part in tree.parts)
        case "or":
            return any(meaning(part, data) for part in tree.parts)
    left, right = (meaning(part, data) for part in tree.parts)
    return calculated(tree.op, left, right) if tree.op in "+-*" else compared(tree.op, left, right)


def calculated(op: str, left: Any, right: Any) -> Any:
    a, b = number_of(left), number_of(right)
    if a is None or b is None:
        return left + right if op == "+" and isinstance(left, str) and isinstance(right, str) else MISSING
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def equal(left: Any, right: Any) -> bool | None:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            equal(a, b) for a, b in zip(left, right, strict=True) if not both_missing(a, b)
        )
    if type(left) is type(right):
        return left == right
    if isinstance(left, bool) or isinstance(right, bool):
        return None
    a, b = number_of(left), number_of(right)
    return None if a is None or b is None else a == b


def both_missing(a: Any, b: Any) -> bool:
    return a is b and nothing(a)


def compared(op: str, left: Any, right: Any) -> bool:
    if nothing(left) or nothing(right):
        return op == "!="
    if op in ("==", "!="):
        return bool(equal(left, right)) is (op == "==")
    if isinstance(left, (bool, list)) or isinstance(right, (bool, list)):
        return False
    a, b = number_of(left), number_of(right)
    if a is None or b is None:
        if not (isinstance(left, str) and isinstance(right, str)):
            return False
        a, b = left, right
    return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[op]


values_of_data = st.dictionaries(
    st.sampled_from(NAME_LIST), st.one_of(plain_numbers, plain_texts, st.booleans(), st.none()), max_size=5
)


@settings(max_examples=400)
@given(trees, values_of_data, st.data())
def test_every_expression_means_what_a_plain_interpreter_says(
    tree: Tree, data: dict[str, Any], draw: st.DataObject
) -> None:
    # INVARIANTS P4
    source = written(tree, lambda options: draw.draw(st.sampled_from(options)))
    found = compile_expression(source, FREE).value(environment({"data": data}))
    expected = meaning(tree, data)
    assert found == expected or found is expected
    assert type(found) is type(expected)


@given(trees, values_of_data)
def test_an_evaluation_is_pure(tree: Tree, data: dict[str, Any]) -> None:
    # INVARIANTS P4: same input, same output and warnings; the data stays as it was
    before = copy.deepcopy(data)
    expression = compile_expression(written(tree, lambda options: options[0]), FREE)
    one, two = environment({"data": data}), environment({"data": data})
    first = expression.value(one)
    assert repr(expression.value(two)) == repr(first)
    assert one.warnings == two.warnings
    assert data == before


@given(trees, values_of_data, st.integers(0, 60))
def test_an_evaluation_ends_within_its_budget_or_says_so(tree: Tree, data: dict[str, Any], steps: int) -> None:
    # INVARIANTS P4
    expression = compile_expression(written(tree, lambda options: options[0]), FREE)
    budget = Budget(steps)
    env = Environment({"data": data}, NOW, budget=budget)
    try:
        expression.value(env)
    except BudgetExceeded:
        assert budget.steps < 0
    else:
        assert budget.steps >= 0


@given(trees)
def test_a_printed_expression_reads_as_the_same_tree(tree: Tree) -> None:
    node = parse_expression(written(tree, lambda options: options[0]))
    printed = expression_text(node)
    assert parse_expression(printed) == node
    assert expression_text(parse_expression(printed)) == printed


@given(trees, values_of_data)
def test_a_printed_expression_means_the_same(tree: Tree, data: dict[str, Any]) -> None:
    source = written(tree, lambda options: options[0])
    printed = expression_text(parse_expression(source))
    found = [compile_expression(text, FREE).value(environment({"data": data})) for text in (source, printed)]
    assert repr(found[0]) == repr(found[1])


@given(st.sampled_from(["someName", "other_name", "x", "aB", "a_b_c"]), scalars, scalars)
def test_both_spellings_of_any_name_agree(name: str, left: Any, right: Any) -> None:
    # VAR-24
    from automations.engine.expressions.paths import camel, snake

    env = environment({"data": {camel(name): left, "other": right}})
    for sign in ("==", "!=", "<", ">="):
        found = {
            compile_expression(f"data.{spelling} {sign} data.other", FREE).test(env)
            for spelling in (name, camel(name), snake(name))
        }
        assert len(found) == 1


@given(scalars, scalars)
def test_equality_goes_both_ways_and_unequal_is_its_opposite(left: Any, right: Any) -> None:
    env = environment({"data": {"a": left, "b": right}})

    def test(source: str) -> bool:
        return compile_expression(source, FREE).test(env)

    assert test("data.a == data.b") is test("data.b == data.a")
    assert test("data.a != data.b") is not test("data.a == data.b")
    assert test("data.a in [data.b]") is test("data.a == data.b")
    assert test("[data.b] not contains data.a") is not test("data.a == data.b")


@given(scalars, scalars)
def test_order_is_consistent(left: Any, right: Any) -> None:
    env = environment({"data": {"a": left, "b": right}})

    def test(source: str) -> bool:
        return compile_expression(source, FREE).test(env)

    less, greater, at_most = test("data.a < data.b"), test("data.a > data.b"), test("data.a <= data.b")
    assert not (less and greater)
    assert less is test("data.b > data.a")
    assert at_most is test("data.b >= data.a")
    assert not less or at_most


# fmt: off
SIGNS = [
    "a", "customer", ".", "[", "]", "(", ")", "{{", "}}", "'", '"', "1", "2.5", " ", "|", "upper", "join", "==", "=", "AND", "not", "in",
    "contains", "is", "empty", "+", "-", "*", "/", "%", ",", "{%", "%}", "if", "for", "endif", "endfor", "else", "{#", "\n", "\\",
]
# fmt: on


def refusal(work: Callable[[], object]) -> ExpressionError | None:
    """The error that the work ends in, if it does."""
    try:
        work()
    except ExpressionError as error:
        return error
    return None


@settings(max_examples=500)
@given(st.lists(st.sampled_from(SIGNS), max_size=25).map("".join))
def test_any_sequence_of_signs_is_an_expression_or_an_error_with_a_place(source: str) -> None:
    error = refusal(lambda: compile_expression(source, NAMES).value(environment()))
    lines = source.split("\n")
    assert error is None or 1 <= error.line <= len(lines)
    assert error is None or 1 <= error.column <= len(lines[error.line - 1]) + 1


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(SIGNS), max_size=25).map("".join),
    st.sampled_from(["text", "html", "url", "json", "header"]),
)
def test_any_sequence_of_signs_is_a_template_or_an_error_with_a_place(source: str, place: str) -> None:
    error = refusal(lambda: compile_template(source, NAMES, place).render(environment()))
    assert error is None or 1 <= error.line <= source.count("\n") + 1
    assert error is None or error.column >= 1


@given(st.text(max_size=60))
def test_any_text_at_all_is_an_expression_or_an_error(source: str) -> None:
    error = refusal(lambda: compile_expression(source, NAMES).value(environment()))
    assert error is None or error.message[-1] in ".?)"


@given(st.text(st.characters(exclude_characters="{"), max_size=60))
def test_a_template_without_braces_is_its_own_text(source: str) -> None:
    assert compile_template(source, NAMES).render(environment()) == source


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
# fmt: off
FILTERED = [
    "upper", "title", "trim", "truncate(3)", "replace('a', 'b')", "length", "first", "last", "join", "sort", "unique", "round", "abs",
    "money('EUR')", "number(2)", "date", "time", "datetime", "plus('1mo1d')", "minus('3h')", "days_since", "json", "urlencode",
]
# fmt: on


@settings(max_examples=300)
@given(json_values, st.lists(st.sampled_from(FILTERED), min_size=1, max_size=3))
def test_no_filter_fails_on_any_data(data: Any, chain: list[str]) -> None:
    env = environment({"data": {"x": data}})
    source = " | ".join(["data.x", *chain])
    compile_expression(source, FREE).value(env)
    for place in ("text", "html", "url", "json"):
        assert isinstance(compile_template(f"{{{{ {source} }}}}!", FREE, place).render(env), str)


@given(json_values, json_values, st.sampled_from(["==", "!=", "<", ">", "in", "contains", "not in", "not contains"]))
def test_no_comparison_fails_on_any_data(left: Any, right: Any, sign: str) -> None:
    env = environment({"data": {"a": left, "b": right}})
    assert compile_expression(f"data.a {sign} data.b", FREE).value(env) in (True, False)


@given(json_values, json_values, st.sampled_from(["+", "-", "*", "/", "%"]))
def test_no_calculation_fails_on_any_data(left: Any, right: Any, sign: str) -> None:
    env = environment({"data": {"a": left, "b": right}})
    found = compile_expression(f"data.a {sign} data.b", FREE).value(env)
    assert found is MISSING or isinstance(found, (int, Decimal, str))
    if found is MISSING:
        assert env.warnings


def test_the_data_of_the_other_tests_is_left_alone() -> None:
    before = copy.deepcopy(dict(DATA))
    env = environment()
    for source in (
        "customer.tags | sort",
        "invoice.lines | unique",
        "customer.tags + invoice.lines",
        "customer.metadata | json",
    ):
        compile_expression(source, NAMES).value(env)
    assert dict(DATA) == before
