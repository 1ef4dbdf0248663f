"""Rules of accounts that no constraint can hold, as (id, title, SQL). `automations.doctor` runs them; each must find nothing."""

from __future__ import annotations

CHECKS: tuple[tuple[str, str, str], ...] = (
    (
        "X2",
        "A key of a request has one stored answer per workspace and endpoint",
        """
        SELECT workspace_id, endpoint || ' ' || key AS found FROM accounts_idempotency
        GROUP BY workspace_id, endpoint, key HAVING count(*) > 1
        """,
    ),
    (
        "X4",
        "The database refuses to change or remove rows of the audit log",
        """
        SELECT NULL::bigint AS workspace_id, 'accounts_audit_is_append_only' AS found
        WHERE NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = 'accounts_audit'::regclass
            AND tgname = 'accounts_audit_is_append_only' AND tgenabled IN ('O', 'A'))
        """,
    ),
    (
        "K1",
        "The installation has one row, which holds its clock and its name",
        """
        SELECT NULL::bigint AS workspace_id, count(*)::text AS found FROM accounts_installation HAVING count(*) <> 1
        """,
    ),
    (
        "K2",
        "Records that were merged lead to one that was not",
        """
        WITH RECURSIVE way AS (
            SELECT id, workspace_id, merged_into_id AS place, 1 AS steps FROM accounts_customer
            WHERE merged_into_id IS NOT NULL
            UNION ALL
            SELECT way.id, way.workspace_id, c.merged_into_id, way.steps + 1 FROM way
            JOIN accounts_customer c ON c.id = way.place WHERE c.merged_into_id IS NOT NULL AND way.steps < 1000
        )
        SELECT workspace_id, 'cus_' || id AS found FROM way WHERE steps = 1000
        """,
    ),
    (
        "K3",
        "A stay in a stage is in that stage's funnel",
        """
        SELECT e.workspace_id, 'cus_' || e.customer_id || ' stg_' || e.stage_id AS found FROM accounts_stageentry e
        JOIN accounts_stage s ON s.id = e.stage_id WHERE s.funnel_id <> e.funnel_id
        """,
    ),
    (
        "K4",
        "No contact is left of a customer who was erased",
        """
        SELECT c.workspace_id, 'cus_' || c.id AS found FROM accounts_contact t
        JOIN accounts_customer c ON c.id = t.customer_id WHERE c.erased_at IS NOT NULL
        """,
    ),
)
