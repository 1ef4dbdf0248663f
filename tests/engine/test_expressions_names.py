"""Names: roots, aliases, bare names, both spellings, and what an expression says it reads (C-09, C-10, VAR-23, VAR-24)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from automations.engine.expressions import MISSING, Names, compile_expression, compile_template
from automations.engine.expressions.paths import camel, fold, snake
from tests.engine.language import DATA, NAMES, NOW, environment, holds, value


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("invoice.dueDate", "invoice.due_date"),
        ("invoice.attemptCount", "invoice.attempt_count"),
        ("invoice.isOverdue", "invoice.is_overdue"),
        ("customer.createdAt", "customer.created_at"),
        ("customer.subscriptionStatus", "profile.subscription_status"),
        ("customer.pageviewCount", "pageview_count"),
        ("pageviewCount", "pageview_count"),
        ("trigger.failureCount", "trigger.failure_count"),
        ("trigger.failureReason", "trigger.failure_reason"),
        ("trigger.accountOwner", "account_owner"),
        ("emailOpened", "email_opened"),
        ("steps.send_email.delivery", "steps.sendEmail.delivery"),
    ],
)
def test_camel_case_and_snake_case_name_the_same_value(written: str, other: str) -> None:
    # VAR-24
    assert value(written) == value(other)
    assert value(written) is not MISSING


@pytest.mark.parametrize("key", ["dueDate", "due_date", "DueDate", "duedate"])
@pytest.mark.parametrize("written", ["dueDate", "due_date"])
def test_the_data_may_have_either_spelling_too(key: str, written: str) -> None:
    # C-10
    assert value(f"trigger.{written}", environment(trigger={key: "x"})) == "x"


def test_the_written_spelling_wins_where_both_are_there() -> None:
    env = environment(trigger={"due_date": 1, "dueDate": 2})
    assert value("trigger.due_date", env) == 1
    assert value("trigger.dueDate", env) == 2


def test_an_alias_is_the_path_it_stands_for() -> None:
    # VAR-23
    assert value("country") == "US"
    assert value("profile.metadata.demo") == "yes"
    assert compile_expression("country", NAMES).paths == {("customer", "country")}
    assert compile_expression("profile.plan", NAMES).paths == {("customer", "plan")}


def test_a_bare_name_is_a_field_of_the_triggers_data() -> None:
    # C-09
    assert value("failureCount") == 1
    assert compile_expression("failureCount", NAMES).paths == {("trigger", "failureCount")}
    assert value("seats > 5") is True


def test_a_bare_fact_that_is_unknown_is_looked_for_in_the_triggers_data() -> None:
    # C-09: run facts, customer facts, then trigger data
    env = environment(customer={"id": "cus_7"}, trigger={"bucket": "Upgraded"})
    assert value("bucket", env) == "Upgraded"
    assert holds("bucket=Upgraded", env)


def test_a_bare_fact_that_is_known_hides_the_triggers_data() -> None:
    env = environment(trigger={"bucket": "Upgraded"})
    assert value("bucket", env) == "Churned"


def test_another_name_of_a_root_is_never_looked_for_in_the_triggers_data() -> None:
    env = environment(trigger={"profile": {"nope": 1}})
    assert value("profile.nope", env) is MISSING


def test_a_root_hides_an_alias_and_the_triggers_data() -> None:
    names = Names(frozenset({"country"}), (("country", ("customer", "country")),))
    env = environment(country="root")
    assert value("country", env, names) == "root"


def test_roots_are_found_in_any_spelling() -> None:
    names = Names(frozenset({"lateInvoice"}))
    assert value("late_invoice.id", environment(lateInvoice={"id": 3}), names) == 3
    assert compile_expression("late_invoice.id", names).paths == {("lateInvoice", "id")}


def test_trigger_and_now_are_always_roots() -> None:
    assert value("now", names=Names()) == NOW
    assert value("trigger.amount", names=Names()) == "129.00"


def test_an_unknown_name_on_the_left_is_missing() -> None:
    assert value("nope") is MISSING
    assert value("nope.deeper.still") is MISSING
    assert value("customer.name.deeper") is MISSING
    assert value("invoice.lines[7]") is MISSING
    assert value("invoice.lines.description") is MISSING
    assert value("customer[0]") is MISSING


def test_words_on_the_right_are_listed_and_are_no_paths() -> None:
    found = compile_expression("bucket in [Churned, Retained] AND customer.tags contains vip", NAMES)
    assert found.words == {"Churned", "Retained", "vip"}
    assert found.paths == {("customer", "bucket"), ("customer", "tags")}


def test_a_path_on_the_right_stays_a_path() -> None:
    found = compile_expression("trigger.amount == invoice.total", NAMES)
    assert found.words == frozenset()
    assert found.paths == {("trigger", "amount"), ("invoice", "total")}
    assert value("customer.name == foo.bar") is False


def test_a_known_name_on_the_right_is_its_value() -> None:
    assert holds("trigger.status == failed")
    assert holds("'US' == country")
    assert not holds("customer.plan == country")


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("invoice.due_date > now", {("invoice", "dueDate"), ("now",)}),
        ("invoice.lines[0].amount", {("invoice", "lines", "0", "amount")}),
        ("customer.metadata['cost center']", {("customer", "metadata", "cost center")}),
        ("customer.metadata['cost_center']", {("customer", "metadata", "costCenter")}),
        ("steps.send_email.delivery_id", {("steps", "send_email", "deliveryId")}),
        ("a.b AND c.d OR NOT e.f", {("trigger", "a", "b"), ("trigger", "c", "d"), ("trigger", "e", "f")}),
        ("customer.name | default('x')", {("customer", "name")}),
        ("customer.name is empty", {("customer", "name")}),
        ("[customer.name, invoice.id]", {("customer", "name"), ("invoice", "id")}),
        ("1 + 2", set()),
    ],
)
def test_an_expression_lists_the_paths_it_reads(source: str, paths: set[tuple[str, ...]]) -> None:
    found = compile_expression(source, NAMES)
    assert found.paths == paths
    assert found.roots == {path[0] for path in paths}


def test_a_template_lists_the_paths_of_all_its_branches() -> None:
    source = "{% if vip %}{{customer.name}}{% else %}{% for l in invoice.lines %}{{l.amount}}{{loop.index}}{% endfor %}{% endif %}"
    found = compile_template(source, NAMES)
    assert found.paths == {("trigger", "vip"), ("customer", "name"), ("invoice", "lines")}
    assert found.roots == {"trigger", "customer", "invoice"}


@pytest.mark.parametrize(
    ("source", "besides"),
    [
        ("invoice.total | money", {("invoice", "currency")}),
        (
            "invoice.lines[0].amount | money",
            {("invoice", "lines", "0", "currency"), ("invoice", "lines", "currency"), ("invoice", "currency")},
        ),
        ("invoice.total | money('EUR')", set()),
        ("invoice.total | number", set()),
        ("bucket == 'x'", {("trigger", "bucket")}),
        ("profile.plan == 'x'", set()),
        ("customer.plan == some_word", {("trigger", "someWord")}),
    ],
)
def test_what_is_looked_at_besides_the_paths_is_listed_too(source: str, besides: set[tuple[str, ...]]) -> None:
    found = compile_expression(source, NAMES)
    assert found.reads == found.paths | besides


def test_the_currency_of_a_loops_amounts_is_listed() -> None:
    found = compile_template("{% for l in invoice.lines %}{{l.amount | money}}{% endfor %}", NAMES, "html")
    assert found.reads == {("invoice", "lines"), ("invoice", "lines", "currency"), ("invoice", "currency")}
    assert found.paths == {("invoice", "lines")}


def test_superscript_digits_are_names_and_no_places() -> None:
    assert value("trigger.x² | money", environment(trigger={"x²": 5, "currency": "EUR"})) == "€5.00"
    assert value("trigger.² | money", environment(trigger={"²": 5, "currency": "EUR"})) == "€5.00"


class Recording(Mapping[str, Any]):
    """Data that remembers which roots were read."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return DATA[name]

    def __iter__(self) -> Iterator[str]:
        return iter(DATA)

    def __len__(self) -> int:
        return len(DATA)


@pytest.mark.parametrize(
    "source",
    [
        "invoice.total > 10 AND customer.plan == 'pro'",
        "country",
        "bucket=Churned",
        "nope",
        "now",
        "invoice.total | money",
        "1",
    ],
)
def test_only_the_listed_roots_are_read(source: str) -> None:
    # INVARIANTS P4
    from automations.engine.expressions import Environment

    data = Recording()
    found = compile_expression(source, NAMES)
    found.value(Environment(data, NOW))
    assert data.read <= found.roots | {"trigger"}


@pytest.mark.parametrize(
    ("camelled", "snaked"),
    [
        ("dueDate", "due_date"),
        ("failureCount", "failure_count"),
        ("id", "id"),
        ("a1B", "a1_b"),
        ("lastEmailAt", "last_email_at"),
    ],
)
def test_spellings_are_turned_into_each_other(camelled: str, snaked: str) -> None:
    assert camel(snaked) == camelled
    assert snake(camelled) == snaked
    assert fold(camelled) == fold(snaked)


def test_names_that_begin_with_an_underscore_are_left_alone() -> None:
    assert camel("__class__") == "__class__"
