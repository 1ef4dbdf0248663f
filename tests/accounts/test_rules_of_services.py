"""What every changing service of accounts keeps: the scope, the workspace, the audit row, the announcement, and nothing half done.

One table describes the services; each rule is proven on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.actor import Actor
from accounts.announcements import Announcement, ignore, listen
from accounts.errors import Refusal
from accounts.models import Audit, Workspace
from accounts.permissions import ROLES
from accounts.services.consent import record_consent
from accounts.services.customers import create_customer, update_customer
from accounts.services.erasure import erase_customer, export_customer
from accounts.services.keys import create_api_key, revoke_api_key
from accounts.services.lifecycle import identify_customer, merge_customers
from accounts.services.stages import create_funnel, create_stage, enter_stage, find_stage, rename_funnel, update_stage
from accounts.services.tags import add_tag, remove_tag
from accounts.services.tasks import NewTask, create_task, finish_task, reopen_task, update_task
from accounts.services.workspaces import add_member, change_role, remove_member, update_workspace
from tests.factories import (
    actor_of,
    make_api_key,
    make_customer,
    make_member,
    make_task,
    make_visitor,
    unique,
)


@dataclass(frozen=True)
class Service:
    """`prepare` makes what the call is about in a workspace; `call` is the service; the rest is what it must leave behind."""

    prepare: Callable[[Workspace], Any]
    call: Callable[[Actor, Any], Any]
    scope: str = "customers"
    action: str = ""  # of its audit row, "" writes none
    announces: tuple[str, ...] = ()
    foreign: bool = True  # its object can be named from another workspace


def done_task(workspace: Workspace) -> int:
    task = make_task(workspace)
    finish_task(actor=actor_of(workspace), task_id=task.pk)
    return task.pk


def tagged(workspace: Workspace) -> int:
    return make_customer(workspace, tags=["vip"]).pk


def customer_id(workspace: Workspace) -> int:
    return make_customer(workspace).pk


def trial(workspace: Workspace) -> Any:
    return find_stage(workspace.pk, "TRIAL")


SERVICES: dict[str, Service] = {
    "create_customer": Service(
        lambda w: f"{unique('new')}@x.test",
        lambda a, email: create_customer(actor=a, fields={"email": email}),
        action="customer.create",
        announces=("customer.created",),
        foreign=False,
    ),
    "update_customer": Service(
        customer_id,
        lambda a, n: update_customer(actor=a, customer_id=n, fields={"segment": "smb"}),
        action="customer.update",
        announces=("customer.updated",),
    ),
    "identify_customer": Service(
        lambda w: make_visitor(w).pk,
        lambda a, n: identify_customer(actor=a, customer_id=n, fields={"external_id": unique("E")}),
        action="customer.identify",
        announces=("customer.updated", "customer.identified", "customer.created"),
    ),
    "merge_customers": Service(
        lambda w: (customer_id(w), customer_id(w)),
        lambda a, pair: merge_customers(actor=a, source_id=pair[0], into_id=pair[1]),
        action="customer.merge",
        announces=("customer.merged",),
    ),
    "erase_customer": Service(
        customer_id,
        lambda a, n: erase_customer(actor=a, customer_id=n),
        action="customer.erase",
        announces=("customer.erased",),
    ),
    "export_customer": Service(
        customer_id, lambda a, n: export_customer(actor=a, customer_id=n), action="customer.export"
    ),
    "add_tag": Service(
        customer_id,
        lambda a, n: add_tag(actor=a, customer_id=n, tag="vip"),
        action="customer.tag",
        announces=("tag.added",),
    ),
    "remove_tag": Service(
        tagged,
        lambda a, n: remove_tag(actor=a, customer_id=n, tag="vip"),
        action="customer.untag",
        announces=("tag.removed",),
    ),
    "enter_stage": Service(
        customer_id,
        lambda a, n: enter_stage(actor=a, customer_id=n, stage="TRIAL"),
        action="customer.stage",
        announces=("stage.entered",),
    ),
    "create_funnel": Service(
        lambda w: unique("funnel"),
        lambda a, name: create_funnel(actor=a, name=name),
        scope="edit",
        action="funnel.create",
        foreign=False,
    ),
    "rename_funnel": Service(
        lambda w: trial(w).funnel,
        lambda a, funnel: rename_funnel(actor=a, funnel=funnel, name=unique("name")),
        scope="edit",
        action="funnel.update",
    ),
    "create_stage": Service(
        lambda w: trial(w).funnel,
        lambda a, funnel: create_stage(actor=a, funnel=funnel, slug=unique("S")),
        scope="edit",
        action="stage.create",
    ),
    "update_stage": Service(
        trial,
        lambda a, stage: update_stage(actor=a, stage=stage, changes={"name": unique("name")}),
        scope="edit",
        action="stage.update",
    ),
    "create_task": Service(
        lambda w: None,
        lambda a, _: create_task(actor=a, request=NewTask(a.workspace_id, message="Call")),
        scope="operate",
        action="task.create",
        foreign=False,
    ),
    "update_task": Service(
        lambda w: make_task(w).pk,
        lambda a, n: update_task(actor=a, task_id=n, changes={"title": "New"}),
        scope="operate",
        action="task.update",
    ),
    "finish_task": Service(
        lambda w: make_task(w).pk,
        lambda a, n: finish_task(actor=a, task_id=n),
        scope="operate",
        action="task.done",
        announces=("task.done",),
    ),
    "reopen_task": Service(
        done_task, lambda a, n: reopen_task(actor=a, task_id=n), scope="operate", action="task.reopen"
    ),
    "update_workspace": Service(
        lambda w: None,
        lambda a, _: update_workspace(actor=a, changes={"name": unique("name")}),
        scope="admin",
        action="workspace.update",
        announces=("workspace.updated",),
        foreign=False,
    ),
    "add_member": Service(
        lambda w: f"{unique('member')}@onward.example",
        lambda a, email: add_member(actor=a, email=email, role="viewer"),
        scope="admin",
        action="member.add",
        foreign=False,
    ),
    "change_role": Service(
        lambda w: make_member(w, "viewer").pk,
        lambda a, n: change_role(actor=a, user_id=n, role="editor"),
        scope="admin",
        action="member.role",
    ),
    "remove_member": Service(
        lambda w: make_member(w, "viewer").pk,
        lambda a, n: remove_member(actor=a, user_id=n),
        scope="admin",
        action="member.remove",
    ),
    "create_api_key": Service(
        lambda w: unique("key"),
        lambda a, name: create_api_key(actor=a, name=name, scopes=["read"]),
        scope="admin",
        action="api_key.create",
        foreign=False,
    ),
    "revoke_api_key": Service(
        lambda w: make_api_key(w)[0].pk,
        lambda a, n: revoke_api_key(actor=a, key_id=n),
        scope="admin",
        action="api_key.revoke",
    ),
}
each = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def contents(workspace: Workspace | None = None) -> dict[str, list[str]]:
    """All rows of accounts as text, by table; of one workspace where the table has one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select relname, exists (select from pg_attribute a where a.attrelid = c.oid and attname = 'workspace_id') "
            r"from pg_class c where relname like 'accounts\_%' and relkind = 'r' and relname <> 'accounts_ratebucket'"
        )
        found = {}
        for table, scoped in cursor.fetchall():
            if workspace is None:
                cursor.execute(f"select t::text from {table} t order by 1")
            elif scoped:
                cursor.execute(f"select t::text from {table} t where workspace_id = %s order by 1", [workspace.pk])
            else:
                continue
            found[table] = [text for (text,) in cursor.fetchall()]
    return found


