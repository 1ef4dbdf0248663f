"""Bombs (RELIABILITY 38): each ends at once, in an error of the budget, a refusal or a harmless value, and within 128 MB."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from automations.engine.expressions import (
    Budget,
    BudgetExceeded,
    Environment,
    ExpressionError,
    compile_expression,
    compile_template,
)
from tests.engine.language import DATA, NAMES, NOW, environment

BIG = {
    "text": "a" * 300_000,
    "list": list(range(100_000)),
    "texts": ["a" * 1_000] * 5_000,
    "nested": [[0] * 300] * 300,
    "object": {f"key_{number}": number for number in range(100_000)},
    "huge": 1 << 4_000_000,
    "pad": " " * 300_000,
    "regex": "a" * 50_000 + "!",
}

EXPRESSIONS = [
    "'a' * 1000000000",
    "9 ** 9 ** 9",
    "99999999999999999999 * 99999999999999999999 * " * 6 + "99999999999999999999",
    "trigger.huge * trigger.huge",
    "trigger.huge + 1",
    "trigger.huge | json | length",
    "trigger.huge == trigger.huge AND trigger.huge > 5",
    "'%1000000000d' | format(1)",
    "'a' | center(1000000000)",
    "'a' | ljust(1000000000)",
    "'a' | truncate(1000000000)",
    "1 | round(1000000000)",
    "range(1000000000) | length",
    "lipsum(n=100000)",
    "trigger.text" + " + trigger.text" * 190,
    "(trigger.text + trigger.text) + (trigger.text + trigger.text)",
    "trigger.text" + " | replace('a', 'aaaaaaaaaaaaaaaaaaaa')" * 20,
    "trigger.text" + " | upper" * 300,
    "trigger.text | json" + " | json" * 50,
    "trigger.texts | join('" + "b" * 3_000 + "')",
    "trigger.texts | join | length",
    "trigger.list | sort | join" + " | length",
    "trigger.nested == trigger.nested",
    "trigger.list == trigger.list",
    "99999 in trigger.list",
    "trigger.list contains 'x'" + " OR trigger.list contains 'x'" * 50,
    "trigger.nested | unique | length",
    "trigger.texts | json | length",
    "trigger.object.nope" + " == 1 OR trigger.object.nope" * 90,
    "trigger.pad | trim | length",
    "trigger.regex contains 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'" + " OR trigger.regex contains 'b'" * 60,
    "now" + " | plus('1200mo')" * 300,
    "(" * 1_900 + "1" + ")" * 1_900,
    "[" * 1_900 + "]" * 1_900,
    "NOT " * 990 + "true",
    "-" * 3_900 + "1",
    "a" + ".b" * 1_900,
    "a" + "[0]" * 1_300,
    "1" + " + 1" * 900,
    "x" + " | abs" * 600,
    "1" * 3_999,
    "1." + "0" * 3_990 + "1",
    "'" + "\\" * 3_990,
    "'" * 3_999,
    "{{" * 1_999,
    "a AND " * 660 + "a",
    "[" + "1," * 1_990 + "1]",
]

TEMPLATES = [
    "{% for i in range(1000000000) %}{{ i }}{% endfor %}",
    "{% for i in trigger.list %}{{ i }}{% endfor %}",
    "{% for i in trigger.list %}{% for j in trigger.list %}x{% endfor %}{% endfor %}",
    "{% for i in trigger.nested %}{% for j in i %}{{ trigger.text }}{% endfor %}{% endfor %}",
    "{% for i in trigger.texts %}" + "x" * 10_000 + "{% endfor %}",
    "{{ trigger.text }}" * 5,
    "{{ trigger.nested }}{{ trigger.list }}" * 20,
    "{{ trigger.object }}" * 20,
    "{{ trigger.huge }}" * 100,
    "{% if a %}" * 6_000,
    "{% for a in b %}" * 4_000,
    "{{ " * 20_000,
    "{#" * 30_000,
    "{% " * 20_000,
    "{{1}}" * 13_000,
    "{{ '" + "a" * 60_000,
    "{" * 65_000,
    "{% set x = 'a' %}{% for i in trigger.list %}{% set x = x + x %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for i in trigger.list %}{% if i == 99999 %}x{% endif %}{% endfor %}",
]


def outcome(work: object) -> str:
    started = time.process_time()
    try:
        work()  # type: ignore[operator]
        result = "value"
    except BudgetExceeded:
        result = "budget"
    except ExpressionError:
        result = "refused"
    assert time.process_time() - started < 1
    return result


@pytest.mark.parametrize("source", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_an_expression_bomb_ends_at_once(source: str) -> None:
    env = environment(trigger=BIG)
    assert outcome(lambda: compile_expression(source, NAMES).value(env)) in ("value", "budget", "refused")


@pytest.mark.parametrize("source", TEMPLATES, ids=range(len(TEMPLATES)))
@pytest.mark.parametrize("place", ["text", "html", "json"])
def test_a_template_bomb_ends_at_once(source: str, place: str) -> None:
    env = environment(trigger=BIG)
    assert outcome(lambda: compile_template(source, NAMES, place).render(env)) in ("value", "budget", "refused")


CHILD = """
import resource, sys
from tests.engine.test_expressions_bombs import BIG, EXPRESSIONS, TEMPLATES
from automations.engine.expressions import ExpressionError, compile_expression, compile_template
from tests.engine.language import NAMES, environment

