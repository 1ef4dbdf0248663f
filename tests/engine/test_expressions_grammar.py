"""What the language accepts and refuses, with place and sentence (CONTRACTS 5, CND-26)."""

from __future__ import annotations

import pytest

from automations.engine.expressions import ExpressionError, Names, compile_expression
from tests.engine.language import NAMES, environment, holds, value

# source, value on the test data
ACCEPTED = [
    ("1", 1),
    ("-1", -1),
    ("--1", 1),
    ("'a'", "a"),
    ('"a"', "a"),
    ("''", ""),
    (r"'it\'s'", "it's"),
    (r'"a\nb"', "a\nb"),
    (r"'\u00e4'", "ä"),
    (r"'\ud83d'", "\ufffd"),
    (r"'\u0000'", "\ufffd"),
    (r"'C:\\x'", r"C:\x"),
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("null", None),
    ("None", None),
    ("[]", []),
    ("[1, 'a', true]", [1, "a", True]),
    ("[1, 2,]", [1, 2]),
    ("[[1], [2]]", [[1], [2]]),
    ("(1)", 1),
    ("{{1}}", 1),
    ("{{ trigger.failureCount }}", 1),
    ("{{ {{1}} }}", 1),
    ("trigger.failureCount", 1),
    ("trigger['failureCount']", 1),
    ("invoice.lines[1].quantity", 1),
    ("invoice.lines.1.quantity", 1),
    ("steps['send-mail'].delivery", "dlv_10"),
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("10 - 4 - 3", 3),
    ("7 % 4", 3),
    ("-2 + 5", 3),
    ("5 - -2", 7),
    ("1 < 2", True),
    ("1 = 1", True),
    ("NOT 1 = 2", True),
    ("not 1 == 1 or true", True),
    ("1 == 1 and not 2 == 3", True),
    ("true OR false AND false", True),
    ("(true OR false) AND false", False),
    ("2 in [1, 2]", True),
    ("2 NOT IN [1, 2]", False),
    ("'abc' Contains 'b'", True),
    ("'abc' NOT CONTAINS 'b'", False),
    ("customer.nope is empty", True),
    ("customer.plan is not empty", True),
    ("customer.plan IS DEFINED", True),
    ("customer.nope is not defined", True),
    ("1 + 1 is empty", False),
    ("customer.name | upper", "ANA RUIZ"),
    ("customer.name|lower|capitalize", "Ana ruiz"),
    ("-3 | abs", 3),
    ("'  x '|trim == 'x'", True),
    ("customer.plan\n  == 'pro'\n  AND\ttrue", True),
    ("trigger.status == failed", True),
    ("customer.tags contains vip", True),
    ("customer.plan in [pro, hobby]", True),
]


@pytest.mark.parametrize(("source", "expected"), ACCEPTED)
def test_the_grammar_reads(source: str, expected: object) -> None:
    # CND-26
    found = value(source)
    assert found == expected
    assert type(found) is type(expected)


