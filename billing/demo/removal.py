"""Taking the demo workspace away, whole: the one place that deletes rows for good, and only those of one workspace.

The audit log refuses deletion by a trigger. Only the owner of a table can lift that, and only by changing the table: no setting of a
session, nor any right that an application role might have, does. The change lasts for this transaction, which keeps everybody else
from writing to the log meanwhile, and is taken back with it when it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import ProgrammingError, connection, transaction

from accounts.errors import Refusal
from accounts.models import Workspace
from automations.worker.retrying import retrying, sqlstate

GUARD = "accounts_audit_is_append_only"


def remove_workspace(slug: str) -> bool:
    """Delete the workspace and every row that belongs to it; False when there is none. Takes the rights of the tables' owner, not
    those of a superuser: Refusal `role_missing` without them. Somebody at work in the workspace may stand in the way for a moment;
    then it is tried again."""
    try:
        return retrying(lambda: _remove(slug))
    except ProgrammingError as error:
        if sqlstate(error) != "42501":
            raise
        message = "Only the database role that owns the tables can remove a workspace; run this with its DATABASE_URL."
        raise Refusal("role_missing", message) from error


@transaction.atomic
def _remove(slug: str) -> bool:
    workspace = Workspace.objects.filter(slug=slug).first()
    if workspace is None:
        return False
    with connection.cursor() as cursor, _deferred(cursor), _audit_unguarded(cursor):
        _delete(cursor, workspace.pk)
    return True


@contextmanager
def _deferred(cursor: Any) -> Iterator[None]:
    """References are checked when all rows have gone; what was written before in this transaction is checked first."""
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    yield
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@contextmanager
def _audit_unguarded(cursor: Any) -> Iterator[None]:
    cursor.execute(f"ALTER TABLE accounts_audit DISABLE TRIGGER {GUARD}")
    yield
    cursor.execute(f"ALTER TABLE accounts_audit ENABLE TRIGGER {GUARD}")


def _delete(cursor: Any, workspace: int) -> None:
    for table in _tables():
        cursor.execute(f'DELETE FROM "{table}" WHERE workspace_id = %s', [workspace])
    for table, column, parent in _children():
        cursor.execute(
            f'DELETE FROM "{table}" c WHERE NOT EXISTS (SELECT 1 FROM "{parent}" p WHERE p.id = c."{column}")'
        )
    cursor.execute("DELETE FROM accounts_workspace WHERE id = %s", [workspace])


def _tables() -> list[str]:
    """Tables that say which workspace a row belongs to."""
    ours = [model for app in ("billing", "automations", "accounts") for model in apps.get_app_config(app).get_models()]
    return [
        model._meta.db_table
        for model in ours
        if any(field.column == "workspace_id" for field in model._meta.concrete_fields)
    ]


def _children() -> list[tuple[str, str, str]]:
    """Tables without a workspace of their own: their rows go when the row they belong to has gone."""
    found = []
    for app in ("billing", "automations"):
        for model in apps.get_app_config(app).get_models(include_auto_created=True):
            columns = {field.column for field in model._meta.concrete_fields}
            parents = [field for field in model._meta.concrete_fields if field.many_to_one and not field.null]
            if "workspace_id" not in columns and parents:
                found.append((model._meta.db_table, str(parents[0].column), _table(parents[0])))
    return found


def _table(field: Any) -> str:
    """The table that a reference points to."""
    return str(field.related_model._meta.db_table)
