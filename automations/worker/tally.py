"""Tallies: appended deltas folded into counts, so that advancing never waits for a counter row (DESIGN 5.2)."""

from __future__ import annotations

from django.db import connection, transaction

_LOCK = 0x7A11  # one folder at a time; others skip
_FOLD = """
WITH taken AS (
    DELETE FROM automations_tallydelta WHERE id IN (SELECT id FROM automations_tallydelta ORDER BY id LIMIT %s)
    RETURNING workspace_id, automation_id, version_id, step, port, day, count
), summed AS (
    SELECT workspace_id, automation_id, version_id, step, port, day, sum(count) AS count FROM taken GROUP BY 1, 2, 3, 4, 5, 6
), added AS (
    INSERT INTO automations_tally AS t (workspace_id, automation_id, version_id, step, port, day, count)
    SELECT s.* FROM summed s JOIN automations_automation a ON a.id = s.automation_id
    ON CONFLICT (workspace_id, automation_id, version_id, step, port, day) DO UPDATE SET count = t.count + excluded.count
)
SELECT count(*) FROM taken
"""


def fold_tallies(limit: int = 10_000) -> int:
    """Fold up to `limit` deltas; answers how many. Zero also when another process is folding."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(_FOLD, [limit])
        return int(cursor.fetchone()[0])
