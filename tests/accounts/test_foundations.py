"""Ids, refusals, actors, announcements and the audit log."""

from __future__ import annotations

from itertools import pairwise

import pytest
from django.db import ProgrammingError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from accounts import announcements, audit
from accounts.actor import Actor, system_actor
from accounts.announcements import KINDS, Announcement, announce, announce_many, ignore, listen
from accounts.errors import STATUS, Refusal, invalid, not_found
from accounts.ids import PREFIXES, optional_id, parse_id, public_id, read_id
from accounts.models import Audit, Tag, Workspace
from accounts.permissions import ALL_SCOPES, ROLES, SCOPES, excess, roles_with, scopes_of
from tests.factories import actor_of


@given(st.sampled_from(sorted(PREFIXES)), st.integers(1, 2**63 - 1))
def test_an_id_reads_back(prefix: str, number: int) -> None:
    # CONTRACTS 1
    assert parse_id(prefix, public_id(prefix, number)) == number


@given(st.text(max_size=30))
def test_no_text_breaks_the_id_reader(text: str) -> None:
    number = read_id("cus", text)
    assert number is None or text == f"cus_{number}"


@pytest.mark.parametrize(
    "text", ["", "7", "cus_", "cus_0", "cus_07", "cus_x", "inv_7", "cus_7 ", "cus_٣", f"cus_{2**63}"]
)
def test_what_is_no_id_is_not_found(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_id("cus", text)
    assert (refused.value.code, refused.value.status) == ("not_found", 404)


def test_nothing_has_no_id() -> None:
    assert optional_id("cus", None) is None
    assert optional_id("cus", 7) == "cus_7"


CONTRACT = {
    400: "malformed too_deep duplicate_key alias_refused",
    401: "unauthenticated key_expired key_revoked",
    403: "scope_missing role_missing plan_limit",
    404: "not_found",
    409: "idempotency_conflict idempotency_in_progress event_conflict customer_conflict draft_conflict wrong_state "
    "choice_required has_runs trigger_not_manual not_entered version_inactive",
    413: "too_large",
    415: "media_type",
    422: "invalid invalid_definition unknown_key unknown_event unknown_reference limit_exceeded",
    429: "rate_limited",
    503: "unavailable",
}


@pytest.mark.parametrize(("status", "codes"), CONTRACT.items())
def test_every_code_of_the_contract_has_its_status(status: int, codes: str) -> None:
    # CONTRACTS 1
    for code in codes.split():
        assert Refusal(code, "m").status == STATUS[code] == status


def test_a_code_that_nobody_declared_cannot_be_raised() -> None:
    with pytest.raises(ValueError, match="no_such_code"):
        Refusal("no_such_code", "m")


def test_a_refusal_shows_code_message_and_details() -> None:
    # CONTRACTS 1
    refusal = Refusal("has_runs", "It has runs.", {"runs": 2})
    assert refusal.as_dict() == {"code": "has_runs", "message": "It has runs.", "details": {"runs": 2}}
    assert str(refusal) == "It has runs."
    assert invalid("limit", "is wrong").details == {"fields": {"limit": ["is wrong"]}}
    assert not_found("customer", "cus_7").code == "not_found"


def test_an_actor_without_the_scope_is_told_what_to_ask_for() -> None:
    # CONTRACTS 8
    viewer = Actor(1, scopes_of("viewer"), user_id=3, label="v")
    viewer.require("read")
    with pytest.raises(Refusal) as refused:
        viewer.require("publish")
    assert refused.value.code == "role_missing"
    assert refused.value.details == {"scope": "publish", "roles": ["publisher", "owner"]}
    with pytest.raises(Refusal) as refused:
        Actor(1, frozenset({"read"}), key_id=4).require("edit")
    assert refused.value.code == "scope_missing"


def test_the_system_may_do_all() -> None:
    actor = system_actor(7, run_id=456)
    assert (actor.workspace_id, actor.scopes, actor.run_id, actor.label) == (7, ALL_SCOPES, 456, "exec_456")
    assert system_actor(7).label == "system"


def test_roles_grow() -> None:
    # CONTRACTS 8: each row of the table has all of the one above
    sets = list(ROLES.values())
    assert all(lower < higher for lower, higher in pairwise(sets))
    assert set().union(*sets) == set(SCOPES)
    assert scopes_of("stranger") == frozenset()
    assert roles_with("edit") == ["editor", "publisher", "owner"]


@given(st.sets(st.sampled_from(SCOPES)), st.sets(st.sampled_from(SCOPES)))
def test_excess_is_what_the_maker_lacks(wanted: set[str], own: set[str]) -> None:
    assert set(excess(wanted, frozenset(own))) == wanted - own


def test_listeners_hear_lists_in_order(db: None, announced: list[Announcement]) -> None:
    # CONTRACTS 6
    told = [Announcement("tag.added", 1, i, {"tag": "x"}) for i in range(3)]
    announce_many(told)
    announce(Announcement("task.done", 1))
    assert announced == [*told, Announcement("task.done", 1)]
    announce_many([])
    assert len(announced) == 4


def test_a_listener_is_added_once(db: None) -> None:
    heard: list[int] = []

    def hear(told: list[Announcement]) -> None:
        heard.append(len(told))

    listen(hear)
    listen(hear)
    announce(Announcement("task.done", 1))
    ignore(hear)
    ignore(hear)
    announce(Announcement("task.done", 1))
    assert heard == [1]


def test_a_listener_that_raises_fails_the_change(workspace: Workspace) -> None:
    # CONTRACTS 6
    def fail(told: list[Announcement]) -> None:
        raise RuntimeError("no")

    def change() -> None:
        with transaction.atomic():
            Tag.objects.create(workspace=workspace, slug="x")
            announce(Announcement("tag.added", workspace.pk))

    listen(fail)
    try:
        with pytest.raises(RuntimeError):
            change()
    finally:
        ignore(fail)
    assert not Tag.objects.exists()


def test_an_unknown_kind_is_a_programming_error(db: None) -> None:
    with pytest.raises(ValueError, match=r"no\.such"):
        announce(Announcement("no.such", 1))


@pytest.mark.django_db(transaction=True)
def test_announcing_outside_a_transaction_is_a_programming_error() -> None:
    # a listener's rows could stay although the change is rolled back
    with pytest.raises(RuntimeError, match="inside the transaction"):
        announce(Announcement("task.done", 1))


def test_the_kinds_are_those_of_the_contract() -> None:
    # CONTRACTS 6
    text = (
        "workspace.created workspace.updated customer.created customer.updated customer.identified customer.merged "
        "customer.erased stage.entered tag.added tag.removed consent.changed task.done"
    )
    assert set(text.split()) == KINDS
    assert announcements.KINDS is KINDS


def test_an_audit_row_names_actor_and_object(workspace: Workspace, actor: Actor) -> None:
    # CONTRACTS 3
    audit.record(actor, "thing.change", "cus_7", {"a": 1}, {"a": 2})
    audit.record_many(system_actor(workspace.pk, 456), "thing.cancel", ["exec_1", "exec_2"], {"reason": "x"})
    first, second, third = Audit.objects.filter(action__startswith="thing").order_by("id")
    assert (first.actor, first.user_id, first.before, first.after) == (actor.label, actor.user_id, {"a": 1}, {"a": 2})
    assert [(row.object, row.run_id) for row in (second, third)] == [("exec_1", 456), ("exec_2", 456)]


@pytest.mark.parametrize("statement", ["update accounts_audit set actor = 'nobody'", "delete from accounts_audit"])
def test_the_audit_log_cannot_be_rewritten(workspace: Workspace, statement: str) -> None:
    # CONTRACTS 3, INVARIANTS X4
    audit.record(actor_of(workspace), "thing.change", "cus_7")
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Audit.objects.filter(action="thing.change").exists()