# source, line, column, words of the message
REFUSED = [
    ("", 1, 1, "empty"),
    ("   ", 1, 1, "empty"),
    ("a ==", 1, 5, "missing at the end"),
    ("== 1", 1, 1, "“==” is not expected"),
    ("a == == 1", 1, 6, "“==” is not expected"),
    ("a b", 1, 3, "“b” is not expected"),
    ("a AND", 1, 6, "missing at the end"),
    ("AND a", 1, 1, "“and” is not expected"),
    ("a AND OR b", 1, 7, "“or” is not expected"),
    ("1 < 2 < 3", 1, 7, "do not chain"),
    ("a == b == c", 1, 8, "do not chain"),
    ("a in b in c", 1, 8, "do not chain"),
    ("a is empty == true", 1, 12, "do not chain"),
    ("(a == 1", 1, 1, "“(” is never closed"),
    ("a == 1)", 1, 7, "“)” closes nothing"),
    ("[1, 2", 1, 1, "“[” is never closed"),
    ("[1, 2)", 1, 6, "“)” closes nothing"),
    ("{{a", 1, 1, "“{{” is never closed"),
    ("a}}", 1, 2, "“}}” closes nothing"),
    ("{{a)", 1, 4, "“)” closes nothing"),
    ("'abc", 1, 1, "closing quotation mark"),
    ("a == 'abc", 1, 6, "closing quotation mark"),
    ("a == “abc”", 1, 6, "straight quotation marks"),
    ("a == 3x", 1, 6, "neither a number nor a name"),
    ("now | minus(30d)", 1, 13, "in quotes"),
    ("1.2.3", 1, 1, "Only a name"),
    ("1.", 1, 3, "stands a name"),
    ("'a'.b", 1, 1, "Only a name"),
    ("f(1)", 1, 2, "use a filter"),
    ("a.b(1)", 1, 4, "use a filter"),
    ("a.b(1).c", 1, 4, "use a filter"),
    ("(a)(1)", 1, 4, "use a filter"),
    ("a | upper(1)(2)", 1, 13, "use a filter"),
    ("a[b]", 1, 2, "Only a number or a text"),
    ("a[1:2]", 1, 4, "“:” is not allowed"),
    ("a[1, 2]", 1, 2, "Only a number or a text"),
    ("a[-1]", 1, 2, "Only a number or a text"),
    ("a[1.5]", 1, 2, "Only a number or a text"),
    ("a.", 1, 3, "stands a name"),
    ("a..b", 1, 3, "stands a name"),
    ("a.'b'", 1, 3, "stands a name"),
    ("1, 2", 1, 2, "“,” is not expected"),
    ("(1, 2)", 1, 3, "square brackets"),
    ("()", 1, 2, "square brackets"),
    ("{'a': 1}", 1, 1, "Objects in braces"),
    ("a ? b", 1, 3, "not allowed"),
    ("a if b else c", 1, 3, "“if” is not expected"),
    ("a ** 2", 1, 3, "Powers"),
    ("a // 2", 1, 3, "round"),
    ("a ~ b", 1, 3, "“~” is not allowed"),
    ("+1", 1, 1, "between two values"),
    ("a && b", 1, 3, "Write AND"),
    ("a || b", 1, 3, "Write OR"),
    ("!a", 1, 1, "Write NOT"),
    ("a <> b", 1, 3, "Write !="),
    ("a; b", 1, 2, "“;” is not allowed"),
    ("a @ b", 1, 3, "“@”"),
    ("a # b", 1, 3, "“#”"),
    ("a \x00 b", 1, 3, "unprintable"),
    ("a is", 1, 5, "After “is”"),
    ("a is none", 1, 6, "After “is”"),
    ("a is not", 1, 9, "After “is”"),
    ("a is empty(1)", 1, 11, "not expected"),
    ("a not b", 1, 3, "“not” is not expected"),
    ("in", 1, 1, "“in” is not expected"),
    ("a | ", 1, 5, "missing at the end"),
    ("a | 5", 1, 5, "“5” is not expected"),
    ("a | uper", 1, 5, "Did you mean upper?"),
    ("a | qqqq", 1, 5, "no filter “qqqq”"),
    ("a | os.system", 1, 5, "no filter"),
    ("a | truncate", 1, 5, "truncate(length)"),
    ("a | upper(1)", 1, 5, "is written upper"),
    ("a | truncate(0)", 1, 5, "from 1 to 10000"),
    ("a | truncate('5')", 1, 5, "whole number"),
    ("a | round(11)", 1, 5, "from 0 to 10"),
    ("a | replace('', 'x')", 1, 5, "not empty"),
    ("a | replace('x')", 1, 5, "replace(old, new)"),
    ("a | plus('3x')", 1, 5, "no duration"),
    ("a | plus(3)", 1, 5, "text in quotes"),
    ("a | money('euro')", 1, 5, "three capital letters"),
    ("a | date('%Y')", 1, 5, "pattern"),
    ("a | default(b)", 1, 13, "literal values only"),
    ("a | join(sep=',')", 1, 13, "literal values only"),
    ("a | join(*b)", 1, 5, "without names and stars"),
    ("a == 1\nAND b = = 2", 2, 9, "“=” is not expected"),
    ("a\n\n  == (1", 3, 6, "“(” is never closed"),
    ("{% if a %}", 1, 1, "Objects in braces"),
    ("a := 1", 1, 3, "“:” is not allowed"),
    ("lambda x: x", 1, 9, "“:” is not allowed"),
]


