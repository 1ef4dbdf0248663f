"""Events: recorded once, routed, joined with their runs (E of INVARIANTS)."""

from __future__ import annotations

from automations.doctor.checks import Check

#: The month of the oldest partition that is kept, from the catalogue alone.
OLDEST = """(
    SELECT min(to_date(right(child.relname, 7), 'YYYY"m"MM'))::timestamp AT TIME ZONE 'UTC'
    FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = '{table}'::regclass
)"""

CHECKS = [
    Check(
        "E2",
        "An event is recorded once per workspace, source and key",
        """
        SELECT workspace_id, source || ' ' || key AS found FROM automations_event
        GROUP BY workspace_id, source, key HAVING count(*) > 1
        """,
    ),
    Check(
        "E3",
        "One run per automation, event, subject and mode; an event meant for one automation starts no other",
        """
        SELECT workspace_id, 'auto_' || automation_id || ' evt_' || event_id AS found FROM automations_run
        GROUP BY workspace_id, automation_id, event_id, subject_kind, subject_id, mode HAVING count(*) > 1
        UNION ALL
        SELECT r.workspace_id, 'exec_' || r.id FROM automations_event e
        JOIN automations_run r ON r.event_id = e.id AND r.workspace_id = e.workspace_id
        WHERE e.only_automation IS NOT NULL AND r.automation_id <> e.only_automation
        """,
    ),
    Check(
        "E4",
        "At rest no event waits to be routed",
        """
        SELECT e.workspace_id, 'evt_' || e.id AS found FROM automations_unrouted u JOIN automations_event e ON e.id = u.event_id
        WHERE e.recorded_at < now() - %(lag)s
        """,
        at_rest=True,
    ),
    Check(
        "E5",
        "Every event has its content while the content's month is kept",
        f"""
        SELECT e.workspace_id, 'evt_' || e.id AS found FROM automations_event e
        WHERE e.recorded_at >= {OLDEST.format(table="automations_event_content")} AND NOT EXISTS (
            SELECT 1 FROM automations_event_content c WHERE c.event_id = e.id AND c.recorded_at = e.recorded_at)
        """,
    ),
    Check(
        "E6",
        "An event is evaluated at most once",
        """
        SELECT workspace_id, 'evt_' || event_id AS found FROM automations_evaluation
        GROUP BY workspace_id, event_id HAVING count(*) > 1
        """,
    ),
    Check(
        "E7",
        "Every event waits to be routed, in its own shard, or was routed",
        """
        SELECT e.workspace_id, 'evt_' || e.id AS found FROM automations_event e
        LEFT JOIN automations_unrouted u ON u.event_id = e.id AND u.shard = e.shard
        LEFT JOIN automations_routed m ON m.event_id = e.id
        WHERE (u.event_id IS NULL) = (m.event_id IS NULL)
        """,
    ),
]
