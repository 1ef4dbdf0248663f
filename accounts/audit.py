"""The audit log. Rows are only ever added (DESIGN 6); call it in the transaction of what it records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from accounts.actor import Actor
from accounts.models import Audit

Values = Mapping[str, Any] | None


def record(actor: Actor, action: str, object_id: str, before: Values = None, after: Values = None) -> None:
    """`action` is object and verb (`automation.pause`), `object_id` a public id. `before` and `after` are JSON data
    without secrets and without a customer's personal values (SUP-06)."""
    row(actor, action, object_id, before, after).save(force_insert=True)


def record_many(actor: Actor, action: str, object_ids: Iterable[str], after: Values = None) -> None:
    """The same for many objects, in one statement."""
    Audit.objects.bulk_create([row(actor, action, object_id, None, after) for object_id in object_ids])


def row(actor: Actor, action: str, object_id: str, before: Values = None, after: Values = None) -> Audit:
    """An audit row not yet written, for callers that write several kinds at once."""
    return Audit(
        workspace_id=actor.workspace_id,
        actor=actor.label[:300],
        user_id=actor.user_id,
        key_id=actor.key_id,
        run_id=actor.run_id,
        action=action,
        object=object_id,
        before=before,
        after=after,
    )