@pytest.mark.parametrize(("source", "line", "column", "words"), REFUSED)
def test_what_is_no_expression_is_refused_with_place_and_reason(
    source: str, line: int, column: int, words: str
) -> None:
    # CND-26
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, NAMES)
    error = caught.value
    assert words in error.message
    assert (error.line, error.column) == (line, column)
    assert error.code == "bad_expression"


@pytest.mark.parametrize(("source", "line", "column", "words"), REFUSED)
def test_a_refusal_is_one_sentence_without_words_of_the_machinery(
    source: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, NAMES)
    message = caught.value.message
    assert message[-1] in ".?)"
    assert not any(word in message for word in ("jinja", "Jinja", "token", "template", "Traceback", "node", "<class"))
    assert str(caught.value).startswith(f"Line {line}, column {column}: ")


@pytest.mark.parametrize("word", ["and", "OR", "Not", "in", "is", "contains", "true", "null", "empty", "if", "for"])
def test_words_of_the_language_may_be_names_of_fields(word: str) -> None:
    env = environment(trigger={word.lower(): 5, word: 5})
    assert value(f"trigger.{word}", env) == 5


def test_keywords_are_read_in_any_case() -> None:
    for word in ("and", "AND", "And", "aNd"):
        assert holds(f"true {word} true")
        assert not holds(f"true {word} false")


def test_not_binds_weaker_than_a_comparison_and_stronger_than_and() -> None:
    assert value("NOT 1 == 2 AND false") is False
    assert value("NOT (1 == 2 AND false)") is True


def test_is_binds_like_a_comparison() -> None:
    # Jinja itself would read `1 + (x is empty)`.
    assert value("customer.name + '' is empty") is False


def test_filters_bind_tighter_than_operators() -> None:
    assert value("1 + 'abc' | length") == 4
    assert value("('a' + 'bc') | length") == 3


@pytest.mark.parametrize("depth", [1, 10, 20])
def test_parentheses_may_be_nested_some_deep(depth: int) -> None:
    assert value("(" * depth + "1" + ")" * depth) == 1


@pytest.mark.parametrize("opener", ["(", "[", "{{"])
@pytest.mark.parametrize("depth", [25, 100, 900])
def test_brackets_nested_too_deep_are_an_error_and_no_crash(opener: str, depth: int) -> None:
    closer = {"(": ")", "[": "]", "{{": "}}"}[opener]
    with pytest.raises(ExpressionError, match="nested more than 24 deep"):
        compile_expression(opener * depth + "1" + closer * depth, NAMES)


@pytest.mark.parametrize("source", ["NOT " * 900 + "true", "-" * 3000 + "1", "-(" * 20 + "-" * 20 + "1" + ")" * 20])
def test_signs_nested_too_deep_are_an_error_and_no_crash(source: str) -> None:
    with pytest.raises(ExpressionError, match="deep"):
        compile_expression(source, NAMES)


def test_a_long_chain_is_not_deep() -> None:
    assert value(" + ".join(["1"] * 190)) == 190
    assert holds(" AND ".join(["true"] * 190))
    assert holds(" OR ".join(["false"] * 150) + " OR true")
    assert value("'x'" + " | upper" * 200) == "X"


def test_an_expression_has_a_greatest_length() -> None:
    at_limit = "1" + " " * 3_999
    assert value(at_limit) == 1
    with pytest.raises(ExpressionError, match="at most 4000 characters"):
        compile_expression(at_limit + " ", NAMES)


def test_an_expression_has_a_greatest_number_of_parts() -> None:
    assert len(value("[" + ",".join(["1"] * 399) + "]")) == 399
    with pytest.raises(ExpressionError, match="at most 400 parts"):
        compile_expression("[" + ",".join(["1"] * 400) + "]", NAMES)


def test_a_path_has_a_greatest_length_as_well() -> None:
    with pytest.raises(ExpressionError, match="at most 400 parts"):
        compile_expression("a" + ".b" * 500, NAMES)


def test_a_number_has_at_most_thirty_digits() -> None:
    assert value("9" * 30) == int("9" * 30)
    with pytest.raises(ExpressionError, match="30 digits"):
        compile_expression("9" * 31, NAMES)


def test_compiling_the_same_source_again_is_free() -> None:
    assert compile_expression("1 == 1", NAMES) is compile_expression("1 == 1", NAMES)
    assert compile_expression("1 == 1", NAMES) is not compile_expression("1 == 1", Names())
