"""Timers, schedules and waits: never early, never forgotten, no wake-up lost (T, W of INVARIANTS)."""

from __future__ import annotations

from automations.doctor.checks import Check

CHECKS = [
    Check(
        "T1",
        "No delay ends before its time",
        """
        SELECT workspace_id, 'exec_' || run_id || ' visit ' || seq AS found FROM automations_step_log
        WHERE type = 'delay' AND output ->> 'outcome' = 'waited' AND ended_at < (output ->> 'until')::timestamptz
        """,
    ),
    Check(
        "T1.rest",
        "At rest no run is overdue",
        """
        SELECT workspace_id, 'exec_' || id AS found FROM automations_run
        WHERE due_at < onward_now() - %(lag)s AND ended_at IS NULL
        """,
        at_rest=True,
    ),
    Check(
        "T2.rest",
        "At rest no schedule is overdue",
        """
        SELECT workspace_id, 'auto_' || id AS found FROM automations_automation
        WHERE state = 'ACTIVE' AND next_fire_at < onward_now() - %(lag)s
        """,
        at_rest=True,
    ),
    Check(
        "T3",
        "An active schedule has a next fire time",
        """
        SELECT workspace_id, 'auto_' || id AS found FROM automations_automation
        WHERE state = 'ACTIVE' AND trigger_key = 'schedule' AND next_fire_at IS NULL
        """,
    ),
    # Only waits without a filter: SQL cannot judge one. For a wait of the release before, which knows no number, times are compared
    # across two clocks; that is sound while evaluation time is not behind real time: what was routed after the evaluation time of the
    # entry was routed after the entry. A record that took another one in has runs which could not hear its events before.
    Check(
        "W1",
        "No run waits for an event that was routed after its wait began",
        """
        SELECT r.workspace_id, 'exec_' || r.id || ' evt_' || e.id AS found FROM automations_run r
        JOIN automations_version v ON v.id = r.version_id
        JOIN automations_event e ON e.workspace_id = r.workspace_id AND e.customer_id = r.customer_id
            AND e.name = r.wait_name AND e.id <> r.event_id
            AND e.subjects ->> split_part(r.wait_key, ':', 1) = split_part(r.wait_key, ':', 2)
        JOIN automations_routed m ON m.event_id = e.id
            AND CASE WHEN r.wait_since IS NULL THEN m.routed_at > r.entered_at ELSE m.number >= r.wait_since END
        WHERE r.wait_name IS NOT NULL AND r.mode = 'live' AND r.wait_name NOT IN ('email_opened', 'email_clicked')
            AND NOT EXISTS (SELECT 1 FROM automations_secondlook s WHERE s.run_id = r.id)
            AND EXISTS (SELECT 1 FROM jsonb_array_elements(v.definition -> 'nodes') n
                WHERE n ->> 'id' = r.step AND n -> 'config' ->> 'filter' IS NULL)
            AND NOT EXISTS (SELECT 1 FROM accounts_customer m WHERE m.merged_into_id = r.customer_id)
            AND (r.wait_since IS NOT NULL OR (SELECT clock_offset FROM accounts_installation) >= interval '0')
        """,
    ),
    Check(
        "W2",
        "A wait ends in one way: by an event that exists, or by its time-out",
        """
        SELECT l.workspace_id, 'exec_' || l.run_id || ' visit ' || l.seq AS found FROM automations_step_log l
        WHERE l.type = 'wait_until' AND l.output ->> 'event' IS NOT NULL AND (l.output ->> 'outcome' <> 'event'
            OR NOT EXISTS (SELECT 1 FROM automations_event e WHERE e.id = substr(l.output ->> 'event', 5)::bigint
                AND e.workspace_id = l.workspace_id))
        """,
    ),
    Check(
        "W3.rest",
        "At rest every run that parked on an event was looked at once more",
        """
        SELECT workspace_id, 'exec_' || run_id AS found FROM automations_secondlook WHERE created_at < now() - %(lag)s
        """,
        at_rest=True,
    ),
]
