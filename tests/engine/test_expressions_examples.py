"""The example expressions of the sources, word by word (CND-01 to 09, 18 to 28)."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest

from automations.engine.expressions import compile_expression
from automations.engine.values import invoice_status
from tests.engine.language import DATA, NAMES, codes, environment, holds


def customer(**fields: object) -> dict[str, object]:
    return {**DATA["customer"], **fields}


def invoice(**fields: object) -> dict[str, object]:
    return {**DATA["invoice"], **fields}


@pytest.mark.parametrize(
    ("amount", "segment", "expected"),
    [(2000, "enterprise", True), (900, "enterprise", False), (2000, "smb", False), (900, "smb", False)],
)
def test_a_filter_of_two_conditions_needs_both(amount: int, segment: str, expected: bool) -> None:
    # CND-01, CND-02
    env = environment(invoice=invoice(amount=Decimal(amount)), customer=customer(segment=segment))
    assert holds('invoice.amount > 1000 AND customer.segment = "enterprise"', env) is expected


@pytest.mark.parametrize(("segment", "expected"), [("enterprise", True), ("smb", False), ("Enterprise", False)])
def test_equals_compares_text_exactly(segment: str, expected: bool) -> None:
    # CND-03
    assert holds("customer.segment == 'enterprise'", environment(customer=customer(segment=segment))) is expected


@pytest.mark.parametrize(
    ("amount", "expected"), [("1000.01", True), ("1000", False), ("1000.00", False), ("999", False)]
)
def test_greater_than_excludes_the_bound_itself(amount: str, expected: bool) -> None:
    # CND-04
    assert holds("invoice.amount > 1000", environment(invoice=invoice(amount=Decimal(amount)))) is expected


@pytest.mark.parametrize(("email", "expected"), [("a@acme.test", True), ("a@x.test", False)])
def test_contains_finds_a_part_of_a_text(email: str, expected: bool) -> None:
    # CND-05
    env = environment(customer=customer(email=email))
    assert holds("customer.email contains '@acme.'", env) is expected
    assert holds("customer.email not contains '@acme.'", env) is not expected


@pytest.mark.parametrize(("tags", "expected"), [(["vip", "beta"], True), (["vi"], False), ([], False)])
def test_contains_on_a_list_is_membership(tags: list[str], expected: bool) -> None:
    # CND-05
    assert holds("customer.tags contains 'vip'", environment(customer=customer(tags=tags))) is expected


@pytest.mark.parametrize(("a", "b", "c"), list(product([False, True], repeat=3)))
def test_and_or_and_not_follow_boolean_logic(a: bool, b: bool, c: bool) -> None:
    # CND-06: all eight combinations, with and without parentheses
    env = environment({"trigger": {"a": a, "b": b, "c": c}})
    assert holds("a AND (b OR c)", env) is (a and (b or c))
    assert holds("a AND b OR c", env) is ((a and b) or c)
    assert holds("a or b and c", env) is (a or (b and c))
    assert holds("NOT a AND b", env) is ((not a) and b)
    assert holds("not (a AND b) Or Not c", env) is ((not (a and b)) or (not c))
    assert holds("a == true AND (b == true OR c == true)", env) is (a and (b or c))


@pytest.mark.parametrize(
    "template",
    ["trigger.failureCount {} 1", "customer.plan {} 'pro'", "invoice.status {} 'unpaid'", "customer.vip {} false"],
)
def test_one_and_two_equal_signs_mean_the_same(template: str) -> None:
    # CND-07
    assert holds(template.format("=")) is holds(template.format("=="))


@pytest.mark.parametrize(("count", "expected"), [(1, True), (2, False)])
def test_braces_in_an_expression_mean_the_typed_value(count: int, expected: bool) -> None:
    # CND-08
    env = environment(trigger={"failureCount": count})
    assert holds("{{trigger.failureCount}} == 1", env) is expected
    assert holds("{{ trigger.failureCount }} + 1 == 2", env) is expected


def test_braces_are_never_pasted_text() -> None:
    # C-09: a value that looks like an expression stays a value
    env = environment(trigger={"note": "1 == 1 OR true", "failureCount": 2})
    assert not holds("{{trigger.note}} == 1", env)
    assert holds("{{trigger.note}} == '1 == 1 OR true'", env)


@pytest.mark.parametrize(
    ("stored", "late", "expected"),
    [
        ("open", False, True),
        ("open", True, True),
        ("paid", False, False),
        ("void", False, False),
        ("draft", False, False),
    ],
)
def test_an_open_invoice_is_unpaid(stored: str, late: bool, expected: bool) -> None:
    # CND-09, C-14
    env = environment(invoice=invoice(status=invoice_status(stored, late)))
    assert holds("{{invoice.status}} == 'unpaid'", env) is expected


@pytest.mark.parametrize("name", ["open", "unpaid", "issued"])
@pytest.mark.parametrize("late", [False, True])
def test_every_name_of_an_open_invoice_is_accepted(name: str, late: bool) -> None:
    # C-14
    env = environment(invoice=invoice(status=invoice_status("open", late)))
    assert holds(f"invoice.status == '{name}'", env)
    assert not holds(f"invoice.status != '{name}'", env)
    assert holds(f"invoice.status in ['paid', '{name}']", env)


@pytest.mark.parametrize("name", ["overdue", "past_due"])
def test_only_a_late_open_invoice_is_overdue(name: str) -> None:
    # C-14
    late = environment(invoice=invoice(status=invoice_status("open", late=True)))
    early = environment(invoice=invoice(status=invoice_status("open")))
    assert holds(f"invoice.status == '{name}'", late)
    assert not holds(f"invoice.status == '{name}'", early)


def test_metadata_can_be_filtered_on_in_its_own_spelling() -> None:
    # CND-18
    assert holds("customer.metadata.cost_center == 'K-12'")
    assert holds("customer.metadata['cost_center'] == 'K-12'")
    assert holds("customer.metadata.demo == yes")


@pytest.mark.parametrize(("opened", "expected"), [(True, True), (False, False)])
def test_email_opened_is_a_fact_of_the_run(opened: bool, expected: bool) -> None:
    # CND-19
    assert holds("email_opened == true", environment(run={"emailOpened": opened})) is expected


@pytest.mark.parametrize(("count", "expected"), [(2, False), (3, True), (4, True)])
def test_pageview_count_is_a_fact_of_the_customer(count: int, expected: bool) -> None:
    # CND-20
    assert holds("pageview_count >= 3", environment(customer=customer(pageviewCount=count))) is expected


@pytest.mark.parametrize(("country", "expected"), [("US", True), ("CA", True), ("DE", False)])
def test_country_in_a_list(country: str, expected: bool) -> None:
    # CND-21
    env = environment(customer=customer(country=country))
    assert holds("country in ['US', 'CA']", env) is expected
    assert holds("country not in ['US', 'CA']", env) is not expected


@pytest.mark.parametrize(("plan", "expected"), [("pro", True), ("hobby", False)])
def test_profile_is_another_name_of_customer(plan: str, expected: bool) -> None:
    # CND-22
    assert holds("profile.plan == 'pro'", environment(customer=customer(plan=plan))) is expected


@pytest.mark.parametrize(("status", "expected"), [("active", True), ("trialing", False)])
def test_double_quotes_are_as_good_as_single_ones(status: str, expected: bool) -> None:
    # CND-23
    env = environment(customer=customer(subscriptionStatus=status))
    assert holds('profile.subscriptionStatus == "active"', env) is expected
    assert holds("profile.subscriptionStatus == 'active'", env) is expected


def test_the_same_expression_follows_the_data_of_the_moment() -> None:
    # CND-24: nothing of an evaluation is kept for the next one
    split = compile_expression("profile.plan == 'pro'", NAMES)
    assert not split.test(environment(customer=customer(plan="hobby")))
    assert split.test(environment(customer=customer(plan="pro")))


SOURCES = [
    "{{trigger.failureCount}} == 1",
    "{{invoice.status}} == 'unpaid'",
    'invoice.amount > 1000 AND customer.segment = "enterprise"',
    "email_opened == true",
    "pageview_count >= 3",
    "country in ['US', 'CA']",
    "profile.plan == 'pro'",
    'profile.subscriptionStatus == "active"',
    "bucket=Churned",
    "invoice.total >= 10",
    'invoice.amount > 10 AND customer.segment != "internal"',
    "event.seats > 5",
    "invoice.total < 50",
    'steps.again.result == "declined"',
    'invoice.status == "overdue"',
    "wait.outcome == 'timeout'",
    "customer.metadata.demo is not empty",
    "customer.tags not contains 'internal'",
]


@pytest.mark.parametrize("source", SOURCES)
def test_every_example_of_the_sources_is_read(source: str) -> None:
    # CND-26
    assert compile_expression(source, NAMES).test(environment()) in (True, False)


def test_a_missing_field_makes_a_comparison_false_and_is_noted() -> None:
    # CND-27
    env = environment(customer={"id": "cus_7"})
    assert not holds("profile.plan == 'pro'", env)
    assert codes(env) == ["missing_value"]
    assert "profile.plan" in env.warnings[0].message


def test_a_missing_field_makes_unequal_true() -> None:
    # CND-27
    env = environment(customer={"id": "cus_7"})
    assert holds("profile.plan != 'pro'", env)
    assert codes(env) == ["missing_value"]


def test_a_bare_word_on_the_right_is_text() -> None:
    # CND-28
    assert holds("bucket=Churned")
    assert holds('bucket == "Churned"')
    assert not holds("bucket=Retained")
    assert compile_expression("bucket=Churned", NAMES).words == {"Churned"}


def test_a_bare_word_that_the_trigger_data_has_is_that_field() -> None:
    # C-09
    env = environment(trigger={"Churned": "gone"}, customer=customer(bucket="gone"))
    assert holds("bucket=Churned", env)
