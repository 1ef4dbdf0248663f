"""Deliveries: leases, fences and attempts; intent and act; consent, cancel and hold (S, O, M2, C of INVARIANTS).

`sending_at` and the attempts' `started_at` are real time, the ends of runs and pauses evaluation time. Comparing them is sound while
evaluation time is not behind real time: what was sent after the evaluation time of a cancel was sent after the cancel.
"""

from __future__ import annotations

from automations.doctor.checks import Check
from automations.doctor.events import OLDEST

_AHEAD = "(SELECT clock_offset FROM accounts_installation) >= interval '0'"

_LEASES = [
    Check(
        "S2",
        "A delivery that was sent has one successful attempt, or was found out by reading back; any other has none",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_deliveryattempt a
        JOIN automations_delivery d ON d.id = a.delivery_id
        WHERE a.outcome = 'ok' GROUP BY d.id, d.workspace_id HAVING count(*) > 1 OR d.state <> 'SENT'
        UNION ALL
        SELECT d.workspace_id, 'dlv_' || d.id FROM automations_delivery d
        WHERE d.state = 'SENT' AND d.fence > 0 AND NOT EXISTS (
            SELECT 1 FROM automations_deliveryattempt a
            WHERE a.delivery_id = d.id AND a.outcome IN ('ok', 'unknown', 'lost'))
        """,
    ),
    Check(
        "S3",
        "Attempts of a delivery carry distinct fences, none newer than the delivery's; the successful one carries the last",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_deliveryattempt a
        JOIN automations_delivery d ON d.id = a.delivery_id
        WHERE a.fence > d.fence OR a.outcome = 'ok' AND a.fence <> d.fence
        UNION ALL
        SELECT workspace_id, 'dlv_' || delivery_id FROM automations_deliveryattempt
        GROUP BY workspace_id, delivery_id, fence HAVING count(*) > 1
        """,
    ),
    Check(
        "S4",
        "A delivery has a lease and a fence exactly while it is being sent",
        """
        SELECT workspace_id, 'dlv_' || id AS found FROM automations_delivery
        WHERE (state = 'SENDING') <> (lease_until IS NOT NULL) OR state = 'SENDING' AND fence = 0
        """,
    ),
    Check(
        "S4.rest",
        "At rest no lease is abandoned",
        """
        SELECT workspace_id, 'dlv_' || id AS found FROM automations_delivery
        WHERE state = 'SENDING' AND due_at IS NOT NULL AND lease_until < now() - %(lag)s
        """,
        at_rest=True,
    ),
    # While one is being sent its last attempt has not been written yet.
    Check(
        "S5",
        "Attempts are counted, and failed ones are not more than the retries allow",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_delivery d
        LEFT JOIN automations_deliveryattempt a ON a.delivery_id = d.id
        WHERE d.attempts > 0 OR a.id IS NOT NULL
        GROUP BY d.id, d.workspace_id
        HAVING count(a.id) > d.attempts OR count(a.id) < d.attempts - (d.state = 'SENDING')::int
            OR count(a.id) FILTER (WHERE a.outcome = 'failed') > d.retries + 1
        """,
    ),
]

_EFFECTS = [
    Check(
        "O1",
        "Effect and step commit together: no delivery without its visit, no outside step that succeeded without a delivery",
        f"""
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_delivery d
        JOIN automations_run r ON r.id = d.run_id
        WHERE d.visit > r.seq OR d.visit < r.seq
            AND r.recorded_at >= {OLDEST.format(table="automations_step_log")} AND NOT EXISTS (
                SELECT 1 FROM automations_step_log l
                WHERE l.run_id = d.run_id AND l.seq = d.visit AND l.step = d.step AND l.flags & 2 = 0)
        UNION ALL
        SELECT l.workspace_id, 'exec_' || l.run_id || ' visit ' || l.seq FROM automations_step_log l
        WHERE l.type = ANY(%(outside)s) AND l.status = 'succeeded' AND l.flags & 2 = 0 AND l.output IS NOT NULL
            AND l.output ->> 'result' IS DISTINCT FROM 'refused' AND NOT EXISTS (
                SELECT 1 FROM automations_delivery d
                WHERE d.workspace_id = l.workspace_id AND d.run_id = l.run_id AND d.visit = l.seq)
        """,
    ),
    Check(
        "O2",
        "A delivery's key is unique and a function of installation, run, visit and effect alone",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_delivery d
        WHERE d.key <> (SELECT instance FROM accounts_installation)
            || '.exec_' || d.run_id || '.' || d.visit || '.' || d.effect
        UNION ALL
        SELECT min(workspace_id), key FROM automations_delivery GROUP BY key HAVING count(*) > 1
        UNION ALL
        SELECT workspace_id, 'exec_' || run_id || ' visit ' || visit FROM automations_delivery
        GROUP BY workspace_id, run_id, visit, effect HAVING count(*) > 1
        """,
    ),
    # The bytes themselves are hashed only where they may still be handed over.
    Check(
        "O3",
        "Retries hand over the same bytes",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_deliveryattempt a
        JOIN automations_delivery d ON d.id = a.delivery_id
        WHERE a.request_sha256 <> '' AND a.request_sha256 <> d.request_sha256
        UNION ALL
        SELECT d.workspace_id, 'dlv_' || d.id FROM automations_delivery d
        JOIN automations_delivery_body b ON b.delivery_id = d.id
        WHERE d.state IN ('QUEUED', 'SENDING', 'UNKNOWN') AND encode(sha256(b.body), 'hex') <> d.request_sha256
        """,
    ),
    Check(
        "O5",
        "At rest no delivery is overdue, neither to be sent nor to be read back",
        """
        SELECT workspace_id, 'dlv_' || id AS found FROM automations_delivery
        WHERE due_at < onward_now() - %(lag)s AND state IN ('QUEUED', 'UNKNOWN')
        """,
        at_rest=True,
    ),
    Check(
        "O6",
        "An open delivery without a time is one that a hold keeps back",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_delivery d
        JOIN automations_run r ON r.id = d.run_id
        WHERE d.state IN ('QUEUED', 'SENDING', 'UNKNOWN') AND d.due_at IS NULL
            AND r.parked_on IS DISTINCT FROM 'hold' AND NOT EXISTS (
                SELECT 1 FROM automations_automation a
                WHERE a.id = r.automation_id AND greatest(a.hold_mark, a.release_mark, a.cancel_mark) >= r.id)
        """,
    ),
    Check(
        "M2",
        "No attempt on money begins later than 20 hours after the first",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM automations_delivery d
        JOIN automations_deliveryattempt a ON a.delivery_id = d.id
        WHERE d.money AND a.started_at > interval '20 hours' + (
            SELECT min(x.started_at) FROM automations_deliveryattempt x WHERE x.delivery_id = d.id)
        """,
    ),
]

_PEOPLE = [
    Check(
        "C1",
        "No customer mail begins to be sent after its address was unsubscribed",
        """
        SELECT d.workspace_id, 'dlv_' || d.id AS found FROM accounts_consent c
        JOIN automations_delivery d ON d.workspace_id = c.workspace_id AND lower(btrim(d."to")) = c.address
        WHERE c.topic = '' AND c.state = 'unsubscribed' AND d.customer_mail AND d.sending_at > c.at
        """,
    ),
    Check(
        "C2",
        "Cancel is final: no step and no act of a cancelled run begins after its end",
        f"""
        SELECT d.workspace_id, 'exec_' || r.id || ' dlv_' || d.id AS found FROM automations_delivery d
        JOIN automations_run r ON r.id = d.run_id
        WHERE r.status = 'CANCELLED' AND d.sending_at > r.ended_at AND {_AHEAD}
        UNION ALL
        SELECT l.workspace_id, 'exec_' || r.id || ' visit ' || l.seq FROM automations_run r
        JOIN automations_step_log l ON l.run_id = r.id
        WHERE r.status = 'CANCELLED' AND l.flags & 2 = 0 AND l.started_at > r.ended_at
        """,
    ),
    Check(
        "C3",
        "A hold holds: no act of a held run begins between the pause and the resume",
        f"""
        SELECT d.workspace_id, 'exec_' || r.id || ' dlv_' || d.id AS found FROM automations_automation a
        JOIN automations_run r ON r.workspace_id = a.workspace_id AND r.automation_id = a.id AND r.ended_at IS NULL
            AND r.id <= a.hold_mark
        JOIN automations_delivery d ON d.workspace_id = r.workspace_id AND d.run_id = r.id
        WHERE a.state = 'PAUSED' AND d.sending_at > a.paused_at AND {_AHEAD}
        """,
    ),
]

CHECKS = [*_LEASES, *_EFFECTS, *_PEOPLE]
