"""The step log: one row per attempt, visits without gaps, counts that agree with it (S1, L; DESIGN 3, 6)."""

from __future__ import annotations

from automations.doctor.checks import Check
from automations.doctor.events import OLDEST

_KEPT = f"r.recorded_at >= {OLDEST.format(table='automations_step_log')}"

CHECKS = [
    Check(
        "S1",
        "An attempt of a visit is logged once",
        """
        SELECT workspace_id, 'exec_' || run_id || ' visit ' || seq AS found FROM automations_step_log
        WHERE flags & 2 = 0 GROUP BY workspace_id, run_id, seq, attempt HAVING count(*) > 1
        """,
    ),
    # A loop is logged when it is left, so only versions without one have a row for each visit at any moment.
    Check(
        "L1",
        "The log has every visit up to the one a run stands on, and none after it",
        f"""
        SELECT r.workspace_id, 'exec_' || r.id AS found FROM automations_run r
        JOIN automations_version v ON v.id = r.version_id
        LEFT JOIN automations_step_log l ON l.run_id = r.id AND l.flags & 2 = 0
        WHERE {_KEPT} AND NOT v.definition @> '{{"nodes": [{{"type": "loop"}}]}}'
        GROUP BY r.id, r.workspace_id
        HAVING count(DISTINCT l.seq) FILTER (WHERE l.seq < r.seq) <> greatest(r.seq - 1, 0)
            OR coalesce(max(l.seq), 0) > r.seq OR r.status = 'COMPLETED' AND coalesce(max(l.seq), 0) <> r.seq
        """,
    ),
    # A step that was passed over because its moment was before the run began has no output and does not count (C-21). The log of
    # an erased person no longer tells the two apart.
    Check(
        "L2",
        "`steps_executed` counts the steps of the log that ended, those of fallbacks left out",
        f"""
        SELECT r.workspace_id, 'exec_' || r.id AS found FROM automations_run r
        LEFT JOIN automations_step_log l ON l.run_id = r.id AND l.flags = 0
            AND (l.port IS NOT NULL OR l.status = 'succeeded') AND NOT (l.status = 'skipped' AND l.output IS NULL)
        WHERE {_KEPT} AND NOT EXISTS (
            SELECT 1 FROM accounts_customer c WHERE c.id = r.customer_id AND c.erased_at IS NOT NULL)
        GROUP BY r.id, r.workspace_id HAVING count(l.run_id) <> r.steps_executed
        """,
    ),
]
