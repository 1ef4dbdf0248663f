"""Services about customers (BIL-10, BIL-12, BIL-13, TRG-11)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.actor import Actor, system_actor
from accounts.announcements import Announcement
from accounts.errors import Refusal
from accounts.models import Audit, Customer, Workspace
from accounts.services.customers import (
    CustomerChange,
    count_pageviews,
    create_customer,
    merge_facts,
    update_customer,
    update_customers,
)
from accounts.services.fields import LONGEST_KEY, LONGEST_VALUE, MOST_KEYS, Wrong, camel, clean_metadata, merge_metadata
from accounts.services.known import owners_of
from tests.factories import actor_of, make_customer, make_visitor, make_workspace, owner_of


def kinds(announced: list[Announcement]) -> list[str]:
    return [announcement.kind for announcement in announced]


def test_a_new_customer_is_announced_once(system: Actor, announced: list[Announcement]) -> None:
    # TRG-11: a customer made through the API fires at once
    customer = create_customer(actor=system, fields={"email": "ana@example.com"}, cause=12)
    (told,) = announced
    assert (told.kind, told.customer_id, told.cause) == ("customer.created", customer.pk, 12)
    assert told.data["key"] == f"cus_{customer.pk}:created"


def test_a_visitor_is_announced_when_identified(workspace: Workspace, announced: list[Announcement]) -> None:
    # TRG-11: an anonymous visitor fires nothing until it is identified
    visitor = make_visitor(workspace)
    assert announced == []
    update_customers([CustomerChange(workspace.pk, visitor.pk, {"country": "DE"})])
    assert kinds(announced) == ["customer.updated"]
    update_customers([CustomerChange(workspace.pk, visitor.pk, {"email": "a@x.test"})])
    assert kinds(announced)[1:] == ["customer.updated", "customer.identified", "customer.created"]
    update_customers([CustomerChange(workspace.pk, visitor.pk, {"external_id": "X"})])
    assert kinds(announced).count("customer.created") == 1


def test_a_change_tells_which_fields_and_why(
    workspace: Workspace, customer: Customer, announced: list[Announcement]
) -> None:
    change = CustomerChange(workspace.pk, customer.pk, {"segment": "smb", "time_zone": "UTC", "name": "Ana Ruiz"}, 9)
    (answer,) = update_customers([change])
    assert isinstance(answer, Customer)
    (told,) = announced
    assert (told.kind, told.cause) == ("customer.updated", 9)
    assert told.data == {"changed": ["segment", "timeZone"]}, "the name was the same before"


def test_a_change_that_changes_nothing_is_silent(
    workspace: Workspace, customer: Customer, announced: list[Announcement]
) -> None:
    update_customers([CustomerChange(workspace.pk, customer.pk, {"name": "Ana Ruiz", "metadata": {}})])
    assert announced == []


def test_many_changes_cost_a_fixed_number_of_statements(workspace: Workspace, other: Workspace) -> None:
    # actions hand over up to 500 requests
    def cost(number: int) -> int:
        customers = [make_customer(workspace if i % 2 else other) for i in range(number)]
        changes = [
            CustomerChange(
                c.workspace_id, c.pk, {"segment": f"s{number}", "email": f"{c.pk}@new.test", "metadata": {"a": "b"}}
            )
            for c in customers
        ]
        with CaptureQueriesContext(connection) as captured:
            answers = update_customers(changes)
        assert all(isinstance(answer, Customer) for answer in answers)
        assert Customer.objects.filter(pk__in=[c.pk for c in customers], segment=f"s{number}").count() == number
        return len(captured)

    assert cost(1) == cost(50)


def test_one_bad_change_does_not_hinder_the_others(
    workspace: Workspace, other: Workspace, customer: Customer, announced: list[Announcement]
) -> None:
    second, foreign = make_customer(workspace), make_customer(other)
    announced.clear()
    answers = update_customers(
        [
            CustomerChange(workspace.pk, customer.pk, {"segment": "fine"}),
            CustomerChange(workspace.pk, second.pk, {"email": "ana@example.com"}),
            CustomerChange(workspace.pk, foreign.pk, {"segment": "stolen"}),
            CustomerChange(workspace.pk, second.pk, {"country": "nowhere"}),
            CustomerChange(workspace.pk, second.pk, {"metadata": {"k" * 41: "x"}}),
            CustomerChange(workspace.pk, second.pk, {"facts": {}}),
            CustomerChange(workspace.pk, second.pk, {"segment": "fine too"}),
        ]
    )
    codes = [answer.code if isinstance(answer, Refusal) else "" for answer in answers]
    assert codes == ["", "customer_conflict", "not_found", "invalid", "invalid", "invalid", ""]
    assert kinds(announced) == ["customer.updated", "customer.updated"]
    foreign.refresh_from_db()
    assert foreign.segment == ""
    second.refresh_from_db()
    assert (second.segment, second.country) == ("fine too", "")


def test_two_changes_of_one_call_cannot_take_the_same_address(workspace: Workspace) -> None:
    one, two = make_customer(workspace), make_customer(workspace)
    answers = update_customers(
        [CustomerChange(workspace.pk, c.pk, {"email": "New@x.test"}) for c in (one, two)],
    )
    assert isinstance(answers[0], Customer)
    assert isinstance(answers[1], Refusal)
    assert answers[1].code == "customer_conflict"


def test_two_changes_of_one_customer_are_made_in_order(workspace: Workspace, customer: Customer) -> None:
    update_customers(
        [CustomerChange(workspace.pk, customer.pk, {"metadata": {"a": str(i), f"k{i}": "x"}}) for i in range(3)]
    )
    customer.refresh_from_db()
    assert customer.metadata == {"a": "2", "k0": "x", "k1": "x", "k2": "x"}


def test_an_owner_must_be_a_member(workspace: Workspace, other: Workspace, customer: Customer) -> None:
    # BIL-12
    mine, theirs = owner_of(workspace).pk, owner_of(other).pk
    answers = update_customers(
        [CustomerChange(workspace.pk, customer.pk, {"owner_id": person}) for person in (theirs, mine, "x", None)]
    )
    assert [a.code if isinstance(a, Refusal) else "" for a in answers] == ["unknown_reference", "", "invalid", ""]
    with pytest.raises(Refusal) as refused:
        create_customer(actor=system_actor(workspace.pk), fields={"email": "a@x.test", "owner_id": theirs})
    assert refused.value.code == "unknown_reference"


def test_a_person_needs_the_scope(workspace: Workspace, customer: Customer) -> None:
    # services check it, too
    viewer = actor_of(workspace, "viewer")
    for act in (
        lambda: create_customer(actor=viewer, fields={"email": "a@x.test"}),
        lambda: update_customer(actor=viewer, customer_id=customer.pk, fields={"name": "x"}),
    ):
        with pytest.raises(Refusal) as refused:
            act()
        assert refused.value.code == "role_missing"


def test_what_a_person_changes_is_in_the_audit_log(actor: Actor, customer: Customer) -> None:
    update_customer(actor=actor, customer_id=customer.pk, fields={"name": "Confidential"})
    row = Audit.objects.filter(action="customer.update").get()
    assert (row.object, row.user_id, row.after) == (customer.public_id, actor.user_id, {"changed": ["name"]})


def test_a_refused_change_leaves_no_trace(actor: Actor, workspace: Workspace, customer: Customer) -> None:
    make_customer(workspace, email="b@x.test")
    before = Audit.objects.count()
    with pytest.raises(Refusal):
        update_customer(actor=actor, customer_id=customer.pk, fields={"email": "B@x.test"})
    assert Audit.objects.count() == before


@pytest.mark.parametrize(
    "breach",
    [
        {"email": "ANA@EXAMPLE.COM"},
        {"external_id": "A-1"},
        {"identified_at": None},
    ],
)
def test_the_database_has_the_last_word(workspace: Workspace, breach: dict[str, Any]) -> None:
    # CONTRACTS 3: unique where set; a customer with an address is identified
    make_customer(workspace, email="ana@example.com", external_id="A-1")
    second = make_customer(workspace)
    with pytest.raises(IntegrityError), transaction.atomic():
        Customer.objects.filter(pk=second.pk).update(**breach)


def somebody_waits() -> bool:
    """Whether a statement of another connection to this database waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_stat_clear_snapshot()")  # else a transaction sees what it saw first
        cursor.execute(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["update", "create"])
