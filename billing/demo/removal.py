"""Taking the demo workspace away, whole: the one place that deletes rows for good, and only those of one workspace."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import connection, transaction

from accounts.models import Workspace


@transaction.atomic
def remove_workspace(slug: str) -> bool:
    """Delete the workspace and every row that belongs to it; False when there is none. The audit log's guard against deletion is
    lifted for this transaction only, which takes the rights of the tables' owner."""
    workspace = Workspace.objects.filter(slug=slug).first()
    if workspace is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table in _tables():
            cursor.execute(f'DELETE FROM "{table}" WHERE workspace_id = %s', [workspace.pk])
        for table, column, parent in _children():
            cursor.execute(
                f'DELETE FROM "{table}" c WHERE NOT EXISTS (SELECT 1 FROM "{parent}" p WHERE p.id = c."{column}")'
            )
        cursor.execute("DELETE FROM accounts_workspace WHERE id = %s", [workspace.pk])
    return True


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
