"""What automations hold of a customer, for the export made before an erasure (SUP-06)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from django.db import connection

from accounts.services.erasure import export_part

Rows = list[dict[str, Any]]
EVENTS = """
select 'evt_' || e.id as id, e.name, e.occurred_at as "occurredAt", c.payload from automations_event e
left join automations_event_content c on c.event_id = e.id and c.recorded_at = e.recorded_at
where e.workspace_id = %s and e.customer_id = %s order by e.id
"""
EXECUTIONS = """
select 'exec_' || r.id as id, 'auto_' || r.automation_id as automation, r.status, r.end_reason as "endReason",
    r.started_at as "startedAt", r.ended_at as "endedAt" from automations_run r
where r.workspace_id = %s and r.customer_id = %s order by r.id
"""
DELIVERIES = """
select 'dlv_' || d.id as id, d.kind, d.state, d."to", d.subject, d.created_at as "createdAt", d.sent_at as "sentAt",
    d.opened_at as "openedAt", d.clicked_at as "clickedAt" from automations_delivery d
where d.workspace_id = %s and d.customer_id = %s order by d.id
"""
PARTS = {"events": EVENTS, "executions": EXECUTIONS, "deliveries": DELIVERIES}


def connect() -> None:
    """Called once when the app starts."""
    for name, statement in PARTS.items():
        export_part(name, partial(rows_of, statement))


def rows_of(statement: str, workspace_id: int, customer_id: int) -> Rows:
    """The rows of a statement as plain JSON data, written by the database."""
    with connection.cursor() as cursor:
        cursor.execute(f"select to_jsonb(t)::text from ({statement}) t", [workspace_id, customer_id])
        return [json.loads(text) for (text,) in cursor.fetchall()]