def test_a_race_for_an_address_ends_in_a_refusal(how: str) -> None:
    # the unique index decides when the check before saw nothing
    workspace = make_workspace()
    second = make_customer(workspace)

    def lose() -> str:
        try:
            if how == "update":
                update_customers([CustomerChange(workspace.pk, second.pk, {"email": "Ana@example.com"})])
            else:
                create_customer(actor=system_actor(workspace.pk), fields={"email": "ana@EXAMPLE.com"})
        except Refusal as refusal:
            return refusal.code
        finally:
            connections.close_all()
        return "won"

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            make_customer(workspace, email="ana@example.com")
            losing = pool.submit(lose)
            while not somebody_waits():
                assert not losing.done(), losing.result()
        assert losing.result(timeout=30) == "customer_conflict"
    assert Customer.objects.filter(email__iexact="ana@example.com").count() == 1


MANY = """
insert into accounts_customer (workspace_id, external_id, name, email, segment, plan, country, time_zone, locale, metadata,
    facts, identified_at, created_at)
select %s, 'E' || n, '', n || '@many.test', '', '', '', '', '', '{}', '{}', now(), now() from generate_series(1, 20000) n
"""


def test_finding_by_key_uses_the_unique_indexes(workspace: Workspace) -> None:
    # however many customers there are, each half is an index look-up
    make_customer(workspace, email="ana@example.com", external_id="A-1")
    with connection.cursor() as cursor:
        cursor.execute(MANY, [workspace.pk])
        cursor.execute("analyze accounts_customer")
    with CaptureQueriesContext(connection) as captured:
        found = owners_of([workspace.pk], [("email", "ana@example.com"), ("external_id", "A-1")])
    assert len(found) == 2
    (query,) = captured
    with connection.cursor() as cursor:
        cursor.execute("explain " + query["sql"])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "customer_email_unique" in plan
    assert "customer_external_id_unique" in plan


