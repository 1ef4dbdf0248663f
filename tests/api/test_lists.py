"""Paging and the cost of lists (CONTRACTS 1; DESIGN 6: page by key, never count)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.actor import system_actor
from accounts.api.pagination import read_cursor, write_cursor
from accounts.audit import record
from accounts.errors import Refusal
from accounts.models import Workspace
from accounts.services.stages import create_funnel, create_stage
from tests.factories import (
    ApiClient,
    actor_of,
    make_api_key,
    make_customer,
    make_task,
    owner_of,
    unique,
)


def _customers(workspace: Workspace) -> None:
    owner = owner_of(workspace).pk
    make_customer(workspace, tags=["a", "b"], stage="TRIAL", owner_id=owner, metadata={"k": "v"})


def _tasks(workspace: Workspace) -> None:
    make_task(workspace, customer_id=make_customer(workspace).pk, assignee=owner_of(workspace).email)


def _funnels(workspace: Workspace) -> None:
    funnel = create_funnel(actor=actor_of(workspace), name=unique("funnel"))
    create_stage(actor=actor_of(workspace), funnel=funnel, slug="ONE")


def _keys(workspace: Workspace) -> None:
    make_api_key(workspace, ["read"])


def _audit(workspace: Workspace) -> None:
    record(system_actor(workspace.pk), "test.act", "cus_1", {"a": 1}, {"a": 2})


LISTS: dict[str, tuple[str, Callable[[Workspace], None]]] = {
    "/customers": ("customers", _customers),
    "/tasks": ("tasks", _tasks),
    "/funnels": ("funnels", _funnels),
    "/stages": ("stages", _funnels),
    "/api-keys": ("apiKeys", _keys),
    "/audit": ("audit", _audit),
}


@pytest.mark.parametrize("path", LISTS)
def test_a_list_costs_the_same_with_one_row_and_with_twenty(api: ApiClient, workspace: Workspace, path: str) -> None:
    plural, make = LISTS[path]

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get(f"{path}?limit=100").status_code == 200
        return len(captured)

    make(workspace)
    one = cost()
    for _ in range(20):
        make(workspace)
    assert len(api.get(f"{path}?limit=100").json()[plural]) >= 20
    assert cost() == one
    assert one <= 6


@pytest.mark.parametrize("path", LISTS)
def test_nobody_counts(api: ApiClient, workspace: Workspace, path: str) -> None:
    # DESIGN 6
    with CaptureQueriesContext(connection) as captured:
        api.get(path)
    assert not [q["sql"] for q in captured if "count(" in q["sql"].lower()]


@pytest.mark.parametrize("path", LISTS)
def test_pages_join_without_gap_or_double(api: ApiClient, workspace: Workspace, path: str) -> None:
    plural, make = LISTS[path]
    for _ in range(7):
        make(workspace)
    whole = [row["id"] for row in api.get(f"{path}?limit=100").json()[plural]]
    seen: list[str] = []
    cursor, pages = "", 0
    while cursor is not None:
        page = api.get(f"{path}?limit=3&cursor={cursor}").json()
        assert len(page[plural]) <= 3
        seen += [row["id"] for row in page[plural]]
        cursor, pages = page["nextCursor"], pages + 1
        assert pages < 50
    assert seen == whole
    assert len(set(seen)) == len(seen)


def test_rows_that_come_while_paging_do_not_disturb(api: ApiClient, workspace: Workspace) -> None:
    for _ in range(4):
        make_customer(workspace)
    before = [row["id"] for row in api.get("/customers?limit=100").json()["customers"]]
    first = api.get("/customers?limit=2").json()
    make_customer(workspace)
    second = api.get(f"/customers?limit=2&cursor={first['nextCursor']}").json()
    assert [row["id"] for row in first["customers"] + second["customers"]] == before


def test_a_page_has_25_rows_unless_told(api: ApiClient, workspace: Workspace) -> None:
    # CONTRACTS 1
    for _ in range(26):
        make_task(workspace)
    page = api.get("/tasks").json()
    assert len(page["tasks"]) == 25
    assert page["nextCursor"] is not None
    assert api.get(f"/tasks?cursor={page['nextCursor']}").json()["nextCursor"] is None


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "9" * 30])
def test_a_limit_is_1_to_100(api: ApiClient, limit: str) -> None:
    # CONTRACTS 1
    answer = api.get(f"/customers?limit={limit}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("cursor", ["x", "MTo", "!!!", "Mjo1", "é", "MTo5OTk5OTk5OTk5OTk5OTk5OTk5OQ"])
def test_a_foreign_cursor_is_refused(api: ApiClient, cursor: str) -> None:
    answer = api.get("/customers", {"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_reads_back(key: int) -> None:
    assert read_cursor(write_cursor(key)) == key


@given(st.text(max_size=40))
def test_no_text_breaks_the_cursor_reader(text: str) -> None:
    try:
        key = read_cursor(text)
    except Refusal:
        return
    assert 0 <= key < 2**63


def test_lists_show_the_own_workspace_only(api: ApiClient, workspace: Workspace, other: Workspace) -> None:
    # DESIGN 3
    for _, make in LISTS.values():
        make(other)
    foreign = set(_ids(ApiClient(make_api_key(other)[1])))
    assert foreign
    assert not foreign & set(_ids(api))


def _ids(client: ApiClient) -> list[str]:
    found = []
    for path, (plural, _) in LISTS.items():
        found += [f"{path} {row['id']}" for row in client.get(f"{path}?limit=100").json()[plural]]
    return found
