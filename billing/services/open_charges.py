"""Charges that are not decided: while there is one, an invoice is not charged again and not settled in another way (DESIGN 5.3)."""

from __future__ import annotations

from collections.abc import Collection

from accounts.errors import Refusal
from automations.models import OPEN_STATES, Delivery, DeliveryState
from billing.models import OPEN_PAYMENTS, Invoice, Payment, PaymentStatus
from billing.services.checks import wrong_state

#: A delivery in one of these will never be made any more, and was not made: a pending charge behind it never began.
_GIVEN_UP = frozenset(DeliveryState.values) - {*OPEN_STATES, "SENT", "REVIEW"}


def open_charges(invoice_ids: Collection[int]) -> dict[int, Payment]:
    """Undecided charges by invoice; the caller holds the invoices. Two queries. Pending ones whose delivery was given up, for
    instance because its run was cancelled while it waited for a gateway out of reach, are removed."""
    found = {
        row.invoice_id: row for row in Payment.objects.filter(invoice_id__in=invoice_ids, status__in=OPEN_PAYMENTS)
    }
    states = _states(found.values())
    given_up = [
        invoice
        for invoice, payment in found.items()
        if payment.status == PaymentStatus.PENDING and states.get(payment.key) in _GIVEN_UP
    ]
    Payment.objects.filter(pk__in=[found.pop(invoice).pk for invoice in given_up]).delete()
    return found


def _states(payments: Collection[Payment]) -> dict[str, str]:
    if not payments:
        return {}
    rows = Delivery.objects.filter(key__in=[payment.key for payment in payments])
    return dict(rows.values_list("key", "state"))


def left_to_people(payment: Payment) -> bool:
    """Whether nobody but a person can say what became of this charge: the gateway could not, for twenty hours."""
    return _states([payment]).get(payment.key) == DeliveryState.REVIEW


def charge_open(invoice: Invoice, payment: Payment) -> Refusal:
    """The refusal while nobody can tell whether the gateway has taken the money."""
    return wrong_state(
        f"{payment.public_id}, a charge of {invoice.public_id}, is not decided yet; try again when it has succeeded or failed.",
        payment=payment.public_id,
    )
