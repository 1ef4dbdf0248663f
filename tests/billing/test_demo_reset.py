"""`demo --reset` on a server where our role is an ordinary one: the owner of the tables can, and nobody else (CONTRACTS 2; X4)."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import Error, connection, transaction

from accounts.models import Audit, Customer, Workspace
from automations.doctor.run import examine
from billing.demo import removal
from billing.demo.removal import remove_workspace
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, live, settle
from tests.worker.racing import Racer, until_a_row_is_waited_for

pytestmark = pytest.mark.django_db(transaction=True)
OWNED = """
DO $$
DECLARE
    one regclass;
BEGIN
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') LOOP
        EXECUTE format('ALTER TABLE %%s OWNER TO %%I', one, '%s');
    END LOOP;
END $$
"""


def run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def superuser() -> str:
    """The role of the tests; only a superuser can become an ordinary one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user")
        name, able = cursor.fetchone()
    if not able:
        pytest.skip("The role of this server's tests is an ordinary one already, and can become no other.")
    return str(name)


@pytest.fixture
def as_role(superuser: str) -> Iterator[Callable[[bool], None]]:
    """Work on as an ordinary role, which owns the tables or may only write to them, as the application's may."""
    role = f"onward_{uuid.uuid4().hex[:12]}"  # roles belong to the server, where other tests run as well
    run(f"CREATE ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOLOGIN")
    grants = [f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}" for kind in ("TABLES", "SEQUENCES")]

    def become(owner: bool) -> None:
        run(*grants, *([OWNED % role] if owner else []), f"SET ROLE {role}")

    yield become
    run("RESET ROLE", OWNED % superuser, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    settings.ONWARD_DATA = tmp_path
    monkeypatch.setattr("billing.demo.northwind.CUSTOMERS", 6)
    monkeypatch.setattr("billing.demo.northwind.SUBSCRIPTIONS", 4)


def demo(*options: str) -> str:
    out = io.StringIO()
    call_command("demo", *options, stdout=out)
    return out.getvalue()


def lived_in(workspace: Workspace) -> None:
    """With runs, logs, deliveries and what else work leaves behind."""
    live(
        workspace, "steps: [{id: w, type: wait_until, event: ping}, {type: action, action: create_task, message: Call}]"
    )
    customer = make_customer(workspace)
    happen(customer)
    settle()
    happen(customer, "ping")
    settle()


def left_of(workspace: int) -> dict[str, int]:
    found = {}
    with connection.cursor() as cursor:
        for table in removal._tables():
            cursor.execute(f'SELECT count(*) FROM "{table}" WHERE workspace_id = %s', [workspace])
            found[table] = cursor.fetchone()[0]
    return {table: count for table, count in found.items() if count}


def test_the_owner_of_the_tables_makes_it_anew(small: None, as_role: Callable[[bool], None]) -> None:
    demo()
    before = Workspace.objects.get(slug="northwind")
    lived_in(before)
    other = make_customer(make_workspace())
    kept = left_of(other.workspace_id)
    assert {"accounts_audit", "automations_step_log", "automations_run"} <= set(left_of(before.pk))
    as_role(True)
    demo("--reset")
    assert left_of(before.pk) == {}
    assert left_of(other.workspace_id) == kept
    assert Workspace.objects.get(slug="northwind").pk != before.pk
    assert Customer.objects.exclude(pk=other.pk).count() == 6


def guarded() -> bool:
    """Whether the log refuses changes, of the owner of the table as well."""
    refused = 0
    for statement in ("DELETE FROM accounts_audit", "UPDATE accounts_audit SET action = ''"):
        try:
            with transaction.atomic():
                run(statement)
        except Error as error:
            refused += "append-only" in str(error)
    return refused == 2 and examine(only=["X4"]) == []


def test_the_log_is_guarded_before_and_after(small: None, as_role: Callable[[bool], None]) -> None:  # INVARIANTS X4
    demo()
    as_role(True)
    assert guarded()
    assert remove_workspace("northwind")
    demo()
    assert guarded()


def test_a_removal_that_breaks_off_changes_nothing(
    small: None, as_role: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo()
    before = Audit.objects.count()
    as_role(True)
    monkeypatch.setattr(removal, "_children", lambda: [("nowhere", "x", "y")])
    with pytest.raises(Error, match="nowhere"):
        remove_workspace("northwind")
    assert (Audit.objects.count(), guarded()) == (before, True)


def test_nobody_gets_past_the_guard_meanwhile(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would change the log while its guard is lifted waits for the end, and meets the guard then."""
    demo()
    racers: list[Racer] = []
    real = removal._delete

    def meanwhile(cursor: Any, workspace: int) -> None:
        racers.append(Racer(lambda: run("DELETE FROM accounts_audit")))
        until_a_row_is_waited_for(racers[0], lock="relation")
        real(cursor, workspace)

    other = make_customer(make_workspace())
    count = Audit.objects.filter(workspace_id=other.workspace_id).count()
    monkeypatch.setattr(removal, "_delete", meanwhile)
    assert remove_workspace("northwind")
    with pytest.raises(Error, match="append-only"):
        racers[0].result()
    assert Audit.objects.filter(workspace_id=other.workspace_id).count() == count > 0


def test_a_role_that_owns_nothing_is_told_what_it_takes(small: None, as_role: Callable[[bool], None]) -> None:
    demo()
    as_role(False)
    with pytest.raises(CommandError, match="role that owns the tables"):
        demo("--reset")
    assert Workspace.objects.filter(slug="northwind").exists()


def test_there_is_nothing_to_remove() -> None:
    assert remove_workspace("northwind") is False
