"""`if` and `for` in templates, and what is refused there (CONTRACTS 5)."""

from __future__ import annotations

import pytest

from automations.engine.expressions import ExpressionError, compile_template
from tests.engine.language import NAMES, codes, environment, render

CONDITIONS = [
    ("{% if true %}a{% endif %}", "a"),
    ("{% if false %}a{% endif %}", ""),
    ("{% if false %}a{% else %}b{% endif %}", "b"),
    ("{% if false %}a{% elif true %}b{% else %}c{% endif %}", "b"),
    ("{% if false %}a{% elif false %}b{% elif true %}c{% endif %}", "c"),
    ("{% if true %}a{% elif true %}b{% endif %}", "a"),
    ("{% if customer.nope %}a{% else %}b{% endif %}", "b"),
    ("{% if country = 'US' AND NOT (customer.plan contains 'x') %}a{% endif %}", "a"),
    ("{% if bucket = Churned %}a{% endif %}", "a"),
    ("{% if {{trigger.failureCount}} == 1 %}first{% endif %}", "first"),
    ("{% if true %}{% if false %}a{% else %}b{% endif %}{% endif %}", "b"),
    ("x{% if true %}{% endif %}y", "xy"),
    ("{% if invoice.total | round > 1000 %}large{% endif %}", "large"),
]


@pytest.mark.parametrize(("source", "expected"), CONDITIONS)
def test_conditions_choose_one_arm(source: str, expected: str) -> None:
    assert render(source) == expected


LOOPS = [
    ("{% for l in invoice.lines %}{{l.description}};{% endfor %}", "Seat <b>;Storage;"),
    (
        "{% for l in invoice.lines %}{{loop.index}}{% if loop.first %}f{% endif %}{% if loop.last %}l{% endif %},{% endfor %}",
        "1f,2l,",
    ),
    ("{% for l in invoice.lines %}{{loop.index}}/{{loop.length}} {% endfor %}", "1/2 2/2 "),
    ("{% for t in customer.tags %}{{t | upper}}{% if not loop.last %} {% endif %}{% endfor %}", "VIP BETA"),
    ("{% for t in [] %}a{% else %}none{% endfor %}", "none"),
    ("{% for t in customer.tags %}a{% else %}none{% endfor %}", "aa"),
    ("{% for n in [1, 2] %}{% for m in [3, 4] %}{{n}}{{m}} {% endfor %}{% endfor %}", "13 14 23 24 "),
    ("{% for n in [1, 2] %}{% for m in ['a'] %}{{loop.index}}{% endfor %}{{loop.index}} {% endfor %}", "11 12 "),
    ("{% for row in [[1, 2], [3]] %}{% for n in row %}{{n}}{% endfor %};{% endfor %}", "12;3;"),
    ("{% for n in [1, 2] %}{% if n == 2 %}{{n}}{% endif %}{% endfor %}", "2"),
    ("{% for l in invoice.lines | sort %}x{% else %}none{% endfor %}", "none"),
    ("{% for n in [3, 1, 2] | sort %}{{n}}{% endfor %}", "123"),
    ("{% for l in invoice.lines %}{{l.amount | money}} {% endfor %}", "€500.00 €500.00 "),
]


@pytest.mark.parametrize(("source", "expected"), LOOPS)
def test_loops_repeat_for_each_member(source: str, expected: str) -> None:
    assert render(source) == expected


def test_the_variable_of_a_loop_hides_a_root_inside_it_only() -> None:
    source = "{{customer.name}}:{% for customer in ['x'] %}{{customer}}{% endfor %}:{{customer.name}}"
    assert render(source) == "Ana Ruiz:x:Ana Ruiz"


def test_the_inner_variable_hides_the_outer_one() -> None:
    assert render("{% for n in [1, 2] %}{% for n in ['a'] %}{{n}}{% endfor %}{{n}}{% endfor %}") == "a1a2"


def test_outside_a_loop_its_names_are_unknown() -> None:
    env = environment()
    assert render("{% for n in [1] %}{% endfor %}[{{n}}{{loop.index}}]", env=env) == "[]"
    assert codes(env) == ["missing_value", "missing_value"]


def test_the_list_of_a_loop_is_read_outside_it() -> None:
    assert render("{% for tags in customer.tags %}{{tags}} {% endfor %}") == "vip beta "


@pytest.mark.parametrize(
    ("over", "code"),
    [
        ("invoice.nope", "missing_value"),
        ("customer.name", "unlike_types"),
        ("customer", "unlike_types"),
        ("5", "unlike_types"),
    ],
)
def test_what_is_no_list_is_not_repeated_and_warned_of(over: str, code: str) -> None:
    env = environment()
    assert render(f"{{% for x in {over} %}}a{{% else %}}none{{% endfor %}}", env=env) == "none"
    assert codes(env) == [code]


