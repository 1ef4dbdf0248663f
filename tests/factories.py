"""Small, valid-by-default makers on top of the services, for all tests.

    workspace = make_workspace()
    customer = make_customer(workspace, email="ana@example.com")
    client = make_api_client(workspace, scopes=["read", "customers"])
    client.get("/api/v1/customers").json()

Each call makes a fresh object with its own names, so tests never collide.
"""

from __future__ import annotations

import itertools
from typing import Any

from django.test import Client

from accounts.actor import Actor, system_actor
from accounts.models import ApiKey, Customer, Membership, StageEntry, Task, User, Workspace
from accounts.permissions import SCOPES, scopes_of
from accounts.services.customers import create_customer
from accounts.services.keys import create_api_key
from accounts.services.stages import enter_stage
from accounts.services.tags import TagRequest, add_tags
from accounts.services.tasks import NewTask, create_tasks
from accounts.services.workspaces import create_workspace

JSON = "application/json"
OUTSIDE = ("/api/", "/admin", "/healthz", "/readyz", "/metrics", "/webhooks", "/hooks", "/u/")  # not under /api/v1

_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name not used before in this process."""
    return f"{prefix}-{next(_numbers)}"


def make_user(email: str | None = None, **fields: Any) -> User:
    """A person who can sign in with the password `secret-{email}`."""
    email = email or f"{unique('person')}@onward.example"
    return User.objects.create_user(email, f"secret-{email}", **fields)


def make_workspace(**fields: Any) -> Workspace:
    """A workspace with an owner, the default funnel and plan PRO."""
    name = fields.pop("name", None) or unique("workspace")
    owner = fields.pop("owner", None) or make_user()
    return create_workspace(name=name, owner=owner, **fields)


def owner_of(workspace: Workspace) -> User:
    """The person that `make_workspace` made its owner."""
    return Membership.objects.select_related("user").filter(workspace=workspace, role="owner").earliest("id").user


def make_member(workspace: Workspace, role: str = "operator", **fields: Any) -> User:
    """A person with a role in the workspace."""
    user = make_user(**fields)
    Membership.objects.create(workspace=workspace, user=user, role=role)
    return user


def actor_of(workspace: Workspace, role: str = "owner") -> Actor:
    """An actor with what a role may do; not a row. `make_member` gives one that is."""
    return Actor(workspace.pk, scopes_of(role), user_id=owner_of(workspace).pk, label=f"{role}@test")


def make_customer(workspace: Workspace, **fields: Any) -> Customer:
    """An identified customer. `tags`, `stage` and `bucket` are set through their services."""
    tags, stage, bucket = fields.pop("tags", ()), fields.pop("stage", None), fields.pop("bucket", "")
    cause = fields.pop("cause", None)
    fields.setdefault("email", f"{unique('customer')}@example.com")
    fields.setdefault("name", "Ana Ruiz")
    customer = create_customer(actor=system_actor(workspace.pk), fields=fields, cause=cause)
    add_tags([TagRequest(workspace.pk, customer.pk, tag) for tag in tags])
    if stage is not None:
        make_stage_entry(customer, stage, bucket)
        customer.refresh_from_db()
    return customer


def make_visitor(workspace: Workspace) -> Customer:
    """An anonymous visitor (C-31)."""
    return create_customer(actor=system_actor(workspace.pk), fields={}, anonymous=True)


def make_stage_entry(customer: Customer, stage: str = "TRIAL", bucket: str = "") -> StageEntry:
    """Moves the customer to a stage."""
    actor = system_actor(customer.workspace_id)
    return enter_stage(actor=actor, customer_id=customer.pk, stage=stage, bucket=bucket)[0]


def make_task(workspace: Workspace, message: str = "Call them", **fields: Any) -> Task:
    """An open task."""
    task = create_tasks([NewTask(workspace.pk, message=message, **fields)])[0]
    assert isinstance(task, Task), task
    return task


def make_api_key(workspace: Workspace, scopes: list[str] | None = None, **fields: Any) -> tuple[ApiKey, str]:
    """A key and its full text; with all scopes unless told otherwise."""
    wanted = list(SCOPES) if scopes is None else scopes
    return create_api_key(actor=actor_of(workspace), name=unique("key"), scopes=wanted, **fields)


class ApiClient(Client):
    """Django's test client that speaks JSON and sends a key. `get`, `post`, `put`, `patch`, `delete` take `data` as
    JSON and `headers`; the path may leave out `/api/v1`."""

    def __init__(self, key: str | None = None, **defaults: Any) -> None:
        headers = {"HTTP_AUTHORIZATION": f"Bearer {key}"} if key else {}
        super().__init__(**(headers | defaults))

    def generic(self, method: str, path: str, data: Any = "", content_type: str = JSON, **extra: Any) -> Any:  # type: ignore[override]  # narrower on purpose
        if not path.startswith(OUTSIDE):
            path = "/api/v1" + path
        return super().generic(method, path, data, content_type, **extra)

    def post(self, path: str, data: Any = None, content_type: str = JSON, **extra: Any) -> Any:  # type: ignore[override]  # narrower on purpose
        return super().post(path, {} if data is None else data, content_type=content_type, **extra)

    def put(self, path: str, data: Any = None, content_type: str = JSON, **extra: Any) -> Any:  # type: ignore[override]  # narrower on purpose
        return super().put(path, {} if data is None else data, content_type=content_type, **extra)

    def patch(self, path: str, data: Any = None, content_type: str = JSON, **extra: Any) -> Any:  # type: ignore[override]  # narrower on purpose
        return super().patch(path, {} if data is None else data, content_type=content_type, **extra)

    def delete(self, path: str, data: Any = "", content_type: str = JSON, **extra: Any) -> Any:  # type: ignore[override]  # narrower on purpose
        return super().delete(path, data, content_type=content_type, **extra)


def make_api_client(workspace: Workspace, scopes: list[str] | None = None, **fields: Any) -> ApiClient:
    """A client with a fresh key of the workspace."""
    return ApiClient(make_api_key(workspace, scopes, **fields)[1])


def make_browser(workspace: Workspace, role: str = "owner") -> ApiClient:
    """A signed-in browser of a member with that role, with its CSRF check off as in all test clients."""
    user = owner_of(workspace) if role == "owner" else make_member(workspace, role)
    client = ApiClient(HTTP_ONWARD_WORKSPACE=workspace.slug)
    client.force_login(user)
    return client
