"""What operators do with plain values (CONTRACTS 5 "Values"). None as an answer means: these two cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any, Final

from automations.engine.expressions.environment import Environment
from automations.engine.values import MAX_BITS, MISSING, StatusText, as_date, as_moment, as_number, normalise

#: Types of which two values of one type are compared by Python itself.
EXACT: Final = frozenset({str, int, bool, Decimal})

# Nothing traps: what overflows becomes infinite or no number, and that becomes missing.
_CONTEXT: Final = Context(prec=28, Emax=999, Emin=-999, traps=[])


def same(a: Any, b: Any, env: Environment) -> bool | None:
    """Whether two values are equal; None when they are unlike."""
    if type(a) is type(b) and type(a) in EXACT:
        return bool(a == b)
    if isinstance(a, StatusText) or isinstance(b, StatusText):
        return _same_status(a, b)
    if isinstance(a, bool) or isinstance(b, bool):
        return None
    if isinstance(a, date) or isinstance(b, date):
        pair = _moments(a, b, env)
        return None if pair is None else bool(pair[0] == pair[1])
    if isinstance(a, list) and isinstance(b, list):
        return _same_list(a, b, env)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a is b or None
    left, right = as_number(a), as_number(b)
    return None if left is None or right is None else bool(left == right)


def _same_status(a: Any, b: Any) -> bool | None:
    if isinstance(a, StatusText) and isinstance(b, StatusText):
        return a.stored == b.stored
    status, other = (a, b) if isinstance(a, StatusText) else (b, a)
    return str.__str__(other) in status.also if isinstance(other, str) else None


def _same_list(a: list[Any], b: list[Any], env: Environment) -> bool:
    env.budget.spend(min(len(a), len(b)))
    return len(a) == len(b) and all(same(normalise(x), normalise(y), env) for x, y in zip(a, b, strict=True))


def _moments(a: Any, b: Any, env: Environment) -> tuple[Any, Any] | None:
    """Both as times, or where one is a date only, both as dates in the workspace's zone."""
    left, right = as_moment(a, env.time_zone), as_moment(b, env.time_zone)
    if left is None or right is None:
        return None
    if isinstance(left, datetime) and isinstance(right, datetime):
        return left, right
    return as_date(left, env.time_zone), as_date(right, env.time_zone)


def order(a: Any, b: Any, env: Environment) -> int | None:
    """-1, 0 or 1 as `a` is less than, equal to or greater than `b`; None when they are unlike. Two texts that both read as
    numbers, or both as dates, are ordered as such, since amounts and times travel as text in JSON; others by code point."""
    if isinstance(a, bool) or isinstance(b, bool):
        return None
    pair: tuple[Any, Any] | None = as_number(a), as_number(b)
    if None in pair:  # type: ignore[operator]  # a tuple it is
        pair = _moments(a, b, env)
        if pair is None and isinstance(a, str) and isinstance(b, str):
            pair = str.__str__(a), str.__str__(b)
    return None if pair is None else (pair[0] > pair[1]) - (pair[0] < pair[1])


def member(item: Any, container: Any, env: Environment) -> bool | None:
    """Whether `item` is in a list, or a part of a text; None when `container` is neither."""
    if isinstance(container, list):
        env.budget.spend(len(container))
        return any(same(item, normalise(other), env) for other in container)
    if isinstance(container, str) and isinstance(item, str):
        env.budget.read(len(container))
        names = container.also if isinstance(container, StatusText) else (container,)
        return any(str.__str__(item) in name for name in names)
    return None


def truth(value: Any) -> bool:
    """Whether a value counts as true by itself: not missing, null, false, zero or empty."""
    return bool(value)


def is_empty(value: Any) -> bool:
    """Missing, null, empty text, an empty list or object."""
    return value is None or value is MISSING or (isinstance(value, (str, list, Mapping)) and not value)


def is_defined(value: Any) -> bool:
    """Neither missing nor null."""
    return value is not None and value is not MISSING


def _integral(exact: Callable[[int, int], int], decimal: Callable[[Decimal, Decimal], Decimal]) -> Any:
    def calculate(a: int | Decimal, b: int | Decimal) -> int | Decimal:
        if isinstance(a, int) and isinstance(b, int):
            return exact(a, b)
        return decimal(Decimal(a), Decimal(b))

    return calculate


def _divide(a: int | Decimal, b: int | Decimal) -> int | Decimal:
    return _CONTEXT.divide(Decimal(a), Decimal(b))


def _remainder(a: Decimal, b: Decimal) -> Decimal:
    """With the sign of the divisor, as for whole numbers."""
    rest = _CONTEXT.remainder(a, b)
    return _CONTEXT.add(rest, b) if rest and (rest < 0) != (b < 0) else rest


_ARITHMETIC: Final = {
    "+": _integral(int.__add__, _CONTEXT.add),
    "-": _integral(int.__sub__, _CONTEXT.subtract),
    "*": _integral(int.__mul__, _CONTEXT.multiply),
    "/": _divide,
    "%": _integral(int.__mod__, _remainder),
}


def calculate(sign: str, a: Any, b: Any, env: Environment) -> Any:
    """`a sign b` for numbers and text that reads as numbers; `+` also joins two texts. `MISSING`, with a warning, where there is
    no answer: a missing or unlike operand, a division by zero, a number too large."""
    left, right = _operand(a), _operand(b)
    if left is None or right is None:
        return _join(sign, a, b, env)
    if sign in "/%" and right == 0:
        env.warn("division_by_zero", "A division by zero has no value.")
        return MISSING
    return bounded(_ARITHMETIC[sign](left, right), env)


def _operand(value: Any) -> int | Decimal | None:
    number = as_number(value)
    # A wide integer is refused before it is multiplied, not after.
    return None if isinstance(number, int) and number.bit_length() > MAX_BITS else number


def _join(sign: str, a: Any, b: Any, env: Environment) -> Any:
    if sign == "+" and isinstance(a, str) and isinstance(b, str):
        env.budget.make(len(a) + len(b))
        return str.__str__(a) + str.__str__(b)
    if is_defined(a) and is_defined(b):
        env.warn("unlike_types", f"“{sign}” needs two numbers, so this has no value.")
    else:
        env.warn("missing_value", f"One side of “{sign}” has no value, so this has none.")
    return MISSING


def bounded(number: int | Decimal, env: Environment) -> Any:
    """`number`, or `MISSING` with a warning when it is too large to go on with."""
    fits = number.bit_length() <= MAX_BITS if isinstance(number, int) else number.is_finite()
    if fits:
        return number
    env.warn("number_too_large", "A number became too large, so it has no value.")
    return MISSING


def negate(value: Any, env: Environment) -> Any:
    """`-value`."""
    return calculate("-", 0, value, env)
