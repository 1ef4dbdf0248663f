"""The makers of the tests make what they say: valid, separate, through the services."""

from __future__ import annotations

import pytest

from accounts.models import Customer, Membership, StageEntry, Task, Workspace
from accounts.permissions import ROLES, SCOPES
from tests import factories
from tests.factories import (
    ApiClient,
    actor_of,
    make_api_client,
    make_api_key,
    make_browser,
    make_customer,
    make_member,
    make_stage_entry,
    make_task,
    make_user,
    make_visitor,
    make_workspace,
    owner_of,
    unique,
)


def test_names_are_never_given_twice() -> None:
    names = [unique("x") for _ in range(100)]
    assert len(set(names)) == 100
    assert all(name.startswith("x-") for name in names)


def test_workspaces_are_separate_and_complete(db: None) -> None:
    one, two = make_workspace(), make_workspace(name="Northwind", slug="northwind", time_zone="Europe/Berlin")
    assert one.slug != two.slug
    assert (two.name, two.slug, two.time_zone) == ("Northwind", "northwind", "Europe/Berlin")
    assert owner_of(one) != owner_of(two)
    assert one.plan == "PRO"


def test_a_person_can_sign_in(db: None) -> None:
    person = make_user("ana@onward.example", name="Ana")
    assert person.check_password("secret-ana@onward.example")
    assert (person.name, person.is_superuser) == ("Ana", False)


@pytest.mark.parametrize("role", list(ROLES))
def test_members_and_actors_have_their_role(workspace: Workspace, role: str) -> None:
    member = make_member(workspace, role)
    assert Membership.objects.get(workspace=workspace, user=member).role == role
    assert actor_of(workspace, role).scopes == ROLES[role]


def test_customers_are_made_with_what_they_need(workspace: Workspace) -> None:
    customer = make_customer(workspace, tags=["vip"], stage="CUSTOMER", bucket="Churned", segment="smb")
    assert customer.identified_at is not None
    assert (customer.segment, customer.facts["stage"], customer.facts["bucket"]) == ("smb", "CUSTOMER", "Churned")
    assert customer.customer_tags.count() == 1
    visitor = make_visitor(workspace)
    assert (visitor.identified_at, visitor.email) == (None, "")
    assert make_stage_entry(visitor, "TRIAL") == StageEntry.objects.get(customer=visitor)
    assert Customer.objects.filter(workspace=workspace).count() == 2


def test_tasks_are_open(workspace: Workspace) -> None:
    assert make_task(workspace, run_id=7) == Task.objects.get(workspace=workspace, state="open", run_id=7)


def test_keys_have_all_scopes_unless_told(workspace: Workspace) -> None:
    assert make_api_key(workspace)[0].scopes == list(SCOPES)
    assert make_api_key(workspace, ["read"])[0].scopes == ["read"]


@pytest.mark.parametrize("path", ["/workspace", "/api/v1/workspace"])
def test_clients_reach_the_api_with_and_without_prefix(workspace: Workspace, path: str) -> None:
    for client in (make_api_client(workspace), make_browser(workspace), make_browser(workspace, "viewer")):
        assert client.get(path).json()["slug"] == workspace.slug


def test_a_client_speaks_json_in_every_method(workspace: Workspace) -> None:
    client = make_api_client(workspace)
    made = client.post("/customers", {"email": "a@x.test"}).json()
    path = f"/customers/{made['id']}"
    assert client.patch(path, {"name": "A"}).json()["name"] == "A"
    assert client.put(f"{path}/stage", {"stage": "TRIAL"}).json()["changed"] is True
    assert client.delete(path).json()["name"] == "Erased customer"
    assert ApiClient().get("/workspace").status_code == 401
    assert ApiClient().get("/admin/").status_code == 302, "other addresses stay as they are"


def test_everything_is_documented() -> None:
    import inspect

    for name, function in inspect.getmembers(factories, inspect.isfunction):
        if function.__module__ == factories.__name__:
            assert function.__doc__, name
