"""What every text must end in when it is read as a definition, an expression or a template (INVARIANTS P4, P5; RELIABILITY 37 to 39).

A target takes a text, does with it what the product does, and raises `Fault` when the outcome is neither a value nor a problem with
its place, costs more than its budget, or reaches more than plain data. It imports no database and no Django, so that the long forms
run it a thousand times a second; Hypothesis and the guided form call the same functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from automations.engine.definition import Definition
from automations.engine.expressions import (
    MISSING,
    Budget,
    Environment,
    ExpressionError,
    compile_expression,
    compile_template,
)
from automations.engine.plan import compile_plan
from automations.engine.problems import DefinitionError, Problem
from automations.engine.reading import Source, read_definition
from automations.engine.validation import Known, validate
from automations.engine.writing import to_yaml
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.language import DATA, NAMES, NOW, ZONE
from tests.fuzz.spelling import EXPRESSION_WORDS, TEMPLATE_WORDS, YAML_WORDS

CANARY: Final = "CANARY-5d1"
SECONDS: Final = 5.0  # of the processor, for a text of a few kilobytes; a hang, not a measurement
STEPS, SIZE = (
    3_000,
    4_000,
)  # small on purpose: the product's own budget is far beyond what a short text spends by accident
GIVEN = 24_000  # characters of text in all the data below
OUTPUT = 262_144
TEXT_CODES = {"malformed", "too_deep", "duplicate_key", "alias_refused", "too_large", "invalid_definition"}
EXPRESSION_CODES = {"bad_expression", "budget_exceeded", "too_deep", "header_injection"}


class Fault(AssertionError):
    """The product did what it must never do with this text."""


class Reached(BaseException):
    """Somebody asked an object for an attribute. No handler of the product stops it."""


class Tripwire(dict[str, Any]):
    """Data that reports every look at an attribute which a plain mapping does not have."""

    secret = CANARY

    def __getattribute__(self, name: str) -> Any:
        if not hasattr(dict, name):
            raise Reached(name)
        return super().__getattribute__(name)


class Vault:
    """An object that is no data: nothing of it may be shown."""

    secret = CANARY

    def __str__(self) -> str:
        return CANARY

    __repr__ = __str__


def _deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


_FIELDS: Final[Mapping[str, Any]] = {
    "name": "Ana <b> {{ 7 }}\r\nBcc: x",
    "amount": Decimal("12.50"),
    "items": [*range(20)],
    "many": [*range(4_000)],
    "long": "b" * 5_000,
    "texts": ["a" * 40] * 50,
    "deep": _deep(300),
    "vault": Vault(),
    "vaults": [Vault()],
    "person": Tripwire({"name": "Bo"}),
}
WORLD: Final[Mapping[str, Any]] = {
    **DATA,
    "customer": Tripwire({**DATA["customer"], **_FIELDS}),
    "trigger": Tripwire(_FIELDS),
}


@contextmanager
def _bounded(what: str) -> Iterator[None]:
    started = time.thread_time()
    yield
    used = time.thread_time() - started
    if used > SECONDS:
        raise Fault(f"{what} took {used:.1f} s of the processor")


def read_text(text: str | bytes) -> str:
    """A definition as YAML or JSON: read, validated, compiled, written and read again."""
    with _bounded("reading"):
        try:
            source = read_definition(text, REGISTRY)
        except DefinitionError as error:
            return _refused(error, text)
    with _bounded("validation"):
        problems = validate(source.definition, REGISTRY, Known(), source.lines)
    for problem in problems:
        _check_problem(problem)
    if not any(problem.severity == "error" for problem in problems):
        compile_plan(source.definition, REGISTRY)
    _check_reading_again(source)
    return "value"


def _refused(error: DefinitionError, text: str | bytes) -> str:
    if error.code not in TEXT_CODES or not error.problems:
        raise Fault(f"refused as {error.code!r} with {len(error.problems)} problems")
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    last = len(decoded.splitlines()) + 2  # a text that ends too early is wrong behind its last line
    for problem in error.problems:
        _check_problem(problem)
        if problem.code != "too_large" and not 1 <= (problem.line or 0) <= last:
            raise Fault(f"a problem without its line: {problem}")
    return error.code


def _check_problem(problem: Problem) -> None:
    if not problem.message or problem.severity not in ("error", "warning", "info"):
        raise Fault(f"a problem that says nothing: {problem!r}")
    str(problem.as_json())


def _check_reading_again(source: Source) -> None:
    """What was read can be written, and means the same then (P5)."""
    again: Definition = read_definition(to_yaml(source.definition, REGISTRY), REGISTRY, "yaml").definition
    if again != source.definition:
        raise Fault(f"written and read again it is another: {source.definition!r} and {again!r}")


def _environment() -> Environment:
    return Environment(WORLD, NOW, ZONE, budget=Budget(STEPS, SIZE))


def _spent(env: Environment) -> None:
    if env.budget.steps < 0 or env.budget.size < 0:
        raise Fault(f"it went on with {env.budget.steps} steps and {env.budget.size} characters left")


def _place_of(error: ExpressionError, source: str) -> str:
    if error.code not in EXPRESSION_CODES or not error.message:
        raise Fault(f"refused as {error.code!r}: {error.message!r}")
    if error.line < 1 or error.column < 1 or error.line > len(source.splitlines()) + 1:
        raise Fault(f"refused at line {error.line}, column {error.column}")
    return error.code


def evaluate(source: str) -> str:
    """An expression: compiled, evaluated twice, its outcome plain data."""
    values: list[Any] = []
    with _bounded("evaluation"):
        try:
            expression = compile_expression(source, NAMES)
            for env in (_environment(), _environment()):
                values.append(expression.value(env))
                _spent(env)
                expression.test(_environment())
        except ExpressionError as error:
            return _place_of(error, source)
    _check_plain(values[0], SIZE + len(source) + GIVEN)
    if repr(values[0]) != repr(values[1]):
        raise Fault(f"two evaluations differ: {values[0]!r} and {values[1]!r}")
    return "value"


_PLAIN = (str, bool, int, Decimal, datetime, date, type(None))


def _check_plain(value: Any, most: int) -> None:
    """Only data of the known kinds, and no more text than the budget and the given data allow."""
    if not isinstance(value, (*_PLAIN, Mapping, list)) and value is not MISSING:
        raise Fault(f"a value of kind {type(value).__name__}")
    left, seen = [value], 0
    while left:
        item = left.pop()
        if isinstance(item, Mapping):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str):
            seen += len(item)
            if CANARY in item:
                raise Fault("it shows what is no data")
        if seen > most:
            raise Fault(f"a value of more than {most} characters")


#: How many characters one can become where it has to be escaped.
_ESCAPED: Final = {"html": 6, "url": 12, "json": 6}


def render(source: str) -> str:
    """A template in each of its places."""
    return " ".join(_render(source, place) for place in ("text", "html", "header", "url", "json"))


def _render(source: str, place: str) -> str:
    with _bounded("rendering"):
        try:
            template = compile_template(source, NAMES, place)
            env = _environment()
            text = template.render(env)
            _spent(env)
            template.value(_environment())
        except ExpressionError as error:
            return _place_of(error, source)
    if CANARY in text:
        raise Fault("it shows what is no data")
    if len(text.encode("utf-8", "surrogatepass")) > OUTPUT or len(text) > _ESCAPED.get(place, 1) * (SIZE + len(source)):
        raise Fault(f"{len(text)} characters came out")
    if place == "header" and any(sign in text for sign in "\r\n\x00"):
        raise Fault("a second line in a header")
    return "value"


@dataclass(frozen=True, slots=True)
class Target:
    """A function to be tried, the words of its language, and texts to begin from."""

    run: Callable[[str], str]
    words: tuple[str, ...]
    seeds: tuple[str, ...]


_HEAD = "name: X\ntrigger: {type: event, event: sign}\n"
_FLOWS = (
    "steps:\n  - {id: a, type: action, action: add_tag, tag: x}\n  - {type: delay, duration: 1d}\n",
    "filter: trigger.amount > 10\nexits: [{event: paid}]\nsteps: []\n",
    "steps:\n  - type: condition\n    if: a > 1\n    then:\n      - {type: stop}\n    else: []\n",
    "steps:\n- type: branch\n  cases:\n  - {id: a, if: b == 1, steps: [{type: stop}]}\n  default: []\n",
    "steps:\n- {id: w, type: wait_until, event: paid, timeout: 2d, onEvent: [], onTimeout: [{type: stop}]}\n",
    "steps: [{type: loop, over: trigger.items, as: item, steps: [{type: action, action: add_tag, tag: '{{item}}'}]}]\n",
    "nodes: [{id: a, type: stop, config: {}}]\nedges: [{from: trigger, port: next, to: a}]\n",
    "description: !!str text\nkey: &a k\nfilter: *a\n",
    "settings: {reentry: once, errorHandling: {retries: 2}}\ngoal: {event: paid, within: 3d}\n",
)
_JSON = '{"name": "X", "trigger": {"type": "manual"}, "steps": [{"type": "delay", "duration": "1d"}]}'
_EXPRESSIONS = (
    "trigger.amount > 10 AND customer.segment = enterprise",
    "now | date",
    "trigger.many contains 3",
    "trigger.items | sort | first",
    "trigger.texts | join(', ') | length",
    "trigger.long | upper",
)
TARGETS: Final[Mapping[str, Target]] = {
    "yaml": Target(read_text, YAML_WORDS, (*(_HEAD + flow for flow in _FLOWS), _JSON)),
    "expressions": Target(evaluate, EXPRESSION_WORDS, _EXPRESSIONS),
    "templates": Target(
        render,
        TEMPLATE_WORDS,
        (
            "Hi {{ customer.name }}",
            "{% for i in trigger.items %}{{ i }}{% endfor %}",
            "{{ trigger.long }}",
            "{% for i in trigger.many %}x{% endfor %}",
        ),
    ),
}
