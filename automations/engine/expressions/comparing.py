"""Closures for comparisons, conditions and filters. The ordinary case is decided first; everything doubtful goes one slow way that
also warns: a missing value or unlike types make a comparison false, `!=` and the negated ones true (CND-27)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from automations.engine.expressions.environment import Environment
from automations.engine.expressions.filtering import Apply, Filter
from automations.engine.expressions.part import Part
from automations.engine.expressions.paths import Code
from automations.engine.expressions.semantics import EXACT, is_defined, member, order, same
from automations.engine.values import MISSING, kind_of

_NEGATED: Final = frozenset({"!=", "notin", "notcontains"})
_WRITTEN: Final = {"notin": "not in", "notcontains": "not contains"}
_ORDERS: Final[dict[str, frozenset[int]]] = {
    ">": frozenset({1}),
    ">=": frozenset({0, 1}),
    "<": frozenset({-1}),
    "<=": frozenset({-1, 0}),
}


def all_of(codes: Sequence[Code]) -> Code:
    """AND: the first false one decides."""

    def run(env: Environment) -> bool:
        for code in codes:  # noqa: SIM110  # a generator inside `all` costs twice the time
            if not code(env):
                return False
        return True

    return run


def any_of(codes: Sequence[Code]) -> Code:
    """OR: the first true one decides."""

    def run(env: Environment) -> bool:
        for code in codes:  # noqa: SIM110  # see above
            if code(env):
                return True
        return False

    return run


def comparison(sign: str, left: Part, right: Part) -> Code:
    """The closure of `left sign right`."""
    if sign in ("==", "!="):
        if (left.is_constant and left.constant is None) or (right.is_constant and right.constant is None):
            return _null_check(sign, left, right)
        if right.is_constant and type(right.constant) in EXACT:
            return _equals_constant(sign, left, right)
    return _general(sign, left, right)


def _null_check(sign: str, left: Part, right: Part) -> Code:
    """`x == null` asks whether there is a value, and so never warns."""
    code = left.code if right.is_constant and right.constant is None else right.code
    negated = sign == "!="
    return lambda env: is_defined(code(env)) is negated


def _equals_constant(sign: str, left: Part, right: Part) -> Code:
    code, value, negated = left.code, right.constant, sign == "!="
    kind = type(value)

    def run(env: Environment) -> bool:
        found = code(env)
        if type(found) is kind:
            return (found == value) is not negated
        return judge(env, sign, found, value, left, right)

    return run


def _general(sign: str, left: Part, right: Part) -> Code:
    first, second = left.code, right.code
    return lambda env: judge(env, sign, first(env), second(env), left, right)


def judge(env: Environment, sign: str, a: Any, b: Any, left: Part, right: Part) -> bool:
    """Decide any comparison, with a warning where there is nothing to decide."""
    negated = sign in _NEGATED
    result = _decide(env, sign, a, b) if is_defined(a) and is_defined(b) else None
    if result is None:
        _warn(env, sign, a, b, left, right)
        return negated
    return result is not negated


def _decide(env: Environment, sign: str, a: Any, b: Any) -> bool | None:
    if sign in _ORDERS:
        placed = order(a, b, env)
        return None if placed is None else placed in _ORDERS[sign]
    if sign in ("==", "!="):
        return same(a, b, env)
    return member(b, a, env) if sign.endswith("contains") else member(a, b, env)


def _warn(env: Environment, sign: str, a: Any, b: Any, left: Part, right: Part) -> None:
    outcome = "true" if sign in _NEGATED else "false"
    written = _WRITTEN.get(sign, sign)
    if is_defined(a) and is_defined(b):
        env.warn(
            "unlike_types",
            f"“{left.label} {written} {right.label}” compares {kind_of(a)} with {kind_of(b)} and counts as {outcome}.",
        )
        return
    label = right.label if is_defined(a) else left.label
    env.warn("missing_value", f"“{label}” has no value, so its comparison by {written} counts as {outcome}.")


def filtered(code: Code, kind: Filter, arguments: tuple[Any, ...]) -> Code:
    """A filter on a value; what has no value passes through it."""
    apply, takes_nothing = kind.apply, kind.takes_nothing

    def run(env: Environment) -> Any:
        value = code(env)
        if not takes_nothing and (value is None or value is MISSING):
            return value
        return apply(env, value, *arguments)

    return run


def with_currency(part: Part, apply: Apply, places: Sequence[Code]) -> Code:
    """The filter money without an argument: the currency that stands beside the amount, if any."""

    def run(env: Environment) -> Any:
        value = part.code(env)
        if value is None or value is MISSING:
            return value
        found = (place(env) for place in places)
        currency = next((text for text in found if isinstance(text, str) and len(text) == 3 and text.isalpha()), "")
        return apply(env, value, currency.upper())

    return run