@each
def test_a_role_without_the_scope_is_refused_and_changes_nothing(workspace: Workspace, service: Service) -> None:
    # CONTRACTS 8: services check it
    about = service.prepare(workspace)
    before = contents()
    for role, scopes in ROLES.items():
        if service.scope in scopes:
            continue
        with pytest.raises(Refusal) as refused:
            service.call(actor_of(workspace, role), about)
        assert refused.value.code == "role_missing", role
        assert role not in refused.value.details["roles"]
    key = Actor(workspace.pk, frozenset(ROLES["owner"] - {service.scope}), key_id=1)
    with pytest.raises(Refusal) as refused:
        service.call(key, about)
    assert refused.value.code == "scope_missing"
    assert contents() == before


@each
def test_the_least_role_that_has_the_scope_may(workspace: Workspace, service: Service) -> None:
    # CONTRACTS 8
    role = next(role for role, scopes in ROLES.items() if service.scope in scopes)
    service.call(actor_of(workspace, role), service.prepare(workspace))


@each
def test_it_leaves_one_audit_row(workspace: Workspace, actor: Actor, service: Service) -> None:
    # CONTRACTS 3
    about = service.prepare(workspace)
    last = Audit.objects.order_by("-id").values_list("id", flat=True).first() or 0
    service.call(actor, about)
    rows = Audit.objects.filter(id__gt=last)
    assert [row.action for row in rows] == [service.action]
    (row,) = rows
    assert (row.workspace_id, row.user_id, row.actor) == (workspace.pk, actor.user_id, actor.label)
    assert "_" in row.object