# source, line, column, words
REFUSED = [
    ("{{", 1, 1, "never closed"),
    ("{{ a", 1, 1, "“{{” is never closed by “}}”"),
    ("{{ a }", 1, 6, "closing brace"),
    ("{{ (a }}", 1, 7, "closes nothing"),
    ("{{ }}", 1, 4, "missing before the closing braces"),
    ("{{ a b }}", 1, 6, "“b” is not expected"),
    ("{{ a | }}", 1, 8, "missing before"),
    ("{{ a | uper }}", 1, 8, "Did you mean upper"),
    ("{{ a.b() }}", 1, 7, "use a filter"),
    ("{{ 'a }}", 1, 4, "closing quotation mark"),
    ("x\ny {{ a b }}", 2, 8, "“b” is not expected"),
    ("{{ a }}\n\n  {% if %}", 3, 9, "missing before"),
    ("{% if a %}", 1, 11, "“{% if %}” is never closed by “{% endif %}”"),
    ("{% if a %}{% else %}", 1, 21, "never closed by “{% endif %}”"),
    ("{% for a in b %}", 1, 17, "never closed by “{% endfor %}”"),
    ("{% endif %}", 1, 4, "stands alone"),
    ("{% else %}", 1, 4, "stands alone"),
    ("{% if a %}{% endfor %}", 1, 14, "stands alone"),
    ("{% for a in b %}{% elif c %}{% endfor %}", 1, 20, "stands alone"),
    ("{% if a %}{% else %}{% else %}{% endif %}", 1, 24, "stands alone"),
    ("{% if a", 1, 1, "“{%” is never closed"),
    ("{% %}", 1, 4, "not allowed"),
    ("{% 5 %}", 1, 4, "not allowed"),
    ("{% for a %}{% endfor %}", 1, 10, "missing before"),
    ("{% for a.b in c %}{% endfor %}", 1, 9, "“.” is not expected"),
    ("{% for a, b in c %}{% endfor %}", 1, 4, "one variable"),
    ("{% for a in b if a %}{% endfor %}", 1, 4, "inside it"),
    ("{% for a in b recursive %}{% endfor %}", 1, 4, "inside it"),
    ("{% for 5 in b %}{% endfor %}", 1, 10, "not expected"),
    ("{% for a in b, c %}{% endfor %}", 1, 14, "square brackets"),
    ("{% set a = 1 %}", 1, 4, "“{% set %}” is not allowed"),
    ("{% macro m() %}{% endmacro %}", 1, 4, "not allowed"),
    ("{% include 'x' %}", 1, 4, "not allowed"),
    ("{% import 'x' as y %}", 1, 4, "not allowed"),
    ("{% from 'x' import y %}", 1, 4, "not allowed"),
    ("{% extends 'x' %}", 1, 4, "not allowed"),
    ("{% block x %}{% endblock %}", 1, 4, "not allowed"),
    ("{% call x() %}{% endcall %}", 1, 4, "not allowed"),
    ("{% filter upper %}{% endfilter %}", 1, 4, "not allowed"),
    ("{% raw %}{{ x }}{% endraw %}", 1, 4, "not allowed"),
    ("{% with a = 1 %}{% endwith %}", 1, 4, "not allowed"),
    ("{% autoescape false %}{% endautoescape %}", 1, 4, "not allowed"),
    ("{% print a %}", 1, 4, "not allowed"),
    ("{% do a %}", 1, 4, "not allowed"),
    ("{% continue %}", 1, 4, "not allowed"),
    ("{% IF a %}{% endif %}", 1, 4, "not allowed"),
    ("{# a", 1, 1, "“{#” is never closed"),
]


@pytest.mark.parametrize(("source", "line", "column", "words"), REFUSED)
def test_what_is_no_template_is_refused_with_place_and_reason(source: str, line: int, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template(source, NAMES)
    error = caught.value
    assert words in error.message
    assert (error.line, error.column) == (line, column)
    assert "jinja" not in error.message.lower()
    assert "token" not in error.message


def test_loops_are_nested_at_most_twice() -> None:
    twice = "{% for a in [1] %}{% for b in [1] %}x{% endfor %}{% endfor %}"
    assert render(twice) == "x"
    assert render(twice * 3) == "xxx"
    with pytest.raises(ExpressionError, match="nested at most 2 deep"):
        compile_template("{% for c in [1] %}" + twice + "{% endfor %}", NAMES)


@pytest.mark.parametrize("depth", [25, 1000])
def test_conditions_nested_too_deep_are_an_error_and_no_crash(depth: int) -> None:
    with pytest.raises(ExpressionError, match="nested more than 24 deep"):
        compile_template("{% if a %}" * depth + "{% endif %}" * depth, NAMES)


def test_conditions_may_be_nested_some_deep() -> None:
    assert render("{% if true %}" * 20 + "x" + "{% endif %}" * 20) == "x"


def test_a_template_has_a_greatest_length() -> None:
    at_limit = "x" * 65_536
    assert render(at_limit) == at_limit
    with pytest.raises(ExpressionError, match="64 kB"):
        compile_template(at_limit + "x", NAMES)
    with pytest.raises(ExpressionError, match="64 kB"):
        compile_template("ä" * 32_769, NAMES)


def test_each_expression_of_a_template_has_its_own_limit_of_parts() -> None:
    long = "{{ [" + ",".join(["1"] * 390) + "] | length }}"
    assert render(long * 5) == "390" * 5
    with pytest.raises(ExpressionError, match="at most 400 parts"):
        compile_template("{{ [" + ",".join(["1"] * 400) + "] }}", NAMES)


def test_a_template_has_a_greatest_number_of_pieces() -> None:
    assert render("{{1}}" * 10_000) == "1" * 10_000
    with pytest.raises(ExpressionError, match="10000 pieces"):
        compile_template("{{1}}" * 10_001, NAMES)
