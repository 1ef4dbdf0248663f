"""The workspace's default billing settings for events of exclusive triggers that no automation took (PRI-03 to PRI-05, PRI-11)."""

from __future__ import annotations

from automations.engine.kinds import EventFacts

#: The exclusive triggers of billing; one event of theirs starts one automation, or these settings act.
EXCLUSIVE = ("billing.invoice_overdue", "billing.subscription_payment_failed")


def apply_default(workspace_id: int, event: EventFacts) -> str | None:
    """Say that the default settings act on this event; the evaluation records the answer (PRI-13).

    What they consist of in this core has been done when the change was made, in its own transaction: an invoice stays open
    and due, and the subscription behind a failed payment is past due. No retry is planned by default.
    """
    return "applied"