@each
def test_it_announces_what_the_contract_says(
    workspace: Workspace, actor: Actor, announced: list[Announcement], service: Service
) -> None:
    # CONTRACTS 6
    about = service.prepare(workspace)
    announced.clear()
    service.call(actor, about)
    assert tuple(told.kind for told in announced) == service.announces
    assert {told.workspace_id for told in announced} <= {workspace.pk}


FOREIGN = {name: service for name, service in SERVICES.items() if service.foreign}
# Objects, not ids, are handed over here: what finds them for a caller is scoped (tests/api/test_walls.py).
BY_OBJECT = {"rename_funnel", "create_stage", "update_stage"}


@pytest.mark.parametrize("name", [name for name in FOREIGN if name not in BY_OBJECT])
def test_another_workspace_is_out_of_reach(actor: Actor, other: Workspace, name: str) -> None:
    # DESIGN 3: nothing crosses
    service = SERVICES[name]
    about = service.prepare(other)
    before = contents(other)
    with pytest.raises(Refusal) as refused:
        service.call(actor, about)
    assert refused.value.code == "not_found"
    assert contents(other) == before


ANNOUNCING = {name: service for name, service in SERVICES.items() if service.announces}


@pytest.mark.parametrize("service", ANNOUNCING.values(), ids=ANNOUNCING.keys())
def test_a_listener_that_raises_takes_everything_back(workspace: Workspace, actor: Actor, service: Service) -> None:
    # CONTRACTS 6: a listener that raises fails the caller's change
    about = service.prepare(workspace)
    before = contents()

    def fail(told: list[Announcement]) -> None:
        raise LookupError("upper app")

    def attempt() -> None:
        with transaction.atomic():
            service.call(actor, about)

    listen(fail)
    try:
        with pytest.raises(LookupError):
            attempt()
    finally:
        ignore(fail)
    assert contents() == before


REPEATABLE = [
    "update_customer",
    "erase_customer",
    "add_tag",
    "remove_tag",
    "enter_stage",
    "finish_task",
    "reopen_task",
    "revoke_api_key",
]


@pytest.mark.parametrize("name", REPEATABLE)
def test_asking_twice_is_announced_once(
    workspace: Workspace, actor: Actor, announced: list[Announcement], name: str
) -> None:
    # DESIGN 1: a step done twice is a real harm
    service = SERVICES[name]
    about = service.prepare(workspace)
    announced.clear()
    service.call(actor, about)
    service.call(actor, about)
    assert tuple(told.kind for told in announced) == service.announces


def test_the_table_names_every_service() -> None:
    # a new service with an actor must be described above
    import importlib
    import inspect
    import pkgutil

    from accounts import services

    found = set()
    for info in pkgutil.iter_modules(services.__path__):
        module = importlib.import_module(f"accounts.services.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            public = function.__module__ == module.__name__ and not name.startswith("_")
            if public and "actor" in inspect.signature(function).parameters:
                found.add(name)
    # consent needs no scope (a link does it), narrowing is part of a change of role
    assert found - {"record_consent", "narrow_keys"} == set(SERVICES)
    assert callable(record_consent)