env = environment(trigger=BIG)
compile_template("{{ now | date }} {{ 1 | money('EUR') }}", NAMES).render(env)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + 128 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
ended = 0
for compile_, use, sources in ((compile_expression, "value", EXPRESSIONS), (compile_template, "render", TEMPLATES)):
    for source in sources:
        try:
            getattr(compile_(source, NAMES), use)(env)
        except ExpressionError:
            pass
        ended += 1
print(ended)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory limit is one of Linux")
def test_all_bombs_together_stay_within_128_megabytes() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str(len(EXPRESSIONS) + len(TEMPLATES))


def test_the_budget_of_steps_is_kept_to_the_step() -> None:
    source = "{% for i in items %}{{i}}{% endfor %}"
    items = [1] * 1_000
    template = compile_template(source, NAMES)
    template.render(environment({"trigger": {"items": items}}))
    exact = Budget(10**9, 10**9)
    template.render(Environment({"trigger": {"items": items}}, NOW, budget=exact))
    used = 10**9 - exact.steps
    assert 1_000 < used < 50_000
    template.render(Environment({"trigger": {"items": items}}, NOW, budget=Budget(used)))
    with pytest.raises(BudgetExceeded):
        template.render(Environment({"trigger": {"items": items}}, NOW, budget=Budget(used - 1)))


def test_every_evaluation_has_a_full_budget_of_its_own() -> None:
    env = environment(trigger={"items": [1] * 9_000})
    template = compile_template("{% for i in items %}{{i}}{% endfor %}", NAMES)
    for _ in range(20):
        assert len(template.render(env)) == 9_000


def test_a_given_budget_is_shared_by_all_evaluations() -> None:
    env = Environment(DATA, NOW, budget=Budget(steps=10))
    expression = compile_expression("trigger.failureCount == 1", NAMES)
    assert [expression.test(env) for _ in range(2)] == [True, True]
    with pytest.raises(BudgetExceeded) as caught:
        expression.test(env)
    assert caught.value.code == "budget_exceeded"
    assert str(caught.value) == caught.value.message


def test_the_output_of_a_template_has_a_greatest_size() -> None:
    at_limit = {"trigger": {"x": "a" * 131_072}}
    assert len(compile_template("{{x}}{{x}}", NAMES).render(environment(at_limit))) == 262_144
    with pytest.raises(BudgetExceeded, match="256 kB"):
        compile_template("{{x}}{{x}}!", NAMES).render(environment(at_limit))
    with pytest.raises(BudgetExceeded, match="256 kB"):
        compile_template("{{x}}", NAMES).render(environment({"trigger": {"x": "漢" * 90_000}}))


def test_data_nested_too_deep_is_an_error_and_no_crash() -> None:
    deep: object = 1
    for _ in range(5_000):
        deep = [deep]
    env = environment(trigger={"deep": deep})
    for source in (
        "trigger.deep | json",
        "trigger.deep | join",
        "trigger.deep == [trigger.deep]",
        "[trigger.deep] | unique",
    ):
        with pytest.raises(ExpressionError) as caught:
            compile_expression(source, NAMES).value(env)
        assert caught.value.code in ("too_deep", "budget_exceeded")
    with pytest.raises(ExpressionError):
        compile_template("{{trigger.deep}}", NAMES).render(env)


def test_a_loop_within_the_budget_is_never_stopped_short() -> None:
    env = environment(trigger={"items": list(range(5_000))})
    assert compile_template("{% for i in items %}{% endfor %}{{items | length}}", NAMES).render(env) == "5000"
