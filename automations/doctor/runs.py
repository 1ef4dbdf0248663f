"""Runs: never stuck, ended for good, on the version they began with, held and released as a whole (R, X3 of INVARIANTS)."""

from __future__ import annotations

from automations.doctor.checks import Check

#: A mark on the automation that will still reach this run `r` (DESIGN 5.5).
MARKED = """EXISTS (SELECT 1 FROM automations_automation a
    WHERE a.id = r.automation_id AND greatest(a.cancel_mark, a.hold_mark, a.release_mark) >= r.id)"""
#: An event of the customer that a router has still to take up may end this run `r`.
ABOUT_TO_BE_ROUTED = """EXISTS (SELECT 1 FROM automations_unrouted u JOIN automations_event e ON e.id = u.event_id
    WHERE e.workspace_id = r.workspace_id AND e.customer_id = r.customer_id)"""

CHECKS = [
    Check(
        "R1",
        "A run that has not ended has something that will move it: a time, an event it waits for, an open delivery, a hold",
        f"""
        SELECT r.workspace_id, 'exec_' || r.id AS found FROM automations_run r
        WHERE r.ended_at IS NULL AND (
            coalesce(r.parked_on, 'timer') = 'timer' AND r.due_at IS NULL
            OR r.parked_on = 'event' AND (r.wait_name IS NULL OR r.wait_key IS NULL OR r.status <> 'WAITING_FOR_EVENT')
            OR r.parked_on = 'hold' AND NOT {MARKED}
            OR r.parked_on = 'delivery' AND NOT EXISTS (
                SELECT 1 FROM automations_delivery d
                WHERE d.workspace_id = r.workspace_id AND d.run_id = r.id AND d.visit = r.seq
                    AND d.state IN ('QUEUED', 'SENDING', 'UNKNOWN', 'REVIEW'))
                AND NOT {MARKED} AND NOT {ABOUT_TO_BE_ROUTED})
        """,
    ),
    Check(
        "R2",
        "An ended run stands on nothing, and a cancelled one has no delivery that nobody has begun to send",
        """
        SELECT workspace_id, 'exec_' || id AS found FROM automations_run
        WHERE status IN ('COMPLETED', 'CANCELLED', 'FAILED') AND (parked_on IS NOT NULL OR due_at IS NOT NULL
            OR wait_name IS NOT NULL OR wait_key IS NOT NULL OR held IS NOT NULL)
        UNION ALL
        SELECT d.workspace_id, 'exec_' || r.id || ' dlv_' || d.id FROM automations_delivery d
        JOIN automations_run r ON r.id = d.run_id
        WHERE d.state = 'QUEUED' AND d.attempts = 0 AND r.status = 'CANCELLED'
        """,
    ),
    Check(
        "R3",
        "A run has an end time and an end reason exactly when it has ended, and ends no earlier than it began",
        """
        SELECT workspace_id, 'exec_' || id AS found FROM automations_run
        WHERE (status IN ('COMPLETED', 'CANCELLED', 'FAILED')) <> (ended_at IS NOT NULL)
            OR (ended_at IS NULL) <> (end_reason IS NULL) OR ended_at < started_at
        """,
    ),
    Check(
        "R4",
        "A run walks only steps of the version it began with, a version of its own automation that was in force",
        """
        WITH node AS MATERIALIZED (
            SELECT v.id AS version_id, n ->> 'id' AS step
            FROM automations_version v CROSS JOIN LATERAL jsonb_array_elements(v.definition -> 'nodes') n
        )
        SELECT l.workspace_id, 'exec_' || l.run_id || ' visit ' || l.seq AS found FROM automations_step_log l
        JOIN automations_run r ON r.id = l.run_id
        WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.version_id = r.version_id AND n.step = l.step)
        UNION ALL
        SELECT r.workspace_id, 'exec_' || r.id FROM automations_run r
        WHERE r.ended_at IS NULL AND r.step IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM node n WHERE n.version_id = r.version_id AND n.step = r.step)
        UNION ALL
        SELECT r.workspace_id, 'exec_' || r.id FROM automations_run r JOIN automations_version v ON v.id = r.version_id
        WHERE v.automation_id <> r.automation_id OR r.mode = 'live' AND v.activated_at IS NULL
        """,
    ),
    Check(
        "R6",
        "A run keeps what a hold froze exactly while it is held",
        """
        SELECT workspace_id, 'exec_' || id AS found FROM automations_run
        WHERE ended_at IS NULL AND coalesce(parked_on = 'hold', false) <> (held IS NOT NULL)
        """,
    ),
    Check(
        "R7",
        "A re-entry key that is not kept for ever belongs to a run that has not ended",
        """
        SELECT e.workspace_id, 'auto_' || e.automation_id || ' ' || e.key AS found FROM automations_entry e
        LEFT JOIN automations_run r ON r.id = e.run_id
        WHERE NOT e.once AND (r.id IS NULL OR r.ended_at IS NOT NULL)
        """,
    ),
    # The visit at which a run fails by the limit is the one behind it.
    Check(
        "X3",
        "No run makes more steps than the limit",
        "SELECT workspace_id, 'exec_' || id AS found FROM automations_run WHERE seq > %(steps)s + 1",
    ),
]