def test_facts_are_merged_by_key(workspace: Workspace, other: Workspace, customer: Customer) -> None:
    # BIL-13
    merge_facts(
        workspace_id=workspace.pk, facts={customer.pk: {"subscriptionStatus": "active", "latestEmail": {"a": None}}}
    )
    merge_facts(workspace_id=workspace.pk, facts={customer.pk: {"subscriptionStatus": None, "plan": "x"}})
    merge_facts(workspace_id=other.pk, facts={customer.pk: {"plan": "stolen"}})
    merge_facts(workspace_id=workspace.pk, facts={})
    customer.refresh_from_db()
    assert customer.facts == {"latestEmail": {"a": None}, "plan": "x"}


def test_page_views_are_counted(workspace: Workspace, other: Workspace, customer: Customer) -> None:
    # BIL-13
    count_pageviews(workspace_id=workspace.pk, views={customer.pk: 2})
    count_pageviews(workspace_id=workspace.pk, views={customer.pk: 3})
    count_pageviews(workspace_id=other.pk, views={customer.pk: 100})
    count_pageviews(workspace_id=workspace.pk, views={})
    customer.refresh_from_db()
    assert customer.facts["pageviewCount"] == 5


PAIRS = st.dictionaries(
    st.text("abc[]", min_size=0, max_size=LONGEST_KEY + 2),
    st.none() | st.booleans() | st.integers() | st.text("xy", max_size=LONGEST_VALUE + 2),
    max_size=8,
)


@given(PAIRS)
def test_metadata_is_clean_or_refused(pairs: dict[str, Any]) -> None:
    # BIL-10
    bad = any(not 0 < len(key) <= LONGEST_KEY or set(key) & set("[]") for key in pairs) or any(
        isinstance(value, str) and len(value) > LONGEST_VALUE for value in pairs.values()
    )
    if bad:
        with pytest.raises(Wrong):
            clean_metadata(pairs)
    else:
        clean = clean_metadata(pairs)
        assert clean.keys() == pairs.keys()
        assert all(value is None or isinstance(value, str) for value in clean.values())


KEYS = st.integers(0, 60).map(lambda number: f"k{number}")


@given(st.dictionaries(KEYS, st.text(max_size=3), max_size=50), st.dictionaries(KEYS, st.none() | st.text(max_size=3)))
def test_merged_metadata_keeps_the_limit(old: dict[str, str], new: dict[str, str | None]) -> None:
    # BIL-10
    wanted = {**old, **new}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    if len(wanted) > MOST_KEYS:
        with pytest.raises(Wrong):
            merge_metadata(old, new)
    else:
        assert merge_metadata(old, new) == wanted


@pytest.mark.parametrize(
    ("name", "written"), [("email", "email"), ("time_zone", "timeZone"), ("current_period_end", "currentPeriodEnd")]
)
def test_names_are_written_in_camel_case(name: str, written: str) -> None:
    assert camel(name) == written
