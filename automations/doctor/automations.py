"""Automations and their versions: copies, states, marks, places, and who may start while it is closed (A; CONTRACTS 3)."""

from __future__ import annotations

from automations.doctor.checks import Check

#: The version whose copies an automation keeps: the active one, the draft while none was ever active.
_COPIED = """automations_automation a JOIN automations_version v ON v.id = coalesce(a.active_version_id, (
    SELECT draft.id FROM automations_version draft WHERE draft.automation_id = a.id AND draft.state = 'draft'))"""
_SCOPE = """CASE jsonb_typeof(v.definition -> 'settings' -> 'scope')
    WHEN 'array' THEN v.definition -> 'settings' -> 'scope' ELSE '[]'::jsonb END"""

CHECKS = [
    Check(
        "A1",
        "An automation's trigger key is that of its active version, of its draft while none was active",
        f"""
        SELECT a.workspace_id, 'auto_' || a.id AS found FROM {_COPIED}
        WHERE a.trigger_key <> CASE v.definition -> 'trigger' ->> 'type'
            WHEN 'event' THEN v.definition -> 'trigger' ->> 'event' ELSE v.definition -> 'trigger' ->> 'type' END
        """,
    ),
    Check(
        "A2",
        "An automation hears the events of its trigger, its exits and its goal",
        f"""
        SELECT a.workspace_id, 'auto_' || a.id || ' ' || heard.name AS found FROM {_COPIED}
        CROSS JOIN LATERAL (
            SELECT v.definition -> 'trigger' ->> 'event' AS name
            UNION ALL SELECT v.definition -> 'goal' ->> 'event'
            UNION ALL SELECT x ->> 'event' FROM jsonb_array_elements(coalesce(v.definition -> 'exits', '[]')) x
        ) heard
        WHERE heard.name IS NOT NULL AND heard.name <> ALL (a.listens)
        """,
    ),
    Check(
        "A3",
        "An automation's stages are those of its version's scope",
        f"""
        SELECT a.workspace_id, 'auto_' || a.id AS found FROM {_COPIED}
        WHERE cardinality(a.stages) <> jsonb_array_length({_SCOPE}) OR EXISTS (
            SELECT 1 FROM unnest(a.stages) own
            WHERE NOT EXISTS (
                SELECT 1 FROM accounts_stage s JOIN accounts_funnel f ON f.id = s.funnel_id
                WHERE s.id = own AND s.workspace_id = a.workspace_id
                    AND {_SCOPE} @> to_jsonb(f.slug || '/' || s.slug)))
        """,
    ),
    Check(
        "A4",
        "State and versions agree: one version is in force, the automation's own, unless it is a draft",
        """
        SELECT a.workspace_id, 'auto_' || a.id AS found FROM automations_automation a
        LEFT JOIN automations_version v ON v.id = a.active_version_id
        WHERE (a.state = 'DRAFT') <> (v.id IS NULL) OR v.state <> 'active' OR v.automation_id <> a.id
        UNION ALL
        SELECT v.workspace_id, 'auto_' || v.automation_id FROM automations_version v
        JOIN automations_automation a ON a.id = v.automation_id
        WHERE v.state = 'active' AND a.active_version_id IS DISTINCT FROM v.id
        """,
    ),
    Check(
        "A5",
        "A mark on runs is followed or being followed, and a hold stands only while the automation is paused",
        """
        SELECT workspace_id, 'auto_' || id AS found FROM automations_automation
        WHERE (cancel_mark IS NOT NULL OR release_mark IS NOT NULL) AND NOT sweep
            OR hold_mark IS NOT NULL AND state <> 'PAUSED' OR (release_mark IS NULL) <> (release_at IS NULL)
        """,
    ),
    Check(
        "A6.rest",
        "At rest no run is left under a cancel mark",
        """
        SELECT a.workspace_id, 'auto_' || a.id || ' exec_' || r.id AS found FROM automations_automation a
        JOIN automations_run r ON r.workspace_id = a.workspace_id AND r.automation_id = a.id AND r.ended_at IS NULL
            AND r.id <= a.cancel_mark
        WHERE a.updated_at < now() - %(lag)s
        """,
        at_rest=True,
    ),
    Check(
        "A7",
        "Automations on an exclusive trigger have a place each, others none",
        """
        SELECT workspace_id, 'auto_' || id AS found FROM automations_automation
        WHERE exclusive <> (priority IS NOT NULL)
        UNION ALL
        SELECT workspace_id, trigger_key || ' ' || priority FROM automations_automation
        WHERE priority IS NOT NULL GROUP BY workspace_id, trigger_key, priority HAVING count(*) > 1
        """,
    ),
    Check(
        "A8",
        "No run begins while its automation is paused, and none of one that was never active",
        """
        SELECT a.workspace_id, 'auto_' || a.id || ' exec_' || r.id AS found FROM automations_automation a
        JOIN automations_run r ON r.workspace_id = a.workspace_id AND r.automation_id = a.id AND r.mode = 'live'
        WHERE a.state = 'PAUSED' AND r.started_at > a.paused_at OR a.state = 'DRAFT'
        """,
    ),
    Check(
        "A9",
        "Every version in force, and every one that unfinished runs follow, can be compiled here",
        """
        SELECT workspace_id, 'auto_' || automation_id || ' version ' || number AS found FROM automations_version
        WHERE id = ANY(%(unreadable)s)
        """,
    ),
    Check(
        "D1",
        "Partitions of this month and the next are there",
        """
        SELECT NULL::bigint AS workspace_id, wanted.child AS found FROM (
            SELECT parent, parent || to_char((now() AT TIME ZONE 'UTC')::date + make_interval(months => ahead),
                '"_y"YYYY"m"MM') AS child
            FROM unnest(ARRAY['automations_step_log', 'automations_evaluation', 'automations_event_content',
                'automations_delivery_body']) parent, generate_series(0, 1) ahead
        ) wanted
        WHERE NOT EXISTS (SELECT 1 FROM pg_inherits
            WHERE inhparent = wanted.parent::regclass AND inhrelid = to_regclass(wanted.child))
        """,
    ),
    Check(
        "D2",
        "The database refuses changes of activated versions",
        """
        SELECT NULL::bigint AS workspace_id, 'version_immutable_once_activated' AS found
        WHERE NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = 'automations_version'::regclass
            AND tgname = 'version_immutable_once_activated' AND tgenabled IN ('O', 'A'))
        """,
    ),
]
