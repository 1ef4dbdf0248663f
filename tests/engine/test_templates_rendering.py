"""Variables in text: VAR-01 to 20 one by one, typed values, missing ones, and both spellings (VAR-21, 24 to 26, 29)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from automations.engine.expressions import compile_template
from automations.engine.values import StatusText, invoice_status
from tests.engine.language import DATA, NAMES, codes, environment, render

# source, text
VARIABLES = [
    ("{{invoice.id}}", "inv_8"),  # VAR-01
    ("{{invoice.total}}", "1500.00"),  # VAR-02
    ("{{invoice.currency}}", "EUR"),  # VAR-03
    ("{{invoice.status}}", "unpaid"),  # VAR-04, C-14
    ("{{invoice.dueDate}}", "2026-11-30"),  # VAR-05
    ("{{invoice.customer.name}}", "Ana Ruiz"),  # VAR-06
    ("{{invoice.customer.email}}", "a@acme.test"),  # VAR-07
    ("{{payment.id}}", "pay_31"),  # VAR-08
    ("{{payment.amount}}", "129.00"),  # VAR-09
    ("{{payment.status}}", "failed"),  # VAR-10
    ("{{payment.failureReason}}", "insufficient_funds"),  # VAR-11
    ("{{payment.failureCount}}", "1"),  # VAR-12
    ("{{customer.id}}", "cus_7"),  # VAR-13
    ("{{customer.name}}", "Ana Ruiz"),  # VAR-14
    ("{{customer.email}}", "a@acme.test"),  # VAR-15
    ("{{customer.segment}}", "enterprise"),  # VAR-16
    ("{{customer.createdAt}}", "2026-01-01T23:30:00.000Z"),  # VAR-17
    ("{{trigger.failureCount}}", "1"),  # VAR-18
    ("{{trigger.customer.email}}", "ana@example.com"),  # VAR-19
    ("{{trigger.accountOwner}}", "mara@northwind.example"),  # VAR-20
    ("{{invoice.amount}}", "1500.00"),  # VAR-29
    ("{{invoice.due_date}}", "2026-11-30"),  # VAR-24
    ("{{invoice.isOverdue}}", "false"),
    ("{{customer.vip}}", "true"),
    ("{{customer.nothing}}", ""),
    ("{{customer.tags}}", "vip, beta"),
    ("{{customer.metadata}}", '{"cost_center": "K-12", "demo": "yes"}'),
    ("{{now}}", "2026-11-20T09:14:02.120Z"),
    ("{{1 + 1}}", "2"),
    ("{{1 / 3}}", "0.3333333333333333333333333333"),
    ("{{1 == 1}}", "true"),
    ("{{[]}}", ""),
    ("{{[1, [2, 3], null, 'x']}}", "1, 2, 3, , x"),
]


@pytest.mark.parametrize(("source", "expected"), VARIABLES)
def test_a_variable_renders_as_its_value(source: str, expected: str) -> None:
    payment = {**DATA["payment"], "failureReason": "insufficient_funds"}
    env = environment(payment=payment)
    assert render(source, env=env) == expected
    assert env.warnings == []


@pytest.mark.parametrize(("source", "expected"), VARIABLES)
def test_a_variable_renders_the_same_within_a_text(source: str, expected: str) -> None:
    payment = {**DATA["payment"], "failureReason": "insufficient_funds"}
    assert render(f"<{source}> and {source}.", env=environment(payment=payment)) == f"<{expected}> and {expected}."


@pytest.mark.parametrize(
    "literal", ["", "plain", "a { b } c", "100 %", "{ {x} }", "}} %}", "#}", "line\nline\n", "ä 漢 🎉", "$x", "a|b"]
)
def test_text_without_variables_stays_as_it_is(literal: str) -> None:
    found = compile_template(literal, NAMES)
    assert found.literal == literal
    assert found.paths == frozenset()
    assert found.render(environment()) == literal
    assert found.value(environment()) == literal


def test_a_subject_with_a_variable() -> None:
    # VAR-21
    assert render("Hi {{customer.name}}", "header") == "Hi Ana Ruiz"


def test_a_template_with_variables_has_no_literal() -> None:
    assert compile_template("Hi {{customer.name}}", NAMES).literal is None
    assert compile_template("{% if true %}x{% endif %}", NAMES).literal is None


def test_a_comment_is_left_out() -> None:
    found = compile_template("a{# {{ not read }} {% nor this %} #}b", NAMES)
    assert found.render(environment()) == "ab"
    assert found.literal == "ab"


def test_an_unknown_variable_is_empty_with_a_warning() -> None:
    # VAR-26
    env = environment()
    assert render("[{{invoice.nope}}]", env=env) == "[]"
    assert codes(env) == ["missing_value"]
    assert "invoice.nope" in env.warnings[0].message


def test_an_unknown_variable_with_a_default_gives_no_warning() -> None:
    env = environment()
    assert render("Hi {{customer.nickname | default('there')}}", env=env) == "Hi there"
    assert env.warnings == []


def test_the_snapshot_and_the_live_record_are_two_things() -> None:
    # VAR-25
    paid = {**DATA["invoice"], "status": invoice_status("paid")}
    env = environment(invoice=paid)
    assert render("{{trigger.invoice.status}} {{invoice.status}}", env=env) == "open paid"


# source, typed value
TYPED: list[tuple[str, Any]] = [
    ("{{trigger.failureCount}}", 1),
    ("{{ invoice.total }}", Decimal("1500.00")),
    ("  {{invoice.total}}\n", Decimal("1500.00")),
    ("{{customer.vip}}", True),
    ("{{customer.nothing}}", None),
    ("{{customer.tags}}", ["vip", "beta"]),
    ("{{invoice.dueDate}}", date(2026, 11, 30)),
    ("{{customer.createdAt}}", datetime(2026, 1, 1, 23, 30, tzinfo=UTC)),
    ("{{customer.name}}", "Ana Ruiz"),
    ("{{customer.tags | length}}", 2),
    ("{{trigger.failureCount == 1}}", True),
    ("{# note #}{{trigger.failureCount}}", 1),
    ("{{trigger.failureCount}}x", "1x"),
    ("{{trigger.failureCount}}{{trigger.failureCount}}", "11"),
    ("{% if true %}{{trigger.failureCount}}{% endif %}", "1"),
    ("5", "5"),
]


@pytest.mark.parametrize(("source", "expected"), TYPED)
def test_a_text_that_is_one_variable_alone_keeps_its_type(source: str, expected: Any) -> None:
    # CONTRACTS 5
    found = compile_template(source, NAMES).value(environment())
    assert found == expected
    assert type(found) is type(expected)


def test_a_missing_variable_alone_is_null_with_a_warning() -> None:
    env = environment()
    assert compile_template("{{ invoice.nope }}", NAMES).value(env) is None
    assert codes(env) == ["missing_value"]
    assert "invoice.nope" in env.warnings[0].message


def test_a_status_alone_stays_a_status() -> None:
    found = compile_template("{{invoice.status}}", NAMES).value(environment())
    assert isinstance(found, StatusText)
    assert found == "unpaid"
    assert found.stored == "open"


def test_blanks_are_kept_unless_a_minus_sign_takes_them_away() -> None:
    assert render("a {{ 1 }} b") == "a 1 b"
    assert render("a {{- 1 -}} b") == "a1b"
    assert render("a\n{%- if true -%}\n x \n{%- endif -%}\n b") == "axb"
    assert render("a {#- note -#} b") == "ab"
    assert render("{{ 3 -2 }}") == "1"
    assert render("{{ 3 - -2 -}} x") == "5x"


def test_braces_and_signs_in_quotes_close_nothing() -> None:
    assert render("{{ '}}' }}{{ \"%}\" }}{{ '{{' }}") == "}}%}{{"


def test_a_template_can_be_rendered_again_and_again() -> None:
    found = compile_template("{% for l in invoice.lines %}{{l.quantity}}{% endfor %}", NAMES)
    env = environment()
    assert [found.render(env) for _ in range(3)] == ["21", "21", "21"]


def test_compiling_the_same_template_again_is_free() -> None:
    assert compile_template("{{a}}", NAMES) is compile_template("{{a}}", NAMES)
    assert compile_template("{{a}}", NAMES) is not compile_template("{{a}}", NAMES, "html")


def test_an_unknown_place_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no place"):
        compile_template("x", NAMES, "javascript")
