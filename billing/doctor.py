"""Rules of money that no constraint can hold (M of INVARIANTS), and billing's references to the engine's tables."""

from __future__ import annotations

from automations.doctor.checks import Check
from automations.doctor.references import Reference

REFERENCES = (
    Reference("automations_run", "subject_id", "billing_invoice", "F21", "c.subject_kind = 'invoice'"),
    Reference("automations_run", "subject_id", "billing_subscription", "F22", "c.subject_kind = 'subscription'"),
    Reference("billing_invoice", "changed_by_run", "automations_run", "F23"),
    Reference("billing_subscription", "changed_by_run", "automations_run", "F24"),
)

CHECKS = [
    # The books of the test gateway know no workspace; that of the invoice counts. A payment that a person decided, because nobody
    # could tell what had become of the charge, has no reference of the gateway and need not agree with it.
    Check(
        "M1",
        "The test gateway's books and our payments agree: one payment per charge, of the same amount and result",
        """
        SELECT p.workspace_id, 'pay_' || p.id AS found FROM billing_payment p
        JOIN billing_paymentmethod m ON m.id = p.method_id AND m.gateway = 'test'
        LEFT JOIN billing_test_charge t ON t.key = p.key
        WHERE p.key <> '' AND p.gateway_reference <> '' AND (t.key IS NULL
            OR (t.amount, t.currency, t.invoice) IS DISTINCT FROM (p.amount, p.currency, p.invoice_id)
            OR (t.result ->> 'result' = 'paid') <> (p.status = 'succeeded'))
        UNION ALL
        SELECT i.workspace_id, t.key FROM billing_test_charge t JOIN billing_invoice i ON i.id = t.invoice
        WHERE NOT EXISTS (SELECT 1 FROM billing_payment p WHERE p.workspace_id = i.workspace_id AND p.key = t.key)
        """,
    ),
    Check(
        "M3",
        "What is paid of an invoice is the sum of its succeeded payments, in its currency",
        """
        SELECT i.workspace_id, 'inv_' || i.id AS found FROM billing_invoice i
        LEFT JOIN billing_payment p ON p.invoice_id = i.id AND p.status = 'succeeded'
        GROUP BY i.id, i.workspace_id HAVING coalesce(sum(p.amount), 0) <> i.amount_paid
        UNION ALL
        SELECT p.workspace_id, 'pay_' || p.id FROM billing_payment p JOIN billing_invoice i ON i.id = p.invoice_id
        WHERE p.currency <> i.currency
        """,
    ),
    Check(
        "M4",
        "An invoice counts its decided payments and the failed ones among them",
        """
        SELECT i.workspace_id, 'inv_' || i.id AS found FROM billing_invoice i
        LEFT JOIN billing_payment p ON p.invoice_id = i.id
        GROUP BY i.id, i.workspace_id
        HAVING count(p.id) FILTER (WHERE p.status = 'failed') <> i.failed_count
            OR count(p.id) FILTER (WHERE p.status IN ('succeeded', 'failed')) <> i.attempt_count
        """,
    ),
    Check(
        "M5",
        "A paid invoice was settled by one payment, and only a paid one",
        """
        SELECT i.workspace_id, 'inv_' || i.id AS found FROM billing_invoice i
        LEFT JOIN billing_payment p ON p.invoice_id = i.id AND p.settles
        WHERE i.status = 'paid' AND i.total > 0 AND p.id IS NULL OR i.status <> 'paid' AND p.id IS NOT NULL
        """,
    ),
    Check(
        "M6",
        "An invoice's total is the sum of its lines",
        """
        SELECT i.workspace_id, 'inv_' || i.id AS found FROM billing_invoice i
        LEFT JOIN billing_invoiceline l ON l.invoice_id = i.id
        GROUP BY i.id, i.workspace_id HAVING coalesce(sum(l.amount), 0) <> i.total
        """,
    ),
    Check(
        "M7",
        "A payment under a key belongs to the delivery of that key",
        """
        SELECT p.workspace_id, 'pay_' || p.id AS found FROM billing_payment p
        WHERE p.key <> '' AND NOT EXISTS (
            SELECT 1 FROM automations_delivery d WHERE d.key = p.key AND d.workspace_id = p.workspace_id)
        """,
    ),
]
