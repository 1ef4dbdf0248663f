"""How values compare (CONTRACTS 5 "Values", CND-03 to 05, CND-27, C-14)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from automations.engine.expressions import MISSING
from automations.engine.values import StatusText, invoice_status
from tests.engine.language import codes, environment, holds, value

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
LATE = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)  # the 30th in Berlin

# left, right, equal
EQUALITY: list[tuple[Any, Any, bool]] = [
    (1, 1, True),
    (1, 2, False),
    (1, Decimal("1.00"), True),
    (Decimal("129.00"), "129", True),
    ("129.00", 129, True),
    ("129.00", 129.0, True),
    ("00042", 42, True),
    ("-3", -3, True),
    ("+3", 3, True),
    ("1e3", 1000, False),
    (" 1", 1, False),
    ("1,000", 1000, False),
    ("٣", 3, False),
    ("a", "a", True),
    ("a", "A", False),
    ("1.0", "1", False),
    ("", "", True),
    ("ä", "a\u0308", False),
    (True, True, True),
    (True, False, False),
    (date(2026, 11, 30), "2026-11-30", True),
    (date(2026, 11, 30), "2026-11-30T08:00:00Z", True),
    (date(2026, 11, 30), date(2026, 11, 30), True),
    (date(2026, 11, 30), NOON, True),
    (date(2026, 11, 30), LATE, True),
    (date(2026, 11, 29), LATE, False),
    (NOON, "2026-11-30T12:00:00Z", True),
    (NOON, "2026-11-30T12:00:00.000Z", True),
    (NOON, "2026-11-30 12:00+00:00", True),
    (NOON, "2026-11-30T13:00:00+01:00", True),
    (NOON, "2026-11-30T13:00:00", True),  # a time without a zone is one of the workspace's zone
    (NOON, NOON.astimezone(timezone(timedelta(hours=5))), True),
    (NOON, "2026-11-30", True),
    ([1, 2], [1, 2], True),
    ([1, "2"], ["1", 2], True),
    ([1, 2], [2, 1], False),
    ([1], [1, 1], False),
    ([], [], True),
    ([[1]], [["1"]], True),
]


@pytest.mark.parametrize(("left", "right", "equal"), EQUALITY)
def test_values_are_equal_by_their_meaning(left: Any, right: Any, equal: bool) -> None:
    env = environment({"trigger": {"a": left, "b": right}})
    for source in ("trigger.a == trigger.b", "trigger.b == trigger.a", "trigger.a = trigger.b"):
        assert holds(source, env) is equal
    assert holds("trigger.a != trigger.b", env) is not equal
    assert holds("trigger.a in [trigger.b]", env) is equal


# left, right: kinds that have nothing to do with each other
UNLIKE: list[tuple[Any, Any]] = [
    (1, "x"),
    (1, True),
    (0, False),
    ("true", True),
    (1, []),
    ("a", ["a"]),
    (NOON, 5),
    (NOON, "soon"),
    (NOON, "2026-13-45"),
    (date(2026, 1, 1), True),
    ({"a": 1}, 1),
    ({"a": 1}, "x"),
    ({}, []),
]


@pytest.mark.parametrize(("left", "right"), UNLIKE)
@pytest.mark.parametrize("sign", ["==", "=", ">", ">=", "<", "<="])
def test_unlike_types_make_a_comparison_false_with_a_warning(left: Any, right: Any, sign: str) -> None:
    for a, b in ((left, right), (right, left)):
        env = environment({"trigger": {"a": a, "b": b}})
        assert not holds(f"trigger.a {sign} trigger.b", env)
        assert codes(env) == ["unlike_types"]


@pytest.mark.parametrize(("left", "right"), UNLIKE)
def test_unlike_types_are_unequal_with_a_warning(left: Any, right: Any) -> None:
    env = environment({"trigger": {"a": left, "b": right}})
    assert holds("trigger.a != trigger.b", env)
    assert codes(env) == ["unlike_types"]


@pytest.mark.parametrize("absent", ["trigger.nope", "customer.nothing", "nope.nope", "invoice.lines[9].amount"])
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{} == 1", False),
        ("1 == {}", False),
        ("{} > 1", False),
        ("{} >= 1", False),
        ("{} < 1", False),
        ("1 <= {}", False),
        ("{} contains 'x'", False),
        ("'x' in {}", False),
        ("{} in ['x']", False),
        ("{} != 1", True),
        ("1 != {}", True),
        ("{} not in ['x']", True),
        ("{} not contains 'x'", True),
    ],
)
def test_a_missing_value_makes_comparisons_false_and_their_opposites_true(
    absent: str, template: str, expected: bool
) -> None:
    # CND-27
    env = environment()
    assert holds(template.format(absent), env) is expected
    assert codes(env) == ["missing_value"]
    assert absent in env.warnings[0].message
    assert str(expected).lower() in env.warnings[0].message


def test_two_missing_values_are_not_equal() -> None:
    assert not holds("trigger.nope == trigger.neither")
    assert holds("trigger.nope != trigger.neither")


def test_null_asks_whether_there_is_a_value_and_never_warns() -> None:
    env = environment()
    assert holds("customer.nope == null", env)
    assert holds("customer.nothing = null", env)
    assert holds("null == customer.nope", env)
    assert holds("customer.name != null", env)
    assert not holds("customer.name == null", env)
    assert codes(env) == []


@pytest.mark.parametrize(
    ("source", "empty", "defined"),
    [
        ("customer.nope", True, False),
        ("customer.nothing", True, False),
        ("''", True, True),
        ("[]", True, True),
        ("trigger.object", True, True),
        ("'x'", False, True),
        ("' '", False, True),
        ("0", False, True),
        ("false", False, True),
        ("[0]", False, True),
        ("customer", False, True),
    ],
)
def test_empty_and_defined(source: str, empty: bool, defined: bool) -> None:
    env = environment(trigger={"object": {}})
    assert holds(f"{source} is empty", env) is empty
    assert holds(f"{source} is not empty", env) is not empty
    assert holds(f"{source} is defined", env) is defined
    assert holds(f"{source} is not defined", env) is not defined
    assert codes(env) == []


# smaller, greater
ORDERS: list[tuple[Any, Any]] = [
    (1, 2),
    (-1, 0),
    (Decimal("999.99"), 1000),
    ("99.00", 100),
    ("99.00", "100.00"),
    ("9", "10"),
    ("a", "b"),
    ("B", "a"),
    ("10", "9a"),
    ("2026-11-30", "2026-12-01"),
    ("2026-11-30T10:00:00Z", "2026-11-30T10:00:00.500Z"),
    ("2026-11-30T23:00:00+05:00", "2026-11-30T19:00:00Z"),
    (date(2026, 11, 29), date(2026, 11, 30)),
    (date(2026, 11, 29), "2026-11-30"),
    (NOON, NOON + timedelta(seconds=1)),
    (NOON, "2026-12-01"),
    (date(2026, 11, 29), NOON),
    (1.5, 2),
]


@pytest.mark.parametrize(("smaller", "greater"), ORDERS)
def test_values_are_ordered_by_their_meaning(smaller: Any, greater: Any) -> None:
    # CND-04
    env = environment({"trigger": {"a": smaller, "b": greater}})
    for sign, expected in (("<", True), ("<=", True), (">", False), (">=", False)):
        assert holds(f"trigger.a {sign} trigger.b", env) is expected
        assert holds(f"trigger.b {sign} trigger.a", env) is not expected


@pytest.mark.parametrize("same", [1, "x", NOON, date(2026, 1, 1), Decimal("1.0")])
def test_equal_values_are_neither_greater_nor_less(same: Any) -> None:
    env = environment({"trigger": {"a": same, "b": same}})
    assert holds("trigger.a <= trigger.b", env)
    assert holds("trigger.a >= trigger.b", env)
    assert not holds("trigger.a < trigger.b", env)
    assert not holds("trigger.a > trigger.b", env)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'b' in 'abc'", True),
        ("'' in 'abc'", True),
        ("'B' in 'abc'", False),
        ("1 in [1, 2]", True),
        ("'1' in [1, 2]", True),
        ("true in [1, 2]", False),
        ("'x' in []", False),
        ("[1] in [[1]]", True),
        ("[1, 2] contains 2", True),
        ("[1, 2] not contains 2", False),
        ("customer.tags contains 'vip'", True),
        ("customer.tags contains 'vi'", False),
        ("'2026-11-30' in [invoice.dueDate]", True),
    ],
)
def test_membership_is_part_of_a_text_or_member_of_a_list(source: str, expected: bool) -> None:
    # CND-05
    assert holds(source) is expected


@pytest.mark.parametrize(
    "source", ["1 in 5", "'a' in customer", "5 in 'a5'", "customer contains 'name'", "7 contains 7"]
)
def test_membership_in_anything_else_is_false_with_a_warning(source: str) -> None:
    env = environment()
    assert not holds(source, env)
    assert codes(env) == ["unlike_types"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("true", True),
        ("false", False),
        ("null", False),
        ("customer.nope", False),
        ("0", False),
        ("0.00", False),
        ("1", True),
        ("''", False),
        ("'false'", True),
        ("[]", False),
        ("[false]", True),
        ("customer", True),
        ("now", True),
        ("NOT customer.nope", True),
    ],
)
def test_a_value_alone_holds_unless_it_is_missing_false_zero_or_empty(source: str, expected: bool) -> None:
    assert holds(source) is expected


def test_and_and_or_give_true_or_false_and_no_operand() -> None:
    assert value("'a' AND 'b'") is True
    assert value("'' OR 0") is False
    assert value("1 OR customer.nope") is True


def test_and_and_or_stop_at_the_first_that_decides() -> None:
    env = environment()
    assert not holds("false AND customer.nope == 1", env)
    assert holds("true OR customer.nope == 1", env)
    assert codes(env) == []


def test_a_snapshots_status_and_a_live_one_agree() -> None:
    # VAR-25, C-14: the snapshot holds the stored name, the live record the one with synonyms
    assert holds("trigger.invoice.status == invoice.status")
    assert holds("invoice.status == trigger.invoice.status")


def test_two_statuses_are_equal_when_they_are_stored_alike() -> None:
    late, early, paid = invoice_status("open", late=True), invoice_status("open"), StatusText("paid")
    env = environment({"trigger": {"late": late, "early": early, "paid": paid}})
    assert holds("trigger.late == trigger.early", env)
    assert not holds("trigger.late == trigger.paid", env)
    assert not holds("trigger.late == 5", env)
    assert not holds("'pen' == trigger.late", env)


def test_contains_looks_at_every_name_of_a_status() -> None:
    env = environment({"trigger": {"status": invoice_status("open", late=True)}})
    assert holds("trigger.status contains 'past'", env)
    assert holds("trigger.status contains 'unp'", env)
    assert not holds("trigger.status contains 'void'", env)


class Surprise:
    """An object that betrays any contact with it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Surprise
        raise AssertionError(f"the attribute {name} was asked for")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("path", ["trigger.thing", "trigger.thing.name", "trigger.things[0]", "trigger.things | first"])
def test_an_object_that_is_no_plain_value_is_missing(path: str) -> None:
    # RELIABILITY 37
    assert value(path, environment({"trigger": {"thing": Surprise(), "things": [Surprise()]}})) is MISSING


def test_floats_are_decimals_and_what_is_no_number_is_missing() -> None:
    env = environment({"trigger": {"half": 0.1, "nan": float("nan"), "inf": float("inf"), "dnan": Decimal("NaN")}})
    assert value("trigger.half", env) == Decimal("0.1")
    assert value("trigger.half + 0.2 == 0.3", env) is True
    for name in ("nan", "inf", "dnan"):
        assert value(f"trigger.{name}", env) is MISSING


def test_warnings_are_kept_once_and_not_without_end() -> None:
    env = environment()
    for _ in range(3):
        holds("customer.nope == 1", env)
    assert len(env.warnings) == 1
    for number in range(200):
        holds(f"customer.nope{number} == 1", env)
    assert len(env.warnings) == 50
    assert env.warnings[0].as_json() == {"code": "missing_value", "message": env.warnings[0].message}
